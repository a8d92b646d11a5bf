"""What every test against the real Triton needs: packets, streams that a test feeds by hand, and a proxy in front."""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import grpc

from devstack import models
from devstack.triton import Triton
from multimodal_contract import dtypes, pb, pb_grpc
from proxy_testing.in_process import in_process
from proxy_testing.open_stream import OpenStream
from triton_proxy.app import Server
from triton_proxy.triton.addresses import Resolve

KEY = "s3cret-key-of-ann"
CREDENTIAL = (("x-domino-api-key", KEY),)
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
TIMEOUT = 60
COUNTED_WITHIN = 0.25
# What `bazel run //python/proxy:triton_proxy` runs; a test that uses it has it in its data.
PROXY_BINARY = "python/proxy/serve"


@dataclass(frozen=True)
class Proxy:
    """A proxy that serves, and a channel to it."""

    server: Server
    channel: grpc.Channel

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def stub(self) -> pb_grpc.MultimodalServiceStub:
        return pb_grpc.MultimodalServiceStub(self.channel)

    def ask(self, packet: pb.DataPacket) -> pb.Ack:
        return self.stub.SendUnary(packet, metadata=CREDENTIAL, timeout=TIMEOUT)

    def chat(self, packets: Sequence[pb.DataPacket]) -> list[pb.Ack]:
        return list(self.stub.Chat(iter(packets), metadata=CREDENTIAL, timeout=TIMEOUT))


@contextlib.contextmanager
def proxy(triton_url: str, domino_host: str, resolve: Resolve | None = None, /, **environment: str) -> Iterator[Proxy]:
    """A proxy on a free port, with the settings that a deployment would give it in the environment.

    Args:
        triton_url: HOST:PORT of Triton.
        domino_host: where credentials are asked about.
        resolve: gives the addresses of `triton_url`; None for the system's resolver.
        environment: further settings.
    """
    settings = {"TRITON_URL": triton_url, "DOMINO_HOST": domino_host, **environment}
    with in_process(settings, options=UNLIMITED, resolve=resolve) as served:
        yield Proxy(served.server, served.channel)


def open_stream(proxy: Proxy) -> OpenStream:
    """A Chat stream of the known caller."""
    return OpenStream(proxy.channel, CREDENTIAL, 2 * TIMEOUT)


def packet(
    model: str,
    data: bytes,
    *,
    cid: str = "c",
    dtype: str = "FP32",
    shape: Sequence[int] | None = None,
    version: str = "1",
    outputs: Sequence[str] = ("OUTPUT0",),
    timeout_secs: float = 0,
    raw: bool = True,
) -> pb.DataPacket:
    """A packet for a model with one input, INPUT0; by default of one dimension, as long as the data says."""
    kind = dtypes.BY_NAME[dtype]
    dims = [len(data) // (kind.size or 1)] if shape is None else shape
    made = pb.DataPacket(
        meta=pb.Meta(correlation_id=cid),
        control=pb.Control(
            model=model,
            model_version=version,
            outputs=[pb.OutputSpec(name=name) for name in outputs],
            timeout_secs=timeout_secs,
            output_encoding=pb.OE_RAW if raw else pb.OE_BASE64_JSON,
        ),
        tensor=pb.Tensor(dtype=kind.number, shape=pb.Shape(dims=dims), data=data),
    )
    _describe(made, "INPUT0", made.tensor)
    return made


def several(
    model: str,
    inputs: Mapping[str, tuple[str, Sequence[int], bytes]],
    *,
    cid: str = "c",
    version: str = "1",
    outputs: Sequence[str] = ("OUTPUT0",),
    timeout_secs: float = 0,
    raw: bool = True,
    event: pb.StreamEvent.ValueType = pb.SEV_UNSPECIFIED,
) -> pb.DataPacket:
    """A packet whose inputs have names: element type, shape and data of each."""
    made = packet(model, b"", cid=cid, version=version, outputs=outputs, timeout_secs=timeout_secs, raw=raw)
    made.event = event
    made.ClearField("tensor")
    del made.control.inputs[:]
    for name, (dtype, shape, data) in inputs.items():
        tensor = pb.Tensor(dtype=dtypes.BY_NAME[dtype].number, shape=pb.Shape(dims=shape), data=data)
        made.tensors.add(name=name, tensor=tensor)
        _describe(made, name, tensor)
    return made


def _describe(made: pb.DataPacket, name: str, tensor: pb.Tensor) -> None:
    spec = pb.InputSpec(name=name, shape=tensor.shape, dtype=tensor.dtype, **{"from": pb.SRC_TENSOR})
    made.control.inputs.append(spec)


def slow(seconds: float, *, cid: str = "slow", timeout_secs: float = 0) -> pb.DataPacket:
    """A packet that keeps Triton's one instance of the slow model busy for that long."""
    inputs = {"INPUT0": ("FP32", [1], bytes(4)), "DELAY": ("FP32", [1], struct.pack("<f", seconds))}
    return several(models.SLOW, inputs, cid=cid, timeout_secs=timeout_secs)


def square(
    number: int, *, delay: float = 0, cid: str = "square", version: str = "1", timeout_secs: float = 0, raw: bool = True
) -> pb.DataPacket:
    """A packet that the decoupled model answers as often as the number says, after a delay in seconds each time."""
    inputs = {"IN": ("INT32", [1], struct.pack("<i", number)), "DELAY": ("FP32", [1], struct.pack("<f", delay))}
    return several(models.SQUARE, inputs, cid=cid, version=version, outputs=["OUT"], timeout_secs=timeout_secs, raw=raw)


def add(number: int, event: pb.StreamEvent.ValueType = pb.SEV_DATA, *, cid: str = "add") -> pb.DataPacket:
    """A packet that the stateful model answers with the sum of its sequence so far."""
    inputs = {"INPUT": ("INT32", [1, 1], struct.pack("<i", number))}
    return several(models.SEQUENCE, inputs, cid=cid, outputs=["OUTPUT"], event=event)


def number_in(ack: pb.Ack) -> int:
    """The one INT32 that the model answered."""
    assert ack.status == pb.OK, ack.message
    (output,) = ack.outputs
    return int(struct.unpack("<i", output.data)[0])


def error_of(ack: pb.Ack) -> str:
    return str(json.loads(ack.message)["error"])


def heard(triton: Triton, model: str, since: int = 0, at_least: int = 0) -> int:
    """How many requests for a model Triton has counted since then, once that stands still.

    Triton counts a request a moment after its answer, and nothing tells when it is done with all of them: so the
    number is awaited first, and then that no reading differs from the one before for as long as that moment may be.
    """
    deadline = time.monotonic() + TIMEOUT
    count, still_since = -1, 0.0
    while True:
        now = time.monotonic()
        if (reading := triton.request_count(model) - since) != count:
            count, still_since = reading, now
        if now > deadline or (count >= at_least and now - still_since > COUNTED_WITHIN):
            return count


def write_model(folder: Path, config: str, code: str) -> None:
    """Writes a model of the Python backend, or anew where it is there already.

    Args:
        folder: the model's, in the repository.
        config: its config.pbtxt, without what all of them have.
        code: its model.py.
    """
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1/model.py").write_text(code)
    (folder / "config.pbtxt").write_text('backend: "python" instance_group [ { kind: KIND_CPU count: 1 } ]\n' + config)


class ProxyProcess:
    """The proxy as a deployment runs it: a process of its own."""

    def __init__(self, stdout: IO[bytes] | None = None, /, **environment: str) -> None:
        self.process = subprocess.Popen(
            [PROXY_BINARY],
            env={
                **os.environ,
                **dict.fromkeys(("LISTEN_ADDR", "METRICS_LISTEN_ADDR", "HTTP_LISTEN_ADDR"), "127.0.0.1:0"),
                **environment,
            },
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._port: int | None = None
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"serving on port (\d+)", line)
            if found is not None:
                self._port = int(found[1])
                self._told.set()
        self._told.set()

    @property
    def address(self) -> str:
        assert self._told.wait(TIMEOUT)
        assert self._port is not None, "".join(self.log)
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

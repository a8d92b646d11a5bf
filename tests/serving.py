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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from devstack.triton import Triton
from multimodal_contract import dtypes, pb, pb_grpc
from proxy_testing.open_stream import OpenStream
from triton_proxy.server import Server, authenticator_for
from triton_proxy.settings import load

KEY = "s3cret-key-of-ann"
CREDENTIAL = (("x-domino-api-key", KEY),)
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
TIMEOUT = 60
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
def proxy(triton_url: str, domino_host: str, **environment: str) -> Iterator[Proxy]:
    """A proxy on a free port, with the settings that a deployment would give it in the environment."""
    settings = load({"TRITON_URL": triton_url, "DOMINO_HOST": domino_host, "LISTEN_ADDR": "127.0.0.1:0", **environment})
    server = Server(settings, authenticator_for(settings))
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=UNLIMITED) as channel:
            yield Proxy(server, channel)
    finally:
        server.drain()


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
    dims = pb.Shape(dims=[len(data) // (kind.size or 1)] if shape is None else shape)
    return pb.DataPacket(
        meta=pb.Meta(correlation_id=cid),
        control=pb.Control(
            model=model,
            model_version=version,
            inputs=[pb.InputSpec(name="INPUT0", shape=dims, dtype=kind.number, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name=name) for name in outputs],
            timeout_secs=timeout_secs,
            output_encoding=pb.OE_RAW if raw else pb.OE_BASE64_JSON,
        ),
        tensor=pb.Tensor(dtype=kind.number, shape=dims, data=data),
    )


def slow(seconds: float, *, cid: str = "slow", timeout_secs: float = 0) -> pb.DataPacket:
    """A packet that keeps Triton's one instance of the slow model busy for that long."""
    made = packet("slow_identity", bytes(4), cid=cid, timeout_secs=timeout_secs)
    delay = made.control.inputs.add()
    delay.CopyFrom(made.control.inputs[0])
    delay.name = "DELAY"
    made.tensors.add(name="INPUT0", tensor=made.tensor)
    made.tensors.add(name="DELAY", tensor=made.tensor)
    made.tensors[1].tensor.data = struct.pack("<f", seconds)
    made.ClearField("tensor")
    return made


def error_of(ack: pb.Ack) -> str:
    return str(json.loads(ack.message)["error"])


def heard(triton: Triton, model: str, since: int, at_least: int) -> int:
    """How many requests for a model Triton has counted since then; it counts a request a moment after its answer."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        count = triton.request_count(model) - since
        if count >= at_least or time.monotonic() > deadline:
            return count


class ProxyProcess:
    """The proxy as a deployment runs it: a process of its own."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [PROXY_BINARY],
            env={**os.environ, "LISTEN_ADDR": "127.0.0.1:0", **environment},
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

    def __enter__(self) -> ProxyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

"""Clients of the product's contract: the published one as it was, and today's library."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Iterator

import grpc
import numpy as np

from benchmark.payload import INPUT, MODEL, OUTPUT, VERSION, Array
from benchmark.tally import TIMEOUT_SECS, Load, Outcome, Tally, Window, in_threads
from benchmark.triton_ways import API_KEY_HEADER
from mm_client_api import ApiKey, InferenceRequest, TritonClient
from multimodal_contract import pb, pb_grpc

_PUBLISHED_OPTIONS = [
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
# Enough that chance gives each of two processes some.
_CONNECTIONS = 8


class Published:
    """The published client: one Chat stream that is written from an iterator, answers as base64 in JSON.

    Nothing of the contract that was added later is used.
    """

    def __init__(self, address: str, key: str) -> None:
        self._stub = pb_grpc.MultimodalServiceStub(grpc.insecure_channel(address, options=_PUBLISHED_OPTIONS))
        self._metadata = ((API_KEY_HEADER, key),)

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        tally = Tally(load)
        window = Window(tally, load.in_flight)
        under_way: deque[float] = deque()

        def packets() -> Iterator[pb.DataPacket]:
            while window.wait():
                under_way.append(time.perf_counter())
                yield _packet(tally.array)

        try:
            for ack in self._stub.Chat(packets(), metadata=self._metadata, timeout=load.seconds + TIMEOUT_SECS):
                tally.answered(under_way.popleft(), _output(ack))
                window.leave()
        except Exception as error:  # noqa: BLE001  whatever it is, it is the cell's result
            tally.failed(error)
            # The thread that writes has to see it.
            window.leave()
        return tally.outcome()


def _packet(array: Array) -> pb.DataPacket:
    shape = pb.Shape(dims=array.shape)
    return pb.DataPacket(
        meta=pb.Meta(correlation_id="bench"),
        control=pb.Control(
            model=MODEL,
            model_version=VERSION,
            inputs=[pb.InputSpec(name=INPUT, shape=shape, dtype=pb.DT_FP32, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name=OUTPUT)],
            timeout_secs=TIMEOUT_SECS,
        ),
        event=pb.SEV_DATA,
        tensor=pb.Tensor(dtype=pb.DT_FP32, shape=shape, data=array.tobytes(order="C")),
    )


def _output(ack: pb.Ack) -> Array:
    message = json.loads(ack.message)
    if ack.status != pb.OK:
        raise ValueError(message["error"])
    output = message["outputs"][OUTPUT]
    return np.frombuffer(base64.b64decode(output["b64"]), np.float32).reshape(output["shape"])


class NewUnary:
    """`TritonClient.infer`, in as many threads as requests are to be in flight."""

    def __init__(self, address: str, key: str) -> None:
        self._client = TritonClient(address, credentials=ApiKey(key))

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        return in_threads(load, self.infer)

    def infer(self, array: Array) -> Array:
        """Asks once."""
        result = self._client.infer(
            MODEL, {INPUT: array}, outputs=[OUTPUT], model_version=VERSION, timeout_secs=TIMEOUT_SECS
        )
        return result.outputs[OUTPUT]


class Connections:
    """`TritonClient.infer`, as `NewUnary`, over several connections: each stays at one process of the proxy."""

    def __init__(self, address: str, key: str) -> None:
        self._clients = itertools.cycle([NewUnary(address, key) for _ in range(_CONNECTIONS)])
        self._own = threading.local()

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        return in_threads(load, self._infer)

    def _infer(self, array: Array) -> Array:
        client = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = next(self._clients)
        return client.infer(array)


class NewStream:
    """`TritonClient.stream` with a window of as many requests as are to be in flight."""

    def __init__(self, address: str, key: str) -> None:
        self._client = TritonClient(address, credentials=ApiKey(key))

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        tally = Tally(load)
        under_way: deque[float] = deque()

        def requests() -> Iterator[InferenceRequest]:
            while tally.open:
                under_way.append(time.perf_counter())
                yield InferenceRequest(MODEL, {INPUT: tally.array}, [OUTPUT], VERSION, TIMEOUT_SECS)

        try:
            for result in self._client.stream(requests(), window=load.in_flight):
                tally.answered(under_way.popleft(), result.raise_for_status().outputs[OUTPUT])
        except Exception as error:  # noqa: BLE001  whatever it is, it is the cell's result
            tally.failed(error)
        return tally.outcome()

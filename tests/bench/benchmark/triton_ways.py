"""Clients of Triton's own protocol, by tritonclient: one call at a time, many calls at once, one stream."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import Any

import tritonclient.grpc as grpcclient

from benchmark.payload import INPUT, MODEL, OUTPUT, VERSION, Array
from benchmark.tally import TIMEOUT_SECS, Load, Outcome, Tally, Window, in_threads

API_KEY_HEADER = "x-domino-api-key"
# The file of the authority that the other end's certificate comes from; without it, the connection is plaintext.
AUTHORITY = "BENCH_AUTHORITY"


def _inputs(array: Array) -> list[Any]:
    tensor = grpcclient.InferInput(INPUT, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    return [tensor]


class _TritonWay:
    def __init__(self, address: str, key: str) -> None:
        authority = os.environ.get(AUTHORITY)
        self._client = grpcclient.InferenceServerClient(address, ssl=authority is not None, root_certificates=authority)
        self._headers = {API_KEY_HEADER: key}
        self._outputs = [grpcclient.InferRequestedOutput(OUTPUT)]


class Unary(_TritonWay):
    """`infer`, in as many threads as requests are to be in flight."""

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        return in_threads(load, self._infer)

    def _infer(self, array: Array) -> Array:
        result = self._client.infer(
            MODEL, _inputs(array), VERSION, self._outputs, headers=self._headers, client_timeout=TIMEOUT_SECS
        )
        output: Array = result.as_numpy(OUTPUT)
        return output


class Async(_TritonWay):
    """`async_infer`: many calls at once from one thread."""

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        tally = Tally(load)
        window = Window(tally, load.in_flight)

        def done(began: float, result: Any, error: Any) -> None:
            if error is None:
                tally.answered(began, result.as_numpy(OUTPUT))
            else:
                tally.failed(error)
            window.leave()

        while window.wait():
            began = time.perf_counter()
            self._client.async_infer(
                MODEL,
                _inputs(tally.array),
                partial(done, began),
                VERSION,
                self._outputs,
                headers=self._headers,
                client_timeout=TIMEOUT_SECS,
            )
        window.drain()
        return tally.outcome()


class Stream(_TritonWay):
    """`async_stream_infer`: one stream of Triton's own."""

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        tally = Tally(load)
        window = Window(tally, load.in_flight)
        under_way: dict[str, float] = {}
        broken = threading.Event()

        def done(result: Any, error: Any) -> None:
            if error is None:
                tally.answered(under_way.pop(result.get_response().id), result.as_numpy(OUTPUT))
                window.leave()
                return
            tally.failed(error)
            # One failure may stand for all that were under way.
            if not broken.is_set():
                broken.set()
                for _ in range(load.in_flight):
                    window.leave()

        self._client.start_stream(done, headers=self._headers)
        try:
            count = 0
            while window.wait():
                count += 1
                under_way[str(count)] = time.perf_counter()
                self._client.async_stream_infer(
                    MODEL, _inputs(tally.array), VERSION, self._outputs, request_id=str(count)
                )
            window.drain()
        finally:
            self._client.stop_stream(cancel_requests=broken.is_set())
        return tally.outcome()

"""Runs in a client's pod: streams numbered packets through the proxy from several threads until /tmp/stop is there.

Every other stream's packets are large, those of the others small: they reach Triton on different ways.

Prints a JSON object twice a second with what was answered so far, and at the end one with every packet's fate.
Arguments: the proxy's address and the number of streams. The API key is in the environment.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mm_client_api import InferenceRequest, TritonClient, TritonClientError

_STOP = Path("/tmp/stop")  # noqa: S108  its pod's own
# Model, elements and the pace at which packets of a stream come, as frames of a camera do.
_SMALL = ("identity_fp32", 256, 0.01)
_LARGE = ("slow_identity", 80_000, 0.05)
_TELL_SECONDS = 0.5


class Stream:
    """One stream of packets and what became of them."""

    def __init__(self, address: str, number: int) -> None:
        self._address = address
        self._number = number
        self._model, self._elements, self._seconds_between = _LARGE if number % 2 else _SMALL
        self._taken: dict[int, float] = {}
        self.report: dict[str, Any] = {
            "sent": 0, "answered": [], "wrong": [], "failures": [], "ended": "", "longest_wait_secs": 0.0
        }  # fmt: skip
        self.thread = threading.Thread(target=self._run)

    def _requests(self) -> Iterator[InferenceRequest]:
        while not _STOP.exists():
            number = self.report["sent"]
            self._taken[number] = time.monotonic()
            self.report["sent"] += 1
            inputs = {"INPUT0": self._data(number)}
            if self._model == _LARGE[0]:
                inputs["DELAY"] = np.zeros(1, dtype=np.float32)
            yield InferenceRequest(self._model, inputs, ["OUTPUT0"], "1", correlation_id=f"{self._number}-{number}")
            time.sleep(self._seconds_between)

    def _data(self, number: int) -> Any:
        return np.full(self._elements, number, dtype=np.float32)

    def _run(self) -> None:
        report = self.report
        try:
            with TritonClient(self._address) as client:
                for result in client.stream(self._requests(), window=8):
                    number = int(result.correlation_id.split("-")[1])
                    waited = time.monotonic() - self._taken.pop(number, time.monotonic())
                    report["longest_wait_secs"] = max(report["longest_wait_secs"], waited)
                    if result.error:
                        report["failures"].append((number, result.status, result.error.detail))
                    elif not np.array_equal(result.outputs["OUTPUT0"], self._data(number)):
                        report["wrong"].append(number)
                    report["answered"].append(number)
        except TritonClientError as error:
            report["ended"] = f"{type(error).__name__}: {error}"


def main() -> None:
    """Streams until it is to stop."""
    _STOP.unlink(missing_ok=True)
    streams = [Stream(sys.argv[1], number) for number in range(int(sys.argv[2]))]
    for stream in streams:
        stream.thread.start()
    for stream in streams:
        while stream.thread.is_alive():
            stream.thread.join(_TELL_SECONDS)
            reports = [other.report for other in streams]
            good = [len(report["answered"]) - len(report["failures"]) for report in reports]
            failed = sum(len(report["failures"]) for report in reports)
            ended = [report["ended"] for report in reports if report["ended"]]
            print(json.dumps({"good": good, "failed": failed, "ended": ended}), flush=True)
    print(json.dumps({"streams": [stream.report for stream in streams]}), flush=True)


main()

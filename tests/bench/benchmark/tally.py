"""The closed loop: a fixed number of requests in flight until the time is over, and what became of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np

from benchmark import payload
from benchmark.payload import Array

# For one request, everywhere.
TIMEOUT_SECS = 60.0


@dataclass(frozen=True)
class Load:
    """What a client is to do.

    Attributes:
        size_bytes: bytes of each request's tensor.
        in_flight: requests that are under way at once.
        seconds: no request begins later than this after the first; those under way are waited for.
        check: compare every answer with what the model has to say.
    """

    size_bytes: int
    in_flight: int
    seconds: float
    check: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a load.

    Attributes:
        latencies_ms: of each answered request, from handing over the array to having the output as an array.
        elapsed_secs: from the first request's beginning to the last answer.
        error: the first failure, which ended the run; None where all went well.
    """

    latencies_ms: list[float]
    elapsed_secs: float
    error: str | None


class Tally:
    """Counts one run; threads may share it."""

    def __init__(self, load: Load) -> None:
        self.array = payload.tensor(load.size_bytes)
        self._expected = payload.expected(self.array)
        self._check = load.check
        self._latencies_ms: list[float] = []
        self._error: str | None = None
        self._began = self._last = time.perf_counter()
        self._until = self._began + load.seconds

    @property
    def open(self) -> bool:
        """Whether another request may begin."""
        return self._error is None and time.perf_counter() < self._until

    def done(self, began: float) -> None:
        """Notes that the request which began then, by `time.perf_counter`, was answered, whatever with."""
        now = time.perf_counter()
        self._latencies_ms.append((now - began) * 1000)
        self._last = now

    def answered(self, began: float, output: Array | None) -> None:
        """Notes an answer to the request that began then, by `time.perf_counter`."""
        self.done(began)
        if output is None:
            self.failed("the answer lacks the output")
        elif output.shape != self._expected.shape:
            self.failed(f"the answer has shape {output.shape}; expected {self._expected.shape}")
        elif self._check and not np.array_equal(output, self._expected):
            wrong = int(np.count_nonzero(output != self._expected))
            self.failed(f"{wrong} of {output.size} elements of the answer differ from what was sent")

    def failed(self, error: Exception | str) -> None:
        """Notes a failure, which ends the run."""
        self._error = self._error or _words(error)

    def outcome(self) -> Outcome:
        """Returns the sums; call it when nothing is under way any more."""
        return Outcome(self._latencies_ms, self._last - self._began, self._error)


def _words(error: Exception | str) -> str:
    # Of what a stub raises, str() makes many lines.
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error) or repr(error)


def in_threads(load: Load, call: Callable[[Array], Array]) -> Outcome:
    """Makes blocking calls, each thread one after another.

    Args:
        load: what to do; a thread for each request in flight.
        call: sends an array and returns the model's output.
    """
    tally = Tally(load)

    def loop() -> None:
        while tally.open:
            began = time.perf_counter()
            try:
                output = call(tally.array)
            except Exception as error:  # noqa: BLE001  whatever it is, it is the cell's result
                tally.failed(error)
                return
            tally.answered(began, output)

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(load.in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally.outcome()


class Window:
    """So many requests at once, for clients that send in one place and hear in another."""

    def __init__(self, tally: Tally, size: int) -> None:
        self._tally = tally
        self._size = size
        self._free = threading.Semaphore(size)

    def wait(self) -> bool:
        """Waits for a free place; whether another request may begin, which then has it."""
        if not self._take():
            return False
        if self._tally.open:
            return True
        self._free.release()
        return False

    def leave(self) -> None:
        """A request is done."""
        self._free.release()

    def drain(self) -> None:
        """Waits until nothing is under way."""
        for _ in range(self._size):
            if not self._take():
                return

    def _take(self) -> bool:
        if self._free.acquire(timeout=TIMEOUT_SECS):
            return True
        self._tally.failed(f"an answer is missing after {TIMEOUT_SECS:g} s")
        return False

"""Many streams of today's client at once: busy ones, and ones that are only open."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from benchmark.payload import INPUT, MODEL, OUTPUT, VERSION, Array
from benchmark.tally import TIMEOUT_SECS, Load, Outcome, Tally
from mm_client_api import ApiKey, InferenceRequest, TritonClient


def _request(array: Array) -> InferenceRequest:
    return InferenceRequest(MODEL, {INPUT: array}, [OUTPUT], VERSION, TIMEOUT_SECS)


class Busy:
    """As many streams as requests are to be in flight, each with one request at a time."""

    def __init__(self, address: str, key: str) -> None:
        self._client = TritonClient(address, credentials=ApiKey(key))

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        tally = Tally(load)
        threads = [threading.Thread(target=self._stream, args=(tally,), daemon=True) for _ in range(load.in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return tally.outcome()

    def _stream(self, tally: Tally) -> None:
        began = 0.0

        def requests() -> Iterator[InferenceRequest]:
            nonlocal began
            while tally.open:
                began = time.perf_counter()
                yield _request(tally.array)

        try:
            for result in self._client.stream(requests(), window=1):
                tally.answered(began, result.raise_for_status().outputs[OUTPUT])
        except Exception as error:  # noqa: BLE001  whatever it is, it is the run's result
            tally.failed(error)


class Idle:
    """Streams that have had one answer and stay open, as many as the last load said."""

    def __init__(self, address: str, key: str) -> None:
        self._client = TritonClient(address, credentials=ApiKey(key))
        self._release = threading.Event()
        self._threads: list[threading.Thread] = []
        self._told: queue.Queue[Exception | None] = queue.Queue()

    def run(self, load: Load) -> Outcome:
        """Opens or closes streams until there are as many; an error tells of one that has ended by itself."""
        tally = Tally(load)
        if not all(thread.is_alive() for thread in self._threads):
            tally.failed("an idle stream has ended")
        elif len(self._threads) != load.in_flight:
            self._close()
            self._threads = [
                threading.Thread(target=self._stream, args=(tally.array, self._release), daemon=True)
                for _ in range(load.in_flight)
            ]
            for thread in self._threads:
                thread.start()
            for _ in self._threads:
                if error := self._told.get(timeout=TIMEOUT_SECS):
                    tally.failed(error)
        return tally.outcome()

    def _close(self) -> None:
        self._release.set()
        for thread in self._threads:
            thread.join()
        self._release = threading.Event()

    def _stream(self, array: Array, release: threading.Event) -> None:
        def requests() -> Iterator[InferenceRequest]:
            yield _request(array)
            release.wait()

        try:
            for result in self._client.stream(requests()):
                result.raise_for_status()
                self._told.put(None)
        except Exception as error:  # noqa: BLE001  reported where the streams are opened
            self._told.put(error)

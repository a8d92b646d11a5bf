"""One measurement: a client plays a load, warmed up, while the processes' use of the machine is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path as FilePath

from benchmark import paths, processes
from benchmark.paths import Path
from benchmark.stand import Stand
from benchmark.stats import ROLES, Sample
from benchmark.tally import Load, Outcome
from benchmark.worker_process import Worker, WorkerError

# Enough for connections, caches and allocators to settle.
_WARM_UP_SECS = 0.2
_ENDING_SECS = 1.0
_REVIVAL_SECS = 30.0
_PROBE = Load(size_bytes=1024, in_flight=1, seconds=0.01, check=False)


class MeasureError(Exception):
    """A request failed; the text is the first failure's."""


class Bench:
    """The clients in front of a stand; as a context manager it ends them.

    Args:
        stand: what runs.
        folder: for logs.
    """

    def __init__(self, stand: Stand, folder: FilePath) -> None:
        self._stand = stand
        self._folder = folder
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.stop()

    def measure(self, path: Path, size_bytes: int, in_flight: int, seconds: float) -> Sample:
        """Warms up, comparing every answer, then measures.

        Raises:
            MeasureError: a request failed.
        """
        try:
            worker = self._worker(path)
            _checked(worker.run(Load(size_bytes, in_flight, min(_WARM_UP_SECS, seconds), check=True)))
            hop = self._stand.hops[path.hop]
            roots = ([worker.pid], hop.roots, [self._stand.triton.pid])
            pids = dict(zip(ROLES, map(processes.tree, roots), strict=True))
            own = processes.reset_peaks(set().union(*pids.values()))
            before = {role: processes.usage(found) for role, found in pids.items()}
            outcome = _checked(worker.run(Load(size_bytes, in_flight, seconds, check=False)))
            after = {role: processes.usage(found) for role, found in pids.items()}
        except WorkerError as error:
            if path.name in self._workers:
                self._workers.pop(path.name).stop()
            raise MeasureError(str(error)) from error
        return Sample(
            outcome.latencies_ms,
            outcome.elapsed_secs,
            {role: after[role].cpu_secs - before[role].cpu_secs for role in ROLES},
            {role: after[role].peak_mb for role in ROLES},
            own,
        )

    def revive(self) -> bool:
        """Starts Triton again if it has ended, so that one path's failure is not that of those after it.

        Returns:
            Whether it had.

        Raises:
            TritonError: it does not start.
        """
        triton = self._stand.triton
        # A client sees the end of the connection before the process is gone.
        if not _soon(lambda: not triton.running, _ENDING_SECS):
            return False
        triton.restart()
        triton.wait_ready()
        for path in paths.PATHS:
            if path.name in self._workers:
                _soon(partial(self._answers, path), _REVIVAL_SECS)
        return True

    def _answers(self, path: Path) -> bool:
        try:
            return self._worker(path).run(_PROBE).error is None
        except WorkerError:
            self._workers.pop(path.name).stop()
            return False

    def _worker(self, path: Path) -> Worker:
        if path.name not in self._workers:
            hop = self._stand.hops[path.hop]
            address = hop.http_address if path.way == paths.HTTP else hop.address
            log = self._folder / f"client-{path.name}.log"
            self._workers[path.name] = Worker(path.way, address, self._stand.key, log)
        return self._workers[path.name]


def _soon(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _checked(outcome: Outcome) -> Outcome:
    if outcome.error is not None:
        raise MeasureError(outcome.error)
    if not outcome.latencies_ms:
        raise MeasureError("not a single answer")
    return outcome

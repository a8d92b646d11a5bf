"""Scaling Triton to zero when nobody wants it, and back on the first request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scale_service.cluster import KubernetesError
from scale_service.demand import Demand, Proxies
from scale_service.errors import OperationError
from scale_service.operations import Operations

_LOG = logging.getLogger(__name__)
_WHAT = "inference-server"


@dataclass(frozen=True)
class Pace:
    """How often the proxies are asked.

    Attributes:
        asleep_secs: while there is no Triton: somebody waits for it.
        awake_secs: while there is one.
        refused_secs: after a change that was refused: it may be for long.
    """

    asleep_secs: float = 2.0
    awake_secs: float = 15.0
    refused_secs: float = 60.0


class Idleness:
    """Since when nobody wants a Triton; rules only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """It is wanted at this moment.

        Args:
            clock: the time in seconds.
        """
        self._clock = clock
        self._since = clock()
        self._wanted: dict[str, float] | None = None

    @property
    def secs(self) -> float:
        """For how long nobody has wanted one."""
        return self._clock() - self._since

    def interrupt(self) -> None:
        """Begins anew from now."""
        self._since = self._clock()

    def saw(self, found: Mapping[str, Demand | None]) -> bool:
        """Takes in what the proxies said.

        Args:
            found: by pod; None for one that did not answer, which may have callers.

        Returns:
            Whether somebody wanted a Triton since the last time, or waits for one.
        """
        before = self._wanted
        # Of a pod that does not answer, what it said before; of one that is gone nothing.
        self._wanted = {
            name: (before or {}).get(name, 0.0) if demand is None else demand.wanted for name, demand in found.items()
        }
        said = {name: demand for name, demand in found.items() if demand is not None}
        wanted = any(
            # What was wanted before this service looked for the first time is no demand now.
            demand.awaited or (before is not None and _rose(before.get(name, 0.0), demand.wanted))
            for name, demand in said.items()
        )
        if wanted or len(said) < len(found) or any(demand.in_flight for demand in said.values()):
            self.interrupt()
        return wanted


def _rose(before: float, now: float) -> bool:
    """Whether a counter rose, which begins at zero again with its process."""
    return now > before or 0 < now < before


@dataclass(frozen=True)
class AutoscalerStatistics:
    """What it sees and did.

    Attributes:
        idle_secs: for how long nobody has wanted a Triton.
        unanswered: proxies that gave no answer at the last look.
        done: changes by direction (up, down) and what came of each, by name of its code.
    """

    idle_secs: float
    unanswered: int
    done: Mapping[tuple[str, str], int]


class Autoscaler:
    """Looks again and again, in a thread of its own."""

    def __init__(
        self,
        operations: Operations,
        proxies: Proxies,
        *,
        cooldown_secs: float,
        replicas: int,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Does nothing yet.

        Args:
            operations: change the replicas.
            proxies: say what is wanted.
            cooldown_secs: after so long without a request Triton is scaled to zero.
            replicas: as many are there after the first request.
            pace: how often to look.
            clock: the time in seconds.
        """
        self._operations, self._proxies = operations, proxies
        self._cooldown_secs, self._replicas = cooldown_secs, replicas
        self._pace = pace or Pace()
        self._idleness = Idleness(clock)
        self._unanswered = 0
        self._done: dict[tuple[str, str], int] = {}
        self._failed = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autoscaler", daemon=True)

    def start(self) -> None:
        """Looks from now on."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more, and waits for a change that is being made."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def statistics(self) -> AutoscalerStatistics:
        """What it sees and did up to this moment."""
        return AutoscalerStatistics(self._idleness.secs, self._unanswered, dict(self._done))

    def _run(self) -> None:
        pause = 0.0
        while not self._closed.wait(pause):
            try:
                pause = self._look()
                self._failed = ""
            except (KubernetesError, OperationError) as error:
                # What can't be seen is no reason to take a Triton away.
                self._idleness.interrupt()
                pause = self._pace.asleep_secs
                if self._failed != str(error):
                    self._failed = str(error)
                    _LOG.warning("the autoscaler can't look: %s", error)

    def _look(self) -> float:
        """Looks once, and acts; returns how long to wait until the next time."""
        replicas = self._operations.replicas(_WHAT)
        found = self._proxies.ask()
        self._unanswered = sum(demand is None for demand in found.values())
        wanted = self._idleness.saw(found)
        if replicas:
            if self._idleness.secs < self._cooldown_secs:
                return self._pace.awake_secs
            minutes = f"{self._idleness.secs / 60:.0f}"
            return self._scale("down", 0, f"nobody asked for anything for {minutes} min")
        # The time that counts begins once there is one.
        self._idleness.interrupt()
        return self._scale("up", self._replicas, "a request waits") if wanted else self._pace.asleep_secs

    def _scale(self, direction: str, replicas: int, why: str) -> float:
        code = "OK"
        try:
            self._operations.scale_automatically(_WHAT, replicas, why)
            _LOG.info("%s scaled %s to %d replicas: %s", _WHAT, direction, replicas, why)
            return self._pace.asleep_secs
        except OperationError as error:
            code = error.status.code.name
            _LOG.warning("%s can't be scaled %s to %d replicas: %s", _WHAT, direction, replicas, error)
            return self._pace.refused_secs
        finally:
            self._done[direction, code] = self._done.get((direction, code), 0) + 1

"""How many calls may wait until their callers are known: each may hold a thread, and anybody can make one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from domino_identity.decisions import Standing
from mm_service.waiting import WouldBlock

# Those for whom `domino_identity.decisions` has places, and as many more as are on their way there or back.
_MOST: Mapping[Standing, int] = {Standing.STRANGER: 96, Standing.LAPSED: 144}
MOST_WAITING = sum(_MOST.values())


class WaitingCalls:
    """Counts the calls that wait: those of callers that were known before, and those of strangers, each by itself."""

    def __init__(self, workers: int = 1) -> None:
        """Nobody waits.

        Args:
            workers: processes that serve the same callers, this one among them: each has a part of the places.
        """
        self._most = {standing: max(most // workers, 1) for standing, most in _MOST.items()}
        self._lock = threading.Lock()
        self._waiting: Counter[Standing] = Counter()

    def begin_nowait(self, standing: Standing) -> None:
        """Counts a call that waits, until `end`.

        Args:
            standing: its caller's, STRANGER or LAPSED.

        Raises:
            WouldBlock: as many wait as may.
        """
        with self._lock:
            if self._waiting[standing] >= self._most[standing]:
                raise WouldBlock
            self._waiting[standing] += 1

    def end(self, standing: Standing) -> None:
        """A call waits no more.

        Args:
            standing: as it began to.
        """
        with self._lock:
            self._waiting[standing] -= 1

    def statistics(self) -> Mapping[str, int]:
        """How many calls wait, by the standing of their callers."""
        with self._lock:
            return {standing.value: self._waiting[standing] for standing in _MOST}

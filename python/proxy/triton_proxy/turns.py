"""How many calls may wait until it is known who makes them: each holds a thread, whoever made it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from domino_identity.decisions import Standing

# Those for whom `auth.decisions` has places, and as many more as are on their way there or back.
_MOST: Mapping[Standing, int] = {Standing.STRANGER: 96, Standing.LAPSED: 144}
ALL_TURNS = sum(_MOST.values())


class Turns:
    """Counts the calls that wait: those of callers that were known before, and those of strangers, each by itself."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._lock = threading.Lock()
        self._waiting: Counter[Standing] = Counter()

    def take(self, standing: Standing) -> bool:
        """Whether a call may wait; `give_back` once it does no more.

        Args:
            standing: its caller's, STRANGER or LAPSED.
        """
        with self._lock:
            if self._waiting[standing] >= _MOST[standing]:
                return False
            self._waiting[standing] += 1
            return True

    def give_back(self, standing: Standing) -> None:
        """A call waits no more.

        Args:
            standing: as it was taken.
        """
        with self._lock:
            self._waiting[standing] -= 1

    def statistics(self) -> Mapping[str, int]:
        """How many calls wait, by the standing of their callers."""
        with self._lock:
            return {standing.value: self._waiting[standing] for standing in _MOST}

"""Requests that want a Triton, and wait where there is none: a scaler wakes Triton for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# How often a request that waits looks whether its call has ended.
_LOOK_SECS = 0.5


@dataclass(frozen=True)
class AwaitedStatistics:
    """What was wanted of Triton.

    Attributes:
        wanted: requests so far that want a Triton.
        waiting: of these, those that wait at this moment, since there is none.
    """

    wanted: int
    waiting: int


class Awaited:
    """The wait for the first Triton; from any thread."""

    def __init__(self, there: Callable[[], bool], look: Callable[[], None], longest_secs: float) -> None:
        """Nobody waits.

        Args:
            there: says whether there is one.
            look: looks soon whether there is.
            longest_secs: longest wait of a request; 0 for none, so that it fails at once.
        """
        self.longest_secs = longest_secs
        self._there = there
        self._look = look
        self._came = threading.Condition()
        self._wanted = self._waiting = 0
        self._since: float | None = None
        self._closed = False

    @property
    def missing(self) -> bool:
        """Whether there is none, and requests wait for that."""
        return self.longest_secs > 0 and not self._there()

    @property
    def waited_secs(self) -> float:
        """For how long requests have waited by now; 0 where none did since there was a Triton."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def statistics(self) -> AwaitedStatistics:
        """What was wanted up to this moment."""
        with self._came:
            return AwaitedStatistics(self._wanted, self._waiting)

    def want(self) -> None:
        """Counts a request."""
        with self._came:
            self._wanted += 1

    def wait(self, over: Callable[[], bool]) -> bool:
        """Waits until there is a Triton, for `longest_secs` at most.

        Args:
            over: says that nobody waits for this request any more; is asked every half a second.

        Returns:
            Whether there is one.
        """
        deadline = time.monotonic() + self.longest_secs
        with self._came:
            if self._since is None:
                self._since = time.monotonic()
            self._waiting += 1
            try:
                while not self._there():
                    left = deadline - time.monotonic()
                    if left <= 0 or self._closed or over():
                        return False
                    self._look()
                    self._came.wait(min(left, _LOOK_SECS))
                return True
            finally:
                self._waiting -= 1

    def came(self) -> None:
        """There is one now."""
        with self._came:
            self._since = None
            self._came.notify_all()

    def close(self) -> None:
        """Ends all waits."""
        with self._came:
            self._closed = True
            self._came.notify_all()

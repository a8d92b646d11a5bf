"""A bound on the questions about callers that are under way at once, and on the callers that wait for an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from domino_identity import CutShort, IdentityUnavailable

# A question takes 0.05 to 0.1 s: by then those that are under way now have their answers.
_RETRY_SECS = 1.0
_FULL = "the proxy is finding out about as many unknown callers as it does at once; try again in a second"
_NO_TURN = "the proxy did not get to ask who is calling within the call's deadline; allow more time"


@dataclass(frozen=True)
class QuestionLimitStatistics:
    """How much of a limit is in use.

    Attributes:
        asking: questions under way.
        waiting: callers that wait for a question to begin, or for the answer to another caller's.
        refused: callers that were refused so far.
    """

    asking: int
    waiting: int
    refused: int


class QuestionLimit:
    """The limit of one group of callers. Each caller holds a thread: without a bound they would take all there are."""

    def __init__(self, *, questions: int, callers: int | None) -> None:
        """Nothing is under way.

        Args:
            questions: most questions under way.
            callers: most callers that ask or wait; None for any number.
        """
        self._free = threading.Semaphore(questions)
        self._most_callers = callers
        self._lock = threading.Lock()
        self._callers = self._asking = self._refused = 0

    @property
    def full(self) -> bool:
        """Whether another caller would be refused."""
        return self._most_callers is not None and self._callers >= self._most_callers

    def refuse_if_full(self) -> None:
        """Counts a caller as refused where `caller` would refuse it.

        Raises:
            IdentityUnavailable: it would; it says when to try again.
        """
        with self._lock:
            self._refuse_if_full()

    def _refuse_if_full(self) -> None:
        if self.full:
            self._refused += 1
            raise IdentityUnavailable(_FULL, _RETRY_SECS)

    @contextmanager
    def caller(self) -> Iterator[None]:
        """Counts a caller that asks or waits.

        Raises:
            IdentityUnavailable: there are as many as may be; it says when to try again.
        """
        with self._lock:
            self._refuse_if_full()
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1

    @contextmanager
    def question(self, timeout_secs: float) -> Iterator[None]:
        """Counts a question that is under way, for a caller that is counted; waits until it may be.

        Args:
            timeout_secs: longest time to wait.

        Raises:
            CutShort: none of those under way ended in time.
        """
        if not self._free.acquire(timeout=max(timeout_secs, 0)):
            raise CutShort(_NO_TURN)
        try:
            with self._lock:
                self._asking += 1
            yield
        finally:
            with self._lock:
                self._asking -= 1
            self._free.release()

    def statistics(self) -> QuestionLimitStatistics:
        """How much is in use at this moment."""
        with self._lock:
            return QuestionLimitStatistics(self._asking, self._callers - self._asking, self._refused)

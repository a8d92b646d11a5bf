"""A circuit breaker: while the server that is asked is dead, asking costs nothing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from domino_identity import Authenticator, CutShort, IdentityUnavailable, NotAuthenticated, Principal
from domino_identity.credential import Credential

_FAILURES = 5
_OPEN_SECS = 5.0
# An answer takes 0.1 s: a caller that waited so long for it knows that something is wrong. One that waited less does
# not: callers with tiny deadlines, known or not, must not be able to shut all others out.
_FAIR_SECS = 1.0
_OPEN = "Domino has not answered for a while; try again in some seconds"


@dataclass(frozen=True)
class CircuitStatistics:
    """How one circuit stands.

    Attributes:
        failures: questions in a row that were not decided.
        open: whether all but probes are refused.
        opened: times so far that it opened, once more after each probe that failed.
        refused: questions so far that were refused without asking.
    """

    failures: int
    open: bool
    opened: int
    refused: int


@dataclass(frozen=True)
class BreakerStatistics:
    """How both circuits stand.

    Attributes:
        known: the one of credentials that were good before.
        strangers: the one of all others.
    """

    known: CircuitStatistics
    strangers: CircuitStatistics


class Breaker:
    """Passes questions on until five in a row were not decided; then refuses all for about five seconds.

    After that, one question goes through as a probe; its outcome closes the breaker or opens it again.

    Known credentials and those of strangers have a circuit each, so that nothing a stranger sends changes what a known
    caller gets. A failure with a credential that was good before says something about Domino. One with a stranger's may
    be about that credential alone, such as a header that Domino's front end chokes on; before it shuts other strangers
    out, Domino is asked without any credential, and only what happens to that question is believed.
    """

    def __init__(
        self,
        inner: Authenticator,
        answers: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """A closed breaker.

        Args:
            inner: asks Domino.
            answers: asks Domino without a credential, and says whether it answers.
            clock: the time in seconds.
            jitter: a number between two, so that several proxies do not probe together.
        """
        self._inner = inner
        self._clock = clock
        self._known = _Circuit(lambda: True, clock, jitter)
        self._strangers = _Circuit(lambda: not answers(), clock, jitter)

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Names the principal; see `Authenticator`."""
        circuit = self._known if known else self._strangers
        asked_at = self._clock()
        circuit.enter()
        try:
            principal = self._inner.authenticate(credential, deadline, known=known)
        except IdentityUnavailable as trouble:
            if not isinstance(trouble, CutShort) or self._clock() - asked_at >= _FAIR_SECS:
                circuit.failed()
            raise
        except NotAuthenticated:
            circuit.answered()
            raise
        circuit.answered()
        return principal

    def statistics(self) -> BreakerStatistics:
        """How both circuits stand at this moment."""
        return BreakerStatistics(self._known.statistics(), self._strangers.statistics())


class _Circuit:
    """Counts failures in a row."""

    def __init__(
        self, dead: Callable[[], bool], clock: Callable[[], float], jitter: Callable[[float, float], float]
    ) -> None:
        """Closed.

        Args:
            dead: whether enough failures mean that nobody would be answered.
            clock: the time in seconds.
            jitter: a number between two.
        """
        self._dead = dead
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._failures = self._opened = self._refused = 0
        self._judging = False
        # When the next question may pass; None while it is closed.
        self._probe_at: float | None = None

    def enter(self) -> None:
        """Lets a question pass, or raises IdentityUnavailable."""
        with self._lock:
            if self._probe_at is None:
                return
            left = self._probe_at - self._clock()
            if left > 0:
                self._refused += 1
                raise IdentityUnavailable(_OPEN, left)
            self._shut_until_probe()  # For all but this one, which is the probe.

    def answered(self) -> None:
        with self._lock:
            self._close()

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures < _FAILURES or self._judging:
                return
            self._judging = True
        dead = True
        try:
            dead = self._dead()
        finally:
            with self._lock:
                self._judging = False
                if dead:
                    self._opened += 1
                    self._shut_until_probe()
                else:
                    self._close()

    def statistics(self) -> CircuitStatistics:
        with self._lock:
            return CircuitStatistics(self._failures, self._probe_at is not None, self._opened, self._refused)

    def _shut_until_probe(self) -> None:
        self._probe_at = self._clock() + _OPEN_SECS * self._jitter(0.8, 1.2)

    def _close(self) -> None:
        self._failures, self._probe_at = 0, None

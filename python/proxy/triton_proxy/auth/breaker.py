"""A circuit breaker: while whom we ask is dead, asking costs nothing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from triton_proxy.auth import Authenticator, CutShort, IdentityUnavailable, NotAuthenticated, Principal
from triton_proxy.auth.credential import Credential

_FAILURES = 5
_OPEN_SECS = 5.0
# Who waited so long for an answer that takes 0.1 s knows that something is wrong. Who waited less does not: callers
# with tiny deadlines, known or not, must not be able to shut all others out.
_FAIR_SECS = 1.0


class Breaker:
    """Passes questions on until five in a row were not decided; then refuses all for about five seconds.

    After that, one question goes through as a probe; its outcome closes the breaker or opens it again.
    """

    def __init__(self, inner: Authenticator, clock: Callable[[], float] = time.monotonic) -> None:
        """A closed breaker.

        Args:
            inner: whom to ask.
            clock: the time in seconds.
        """
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._probe_at = 0.0

    def authenticate(self, credential: Credential, deadline: float) -> Principal:
        """Names the principal; see `Authenticator`."""
        asked_at = self._clock()
        with self._lock:
            if self._failures >= _FAILURES:
                if asked_at < self._probe_at:
                    raise IdentityUnavailable("Domino has not answered for a while; try again in some seconds")
                self._open(asked_at)  # For all but this one, which is the probe.
        try:
            principal = self._inner.authenticate(credential, deadline)
        except IdentityUnavailable as trouble:
            now = self._clock()
            if not isinstance(trouble, CutShort) or now - asked_at >= _FAIR_SECS:
                self._failed(now)
            raise
        except NotAuthenticated:
            self._answered()
            raise
        self._answered()
        return principal

    def _answered(self) -> None:
        with self._lock:
            self._failures = 0

    def _failed(self, now: float) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= _FAILURES:
                self._open(now)

    def _open(self, now: float) -> None:
        # Jitter keeps several proxies from probing together.
        self._probe_at = now + _OPEN_SECS * random.uniform(0.8, 1.2)  # noqa: S311 - nothing to guess

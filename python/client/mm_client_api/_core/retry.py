"""Whether and when the client opens another call after the proxy ended one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

import grpc

from mm_client_api._core.call_status import CallStatus
from mm_client_api.credentials import Credentials, forget
from mm_client_api.errors import CredentialsError
from multimodal_contract import ADMITTED

# Most seconds that one stream waits, all its waits together, between two packets that the proxy answers.
LONGEST_WAIT_SECS = 60.0
# The n-th wait in a row is at most this long, doubled n times. Half of it is left to chance: a proxy that restarts
# must not get all its clients back at one moment.
FIRST_WAIT_SECS = 0.1
LARGEST_WAIT_SECS = 5.0
# Most seconds that a call waits for a Triton that is being started, where its caller sets no deadline: loading models
# may take half an hour.
LONGEST_START_SECS = 1800.0
# The proxy admitted a call that lived so long, even where nothing was sent in it. It refuses within its own time limit
# for Domino, which is shorter.
SETTLED_SECS = 10.0

# A call that is opened again sends nothing before the proxy's ADMITTED: whatever becomes of it until then, such as a
# connection that the old proxy closes as it stops, nothing can have been accepted. A proxy that says nothing before its
# first Ack gets the packets after this time.
ADMITTED_WITHIN_SECS = 1.0


def deadline_in(secs: float | None) -> float | None:
    """Return the time of `time.monotonic` that is so many seconds away; None where there is no limit."""
    return None if secs is None else time.monotonic() + secs


class RetryPolicy:
    """Decides for one stream, or one unary call, whether another call follows the one that ended.

    It keeps what it needs to know of the calls so far. Its methods may block for credentials.

    Args:
        credentials: asked once for each call.
        deadline: when all calls are to be over, of `clock`; None is no limit.
        trace: headers of the trace that all calls belong to.
        clock: seconds that only grow; tests pass their own.
    """

    def __init__(
        self,
        credentials: Credentials,
        deadline: float | None,
        *,
        trace: tuple[tuple[str, str], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._trace = trace
        self._deadline = deadline
        self._clock = clock
        self._sent_as: tuple[tuple[str, str], ...] = ()
        self._renewed: tuple[tuple[str, str], ...] | None = None
        self._opened_at = 0.0
        self._admitted = self._answered = False
        self._calls = 0
        # Since the last answer:
        self._renewals = self._waits = 0
        self._waited_secs = 0.0
        self._starting_since: float | None = None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the caller's identity and trace for a call that is about to be opened.

        Raises:
            CredentialsError: there is none now.
        """
        self._sent_as = tuple(self._credentials.metadata()) if self._renewed is None else self._renewed
        self._renewed = None
        self._admitted = self._answered = False
        self._opened_at = self._clock()
        self._calls += 1
        return self._sent_as + self._trace

    @property
    def again(self) -> bool:
        """Whether the present call is not the first."""
        return self._calls > 1

    @property
    def hold_back_secs(self) -> float:
        """How long the present call sends nothing unless the proxy admits it before, in seconds."""
        return ADMITTED_WITHIN_SECS if self.again else 0.0

    def admitted(self, initial: Iterable[tuple[str, str | bytes]] | None) -> bool:
        """Return whether the present call's initial metadata says that the proxy has admitted it."""
        self._admitted = ADMITTED in tuple(initial or ())
        return self._admitted

    @property
    def timeout(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - self._clock(), 0.0)

    def answered(self) -> None:
        """Note that the proxy has answered a packet of the present call."""
        self._admitted = self._answered = True
        self._renewals = self._waits = 0
        self._waited_secs = 0.0
        self._starting_since = None

    def wait_secs(self, status: CallStatus, correlation_id: str = "") -> float:
        """Return how many seconds to wait before another call.

        Raises:
            CallError: the status's, where no call follows.
        """
        # The proxy admits a caller before it reads anything: without an answer nothing was accepted.
        refused = status.code is grpc.StatusCode.UNAUTHENTICATED and not self._answered
        if not (status.not_accepted or refused):
            raise status.error(correlation_id)
        if status.code is grpc.StatusCode.UNAUTHENTICATED:
            self._renew(status, correlation_id)
            return 0.0
        if status.starting:
            return self._start_secs(status, correlation_id)
        limited = status.code is grpc.StatusCode.RESOURCE_EXHAUSTED and status.retry_after_secs is not None
        # A call that reaches a server which stops just then is ended with CANCELLED.
        if not limited and status.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise status.error(correlation_id)
        if self.again and not self._admitted:
            # It may have tried to connect for long.
            self._waited_secs += self._clock() - self._opened_at
        longest = min(FIRST_WAIT_SECS * 2.0 ** min(self._waits, 32), LARGEST_WAIT_SECS)
        secs = (status.retry_after_secs or 0.0) + longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        left = LONGEST_WAIT_SECS - self._waited_secs
        if secs > (left if self.timeout is None else min(left, self.timeout)):
            raise status.error(correlation_id)
        self._waits += 1
        self._waited_secs += secs
        return secs

    def _start_secs(self, status: CallStatus, correlation_id: str) -> float:
        """How long to wait before asking again whether Triton has started."""
        now = self._clock()
        if self._starting_since is None:
            self._starting_since = now
        secs = (status.retry_after_secs or LARGEST_WAIT_SECS) * random.uniform(1, 1.2)  # noqa: S311 - no secret
        left = LONGEST_START_SECS - (now - self._starting_since)
        if secs > (left if self.timeout is None else self.timeout):
            raise status.error(correlation_id)
        return secs

    def _renew(self, status: CallStatus, correlation_id: str) -> None:
        """Get credentials other than those refused; a second refusal in a row is the end."""
        if self._clock() - self._opened_at >= SETTLED_SECS:
            self._renewals = 0
        if self._renewals:
            raise status.error(correlation_id)
        forget(self._credentials, self._sent_as)
        try:
            renewed = tuple(self._credentials.metadata())
        except CredentialsError as error:
            raise status.error(correlation_id) from error
        if renewed == self._sent_as:
            raise status.error(correlation_id)
        self._renewed = renewed
        self._renewals += 1

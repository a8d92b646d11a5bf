"""Whether and when a call that the proxy ended is opened again; shared by the sync and the async client."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import grpc

from mm_client_api.credentials import Credentials, forget
from mm_client_api.errors import CallError, CredentialsError, error_of_call
from multimodal_contract import ADMITTED, NOT_ACCEPTED, RETRY_AFTER_MS

# Most seconds that one stream waits, all its waits together, between two packets that the proxy answers.
LONGEST_WAIT_SECS = 60.0
# The n-th wait in a row is at most this long, doubled n times. Half of it is left to chance: a proxy that restarts
# must not get all its clients back at one moment.
FIRST_WAIT_SECS = 0.1
LARGEST_WAIT_SECS = 5.0
# A call that lived so long was let in, even where nothing was sent in it. The proxy refuses within its own time limit
# for Domino, which is shorter.
SETTLED_SECS = 10.0

# A call that is opened again sends nothing before the proxy's ADMITTED: whatever becomes of it until then, such as a
# connection that the old proxy closes as it stops, nothing can have been accepted. A proxy that says nothing before its
# first Ack gets the packets after this time.
ADMITTED_WITHIN_SECS = 1.0


@dataclass(frozen=True)
class Ending:
    """How the proxy, or gRPC for it, ended a call with an error.

    Attributes:
        code: gRPC's.
        details: the proxy's words.
        not_accepted: the proxy says that it did not accept the packets it did not answer.
        retry_after_secs: how long the proxy asks to wait; None where it does not.
        raised: what gRPC raised.
    """

    code: grpc.StatusCode
    details: str
    not_accepted: bool
    retry_after_secs: float | None
    raised: grpc.RpcError

    @classmethod
    def of(
        cls,
        raised: grpc.RpcError,
        code: grpc.StatusCode,
        details: str | None,
        trailing: Iterable[tuple[str, str | bytes]] | None,
    ) -> Ending:
        """Read what a call ended with; `trailing` is its trailing metadata."""
        # Not dict(trailing), which fails on the type that older releases of grpc.aio have for it.
        told = {key: value for key, value in trailing or ()}  # noqa: C416
        hint = told.get(RETRY_AFTER_MS)
        # Nothing but digits: float() would also take "nan" and "inf".
        millis = int(hint) if isinstance(hint, str) and hint.isdecimal() and len(hint) < 10 else None
        return cls(
            code,
            details or "",
            told.get(NOT_ACCEPTED[0]) == NOT_ACCEPTED[1],
            None if millis is None else millis / 1000,
            raised,
        )

    def without_packets(self) -> Ending:
        """Return the same ending, of a call in which no packet was sent."""
        return replace(self, not_accepted=True)

    def error(self, correlation_id: str = "") -> CallError:
        """Return the exception that this ending is to the caller."""
        error = error_of_call(self.code, self.details, correlation_id, retry_after_secs=self.retry_after_secs)
        error.__cause__ = self.raised
        return error


def deadline_in(secs: float | None) -> float | None:
    """Return the time of `time.monotonic` that is so many seconds away; None where there is no limit."""
    return None if secs is None else time.monotonic() + secs


class Reopening:
    """What one stream, or one unary call, knows of its calls so far. Its methods may block for credentials.

    Args:
        credentials: asked once for each call.
        deadline: when all calls are to be over, of `time.monotonic`; None is no limit.
    """

    def __init__(self, credentials: Credentials, deadline: float | None) -> None:
        self._credentials = credentials
        self._deadline = deadline
        self._sent_as: tuple[tuple[str, str], ...] = ()
        self._renewed: tuple[tuple[str, str], ...] | None = None
        self._opened_at = 0.0
        self._let_in = self._answered = False
        self._calls = 0
        # Since the last answer:
        self._renewals = self._waits = 0
        self._waited_secs = 0.0

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the caller's identity for a call that is about to be opened.

        Raises:
            CredentialsError: there is none now.
        """
        self._sent_as = tuple(self._credentials.metadata()) if self._renewed is None else self._renewed
        self._renewed = None
        self._let_in = self._answered = False
        self._opened_at = time.monotonic()
        self._calls += 1
        return self._sent_as

    @property
    def again(self) -> bool:
        """Whether the present call is not the first."""
        return self._calls > 1

    def admitted(self, initial: Iterable[tuple[str, str | bytes]] | None) -> bool:
        """Tell whether the present call's initial metadata says that the proxy has let it in."""
        self._let_in = ADMITTED in tuple(initial or ())
        return self._let_in

    @property
    def timeout(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def answered(self) -> None:
        """The proxy has answered a packet of the present call."""
        self._let_in = self._answered = True
        self._renewals = self._waits = 0
        self._waited_secs = 0.0

    def wait_secs(self, ending: Ending, correlation_id: str = "") -> float:
        """Decide about another call, and return how long to wait before it.

        Raises:
            CallError: the ending's, where the call is not opened again.
        """
        # The proxy lets a caller in before it reads anything: without an answer nothing was accepted.
        refused = ending.code is grpc.StatusCode.UNAUTHENTICATED and not self._answered
        if not (ending.not_accepted or refused):
            raise ending.error(correlation_id)
        if ending.code is grpc.StatusCode.UNAUTHENTICATED:
            self._renew(ending, correlation_id)
            return 0.0
        limited = ending.code is grpc.StatusCode.RESOURCE_EXHAUSTED and ending.retry_after_secs is not None
        # A call that reaches a server which stops just then is ended with CANCELLED.
        if not limited and ending.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise ending.error(correlation_id)
        if self.again and not self._let_in:
            # It may have tried to connect for long.
            self._waited_secs += time.monotonic() - self._opened_at
        longest = min(FIRST_WAIT_SECS * 2.0 ** min(self._waits, 32), LARGEST_WAIT_SECS)
        secs = (ending.retry_after_secs or 0.0) + longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        left = LONGEST_WAIT_SECS - self._waited_secs
        if secs > (left if self.timeout is None else min(left, self.timeout)):
            raise ending.error(correlation_id)
        self._waits += 1
        self._waited_secs += secs
        return secs

    def _renew(self, ending: Ending, correlation_id: str) -> None:
        """Get credentials other than those refused; a second refusal in a row is the end."""
        if time.monotonic() - self._opened_at >= SETTLED_SECS:
            self._renewals = 0
        if self._renewals:
            raise ending.error(correlation_id)
        forget(self._credentials, self._sent_as)
        try:
            renewed = tuple(self._credentials.metadata())
        except CredentialsError as error:
            raise ending.error(correlation_id) from error
        if renewed == self._sent_as:
            raise ending.error(correlation_id)
        self._renewed = renewed
        self._renewals += 1

"""The caller of a request, from its headers; the same for every transport."""

from __future__ import annotations

import time
from collections.abc import Iterable

from domino_identity import IdentityUnavailable, NotAuthenticated, caller
from domino_identity.credential import UnusableCredential, from_headers
from domino_identity.decisions import Decisions
from mm_service.status import Code, Status
from scale_service.errors import OperationError
from scale_service.values import Caller

# AUTH_TIMEOUT_SECS bounds one question; this is for those that wait for another's.
_LONGEST_SECS = 60.0


class KnownCaller:
    """A caller whose credential named a principal, for as long as that stands."""

    def __init__(self, identity: caller.Caller, peer: str) -> None:
        """Made by `Authentication.caller`."""
        self._identity = identity
        self._peer = peer

    def confirm(self) -> Caller:
        """The caller, whose credential is looked at again where the decision about it has lapsed.

        Raises:
            OperationError: it names nobody any more, or nobody can say.
        """
        try:
            self._identity.confirm(time.monotonic() + _LONGEST_SECS)
        except NotAuthenticated as error:
            raise OperationError(Status(Code.UNAUTHENTICATED, str(error))) from None
        except IdentityUnavailable as error:
            raise OperationError(Status(Code.UNAVAILABLE, str(error), error.retry_after_secs)) from None
        return Caller(self._identity.principal, self._identity.kind, self._peer)


class Authentication:
    """Finds out who is calling."""

    def __init__(self, decisions: Decisions) -> None:
        """Asks nobody yet.

        Args:
            decisions: say whom a credential belongs to.
        """
        self._decisions = decisions

    def caller(self, headers: Iterable[tuple[str, str | bytes]], peer: str, *, noun: str = "header") -> KnownCaller:
        """Names the caller; may wait for Domino or Keycloak.

        Args:
            headers: of the request.
            peer: the other end's address.
            noun: what the protocol calls a header.

        Raises:
            OperationError: there is no credential, it belongs to nobody, or nobody can say.
        """
        try:
            credential = from_headers(headers, noun=noun)
            decision = self._decisions.decide(credential, time.monotonic() + _LONGEST_SECS)
        except (UnusableCredential, NotAuthenticated) as error:
            raise OperationError(Status(Code.UNAUTHENTICATED, str(error))) from None
        except IdentityUnavailable as error:
            raise OperationError(Status(Code.UNAVAILABLE, str(error), error.retry_after_secs)) from None
        return KnownCaller(caller.Caller(self._decisions, credential, decision), peer)

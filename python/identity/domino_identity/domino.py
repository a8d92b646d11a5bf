"""Asking Domino's front end who is behind a credential.

Domino answers `GET /v4/auth/principal` with 200 for everybody: an unknown key is an anonymous principal, not a 401.
So the answer's content decides, and whatever can't be read is a failure of Domino, never a pass.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import jwt

from domino_identity import CutShort, IdentityUnavailable, NotAuthenticated, Principal
from domino_identity.credential import Credential, Kind
from domino_identity.http import Get, NoAnswer, warn_of_plaintext
from domino_identity.names import UnusableName, principal_name

_LOG = logging.getLogger(__name__)
_PATH = "/v4/auth/principal"
# None of them is present for everybody (facts from Domino's public documents): the first that is names the user. Not
# `email`: users fill it in, and nothing in the answer says that Domino has verified it.
_NAMES = ("canonicalName", "userName", "canonicalId", "userId")
_REFUSED = "Domino does not accept these credentials; check that the API key or token is current"
_REQUEST_REFUSED = (
    "Domino refuses to look at these credentials (HTTP {status}); check that the API key or token is current. A token "
    "that is too long for Domino's front end can be verified by the proxy: the operator sets KEYCLOAK_ISSUER"
)
# Of all that is 4xx, these are not about the credential, the one thing in the request that differs: there is no such
# path or method at this address, or this is not the moment.
_NOT_ABOUT_THE_CREDENTIAL = frozenset({404, 405, 408, 410, 421, 425, 426, 429})
_TRY_AGAIN = "Domino can't say who is calling just now; try again"
_TOO_SHORT = "Domino did not say who is calling within the call's deadline; allow more time"
_ATTEMPTS = 3
_FIRST_PAUSE_SECS = 0.05


class DominoPrincipal:
    """The authenticator that makes a principal call, for both kinds of credential."""

    def __init__(
        self,
        host: str,
        client: Get,
        *,
        timeout_secs: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Nothing is called yet.

        Args:
            host: Domino's front end, `http[s]://HOST[:PORT]`.
            client: connections to use.
            timeout_secs: longest time for one question, retries included.
            clock: the time that deadlines are compared with, in seconds.
            sleep: waits so many seconds.
            jitter: a number between two, so that the callers of one failure do not come back together.
        """
        warn_of_plaintext("callers' credentials go to Domino", host)
        self._url = host + _PATH
        self._client = client
        self._timeout_secs = timeout_secs
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def answers(self) -> bool:
        """Whether Domino answers a question that carries no credential; with whatever, short of an error of its own."""
        try:
            status, _ = self._client.get(self._url, {}, timeout_secs=self._timeout_secs)
        except NoAnswer:
            return False
        return status < 500

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Names the principal; see `Authenticator`."""
        own_deadline = self._clock() + self._timeout_secs
        hurried = deadline < own_deadline
        deadline = min(deadline, own_deadline)
        trouble = "no time was left"
        for attempt in range(_ATTEMPTS):
            pause = _FIRST_PAUSE_SECS * 2**attempt * self._jitter(0.5, 1.5)
            left = deadline - self._clock() - (pause if attempt else 0)
            if left <= 0:
                if hurried:
                    raise CutShort(_TOO_SHORT)
                break
            if attempt:
                self._sleep(pause)
            try:
                status, body = self._client.get(self._url, dict([credential.header]), timeout_secs=left)
            except NoAnswer as error:
                trouble = str(error)
                continue
            if status == 200:
                return replace(read_principal(body), expires_at=_end_of(credential))
            _raise_if_refused(status)
            trouble = f"HTTP {status}"
            if status != 429 and status < 500:
                break
        if hurried and self._clock() >= deadline:
            raise CutShort(_TOO_SHORT)
        _LOG.warning("Domino gave no answer about a principal: %s", trouble)
        raise IdentityUnavailable(_TRY_AGAIN)


def _raise_if_refused(status: int) -> None:
    if status in (401, 403):
        raise NotAuthenticated(_REFUSED)
    if 400 <= status < 500 and status not in _NOT_ABOUT_THE_CREDENTIAL:
        raise NotAuthenticated(_REQUEST_REFUSED.format(status=status))


def read_principal(body: bytes) -> Principal:
    """What a 200 of Domino's principal call says.

    Raises:
        NotAuthenticated: the principal is anonymous.
        IdentityUnavailable: the answer is not one that names a user.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        if answer.get("isAnonymous") is True:
            raise NotAuthenticated(_REFUSED)
        if answer.get("isAnonymous") is False:
            return Principal(_name_in(answer), admin=answer.get("isAdmin") is True)
    _LOG.warning("Domino's answer to a principal call can't be read (%d bytes)", len(body))
    raise IdentityUnavailable(_TRY_AGAIN)


def _name_in(answer: Mapping[str, object]) -> str:
    try:
        name = principal_name(answer, _NAMES)
    except UnusableName as error:
        _LOG.warning("Domino's answer to a principal call names the user in a way that can't be used: %s", error)
        raise IdentityUnavailable(_TRY_AGAIN) from None
    if name is None:
        _LOG.warning("Domino's answer to a principal call names nobody: expected one of %s", ", ".join(_NAMES))
        raise IdentityUnavailable(_TRY_AGAIN)
    return name


def _end_of(credential: Credential) -> float | None:
    """When a token that Domino has just vouched for ends; None where there is nothing to be read about it."""
    if credential.kind is not Kind.TOKEN:
        return None
    try:
        end = float(jwt.decode(credential.secret, options={"verify_signature": False})["exp"])
    except (jwt.PyJWTError, LookupError, ValueError, TypeError, OverflowError):
        return None
    return end if math.isfinite(end) else None

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
from dataclasses import replace

import jwt

from triton_proxy.auth import CutShort, IdentityUnavailable, NotAuthenticated, Principal
from triton_proxy.auth.credential import Credential, Kind
from triton_proxy.auth.http import Client, NoAnswer
from triton_proxy.auth.names import first_name

_LOG = logging.getLogger(__name__)
_PATH = "/v4/auth/principal"
# None of them is present for everybody (facts from Domino's public documents): the first that is names the user.
_NAMES = ("canonicalName", "userName", "email", "canonicalId", "userId")
_REFUSED = "Domino does not accept these credentials; check that the API key or token is current"
_TRY_AGAIN = "Domino can't say who is calling just now; try again"
_TOO_SHORT = "Domino did not say who is calling within the call's deadline; allow more time"
_ATTEMPTS = 3
_FIRST_PAUSE_SECS = 0.05


class DominoPrincipal:
    """The authenticator that makes a principal call, for both kinds of credential."""

    def __init__(self, host: str, client: Client, *, timeout_secs: float) -> None:
        """Nothing is called yet.

        Args:
            host: Domino's front end, `http[s]://HOST[:PORT]`.
            client: connections to use.
            timeout_secs: longest time for one question, retries included.
        """
        self._url = host + _PATH
        self._client = client
        self._timeout_secs = timeout_secs

    def authenticate(self, credential: Credential, deadline: float) -> Principal:
        """Names the principal; see `Authenticator`."""
        own_deadline = time.monotonic() + self._timeout_secs
        hurried = deadline < own_deadline
        deadline = min(deadline, own_deadline)
        trouble = "no time was left"
        for attempt in range(_ATTEMPTS):
            # Jitter keeps the callers of one failure from coming back together.
            pause = _FIRST_PAUSE_SECS * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - nothing to guess
            left = deadline - time.monotonic() - (pause if attempt else 0)
            if left <= 0:
                if hurried:
                    raise CutShort(_TOO_SHORT)
                break
            if attempt:
                time.sleep(pause)
            try:
                status, body = self._client.get(self._url, dict([credential.header]), timeout_secs=left)
            except NoAnswer as error:
                trouble = str(error)
                continue
            if status in (401, 403):
                raise NotAuthenticated(_REFUSED)
            if status == 200:
                return replace(read_principal(body), expires_at=_end_of(credential))
            trouble = f"HTTP {status}"
            if status != 429 and status < 500:
                break
        if hurried and time.monotonic() >= deadline:
            raise CutShort(_TOO_SHORT)
        _LOG.warning("Domino gave no answer about a principal: %s", trouble)
        raise IdentityUnavailable(_TRY_AGAIN)


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
        name = first_name(answer, _NAMES)
        if answer.get("isAnonymous") is False and name is not None:
            return Principal(name=name, admin=answer.get("isAdmin") is True)
    _LOG.warning("Domino's answer to a principal call can't be read (%d bytes)", len(body))
    raise IdentityUnavailable(_TRY_AGAIN)


def _end_of(credential: Credential) -> float | None:
    """When a token that Domino has just vouched for ends; None where there is nothing to be read about it."""
    if credential.kind is not Kind.TOKEN:
        return None
    try:
        end = float(jwt.decode(credential.secret, options={"verify_signature": False})["exp"])
    except (jwt.PyJWTError, LookupError, ValueError, TypeError, OverflowError):
        return None
    return end if math.isfinite(end) else None

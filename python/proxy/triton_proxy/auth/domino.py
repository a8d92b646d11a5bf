"""Asking Domino's front end who is behind a credential.

Domino answers `GET /v4/auth/principal` with 200 for everybody: an unknown key is an anonymous principal, not a 401.
So the answer's content decides, and whatever can't be read is a failure of Domino, never a pass.
"""

from __future__ import annotations

import json
import logging
import time

import requests
import urllib3

from triton_proxy.auth import IdentityUnavailable, NotAuthenticated, Principal
from triton_proxy.auth.credential import Credential

_LOG = logging.getLogger(__name__)
_PATH = "/v4/auth/principal"
# A principal takes about half a KB.
_LONGEST_ANSWER = 64 * 1024
# None of them is present for everybody (facts from Domino's public documents): the first that is names the user.
_NAMES = ("canonicalName", "userName", "email", "canonicalId", "userId")
_REFUSED = "Domino does not accept these credentials; check that the API key or token is current"
_TRY_AGAIN = "Domino can't say who is calling just now; try again"


class DominoPrincipal:
    """The authenticator that makes one principal call for each question."""

    def __init__(self, host: str, *, timeout_secs: float, connections: int) -> None:
        """Nothing is called yet.

        Args:
            host: Domino's front end, `http[s]://HOST[:PORT]`.
            timeout_secs: longest time for one question, from connecting to the last byte.
            connections: how many questions may be under way at once.
        """
        self._url = host + _PATH
        self._timeout_secs = timeout_secs
        self._session = requests.Session()
        # A .netrc or a proxy from the environment would replace or divert the caller's credential.
        self._session.trust_env = False
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Closes the connections to Domino."""
        self._session.close()

    def authenticate(self, credential: Credential) -> Principal:
        """Names the principal; see `Authenticator`."""
        try:
            status, body = self._ask(credential)
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            # The exception's text may quote the request; its kind says enough.
            _LOG.warning("Domino gave no answer about a principal: %s", type(error).__name__)
            raise IdentityUnavailable(_TRY_AGAIN) from None
        if status in (401, 403):
            raise NotAuthenticated(_REFUSED)
        if status != 200:
            _LOG.warning("Domino answered a principal call with HTTP %d", status)
            raise IdentityUnavailable(_TRY_AGAIN)
        return read_principal(body)

    def _ask(self, credential: Credential) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._timeout_secs
        with self._session.get(
            self._url,
            headers={
                credential.header: credential.value,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout=self._timeout_secs,
            allow_redirects=False,  # The credential goes to DOMINO_HOST and nowhere else.
            stream=True,
        ) as response:
            body = b""
            # As the bytes come: an answer that drips must not outlive the deadline.
            while piece := response.raw.read1(_LONGEST_ANSWER):
                body += piece
                if len(body) > _LONGEST_ANSWER or time.monotonic() > deadline:
                    raise TimeoutError
            return response.status_code, body


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
        name = next((answer[key] for key in _NAMES if isinstance(answer.get(key), str) and answer[key]), None)
        if answer.get("isAnonymous") is False and name is not None:
            return Principal(name=name, admin=answer.get("isAdmin") is True)
    _LOG.warning("Domino's answer to a principal call can't be read (%d bytes)", len(body))
    raise IdentityUnavailable(_TRY_AGAIN)

"""Who the caller is in Domino: API key or token, where they are found, and how they travel.

Secrets stay inside these objects: no repr, error or log shows them.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mm_client_api.errors import CredentialsError

Metadata = Sequence[tuple[str, str]]

# Domino's access tokens live for about five minutes; a minute-old one is still good for opening a stream.
ACCESS_TOKEN_MAX_AGE_SECS = 60.0
ACCESS_TOKEN_TIMEOUT_SECS = 5.0
# A JWT is a few kilobytes; anything near this is not a token.
_LARGEST_TOKEN_BYTES = 64 * 1024
_PLACES = "DOMINO_USER_TOKEN, $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization"


class Credentials(Protocol):
    """Anything that can name the caller to the proxy."""

    def metadata(self) -> Metadata:
        """Return the gRPC metadata that identifies the caller.

        Called once for each call that is opened, from any thread. May block while it fetches a token.

        Raises:
            CredentialsError: there is no usable credential now.
        """


class ApiKey:
    """A Domino API key, sent as `x-domino-api-key`."""

    def __init__(self, key: str, *, origin: str = "the given API key") -> None:
        self._key = _checked(key, origin)

    def metadata(self) -> Metadata:
        """Return the one entry `x-domino-api-key`."""
        return (("x-domino-api-key", self._key),)

    def __repr__(self) -> str:
        return "ApiKey(<hidden>)"


class BearerToken:
    """A JWT, sent as `authorization: Bearer …`; the value may already begin with the word Bearer."""

    def __init__(self, token: str, *, origin: str = "the given token") -> None:
        words = _checked(token, origin).split(" ", 1)
        bare = words[1].strip() if len(words) == 2 and words[0].lower() == "bearer" else token.strip()
        if not bare or " " in bare or bare.lower() == "bearer":
            raise CredentialsError(f"{origin} is not a token; expected one word, or the word Bearer and one word")
        self._token = bare

    def metadata(self) -> Metadata:
        """Return the one entry `authorization`."""
        return (("authorization", f"Bearer {self._token}"),)

    def __repr__(self) -> str:
        return "BearerToken(<hidden>)"


class AccessTokenEndpoint:
    """Domino's token service inside workspaces, jobs and apps: always a fresh, short-lived JWT.

    Args:
        url: address of the endpoint, `$DOMINO_API_PROXY/access-token`.
        clock: seconds that only grow; tests pass their own.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not url.startswith(("http://", "https://")):
            raise CredentialsError("DOMINO_API_PROXY is not an http:// or https:// address; unset or correct it")
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._token: BearerToken | None = None
        self._fetched_at = 0.0

    def metadata(self) -> Metadata:
        """Return the entry `authorization` with a token that is at most a minute old.

        Raises:
            CredentialsError: the endpoint does not answer, or not with a token.
        """
        with self._lock:
            if self._token is None or self._clock() - self._fetched_at > ACCESS_TOKEN_MAX_AGE_SECS:
                self._token = BearerToken(self._fetch(), origin=f"the answer of {self._url}")
                self._fetched_at = self._clock()
            return self._token.metadata()

    def _fetch(self) -> str:
        try:
            # The service runs beside the workload; a web proxy of the environment must not see the token.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(self._url, timeout=ACCESS_TOKEN_TIMEOUT_SECS) as answer:
                body: bytes = answer.read(_LARGEST_TOKEN_BYTES)
        except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
            raise CredentialsError(f"no token from {self._url}: {error}") from error
        return body.decode("ascii", errors="replace").strip()

    def __repr__(self) -> str:
        return f"AccessTokenEndpoint({self._url!r})"


class EnvironmentCredentials:
    """The first of Domino's usual places that has a credential, asked again for each call.

    In this order: DOMINO_USER_TOKEN, the endpoint $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization.
    An endpoint that does not answer is passed over where a later place has something.

    Args:
        environ: the environment to look into.

    Raises:
        CredentialsError: none of the places has anything, or what is there is malformed.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        self._sources: list[Credentials] = []
        if token := env.get("DOMINO_USER_TOKEN"):
            self._sources.append(BearerToken(token, origin="DOMINO_USER_TOKEN"))
        if api_proxy := env.get("DOMINO_API_PROXY"):
            self._sources.append(AccessTokenEndpoint(f"{api_proxy.rstrip('/')}/access-token"))
        if key := env.get("DOMINO_USER_API_KEY"):
            self._sources.append(ApiKey(key, origin="DOMINO_USER_API_KEY"))
        if token := env.get("Authorization"):
            self._sources.append(BearerToken(token, origin="Authorization"))
        if not self._sources:
            raise CredentialsError(
                f"no Domino credentials found; looked at the argument credentials, then at {_PLACES}. "
                "Set one of them, or pass credentials=ApiKey(…) or BearerToken(…)"
            )

    def metadata(self) -> Metadata:
        """Return the metadata of the first place that has something now.

        Raises:
            CredentialsError: the access-token endpoint fails and no later place is set.
        """
        reasons = []
        for source in self._sources:
            try:
                return source.metadata()
            except CredentialsError as error:
                reasons.append(error.detail)
        raise CredentialsError(f"{'; '.join(reasons)}; no other place has credentials (looked at {_PLACES})")

    def __repr__(self) -> str:
        return f"EnvironmentCredentials({self._sources!r})"


def _checked(secret: str, origin: str) -> str:
    """Return `secret` if it can be sent in a header; the error never quotes it."""
    if not secret.strip():
        raise CredentialsError(f"{origin} is empty")
    if any(not " " <= character <= "~" for character in secret):
        raise CredentialsError(
            f"{origin} has a line break, control or non-ASCII character; expected printable ASCII "
            "(a trailing newline often comes from reading the value out of a file)"
        )
    return secret

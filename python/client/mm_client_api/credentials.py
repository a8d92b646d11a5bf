"""Who the caller is in Domino: API key or token, where they are found, and how they travel.

Secrets stay inside these objects: no repr, error or log shows them.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import math
import os
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from mm_client_api._core.fork import renewed_after_fork
from mm_client_api.errors import CredentialsError

Metadata = Sequence[tuple[str, str]]

# Domino's access tokens live for about five minutes; a minute-old one is still good for opening a stream.
ACCESS_TOKEN_MAX_AGE_SECS = 60.0
ACCESS_TOKEN_TIMEOUT_SECS = 5.0
# A call that is opened with less left would soon be ended again; clocks may differ by as much.
ACCESS_TOKEN_LEAST_LEFT_SECS = 30.0
_LOG = logging.getLogger(__name__)
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


@runtime_checkable
class RenewableCredentials(Credentials, Protocol):
    """Credentials that want to know when the proxy refused what they gave."""

    def refused(self, metadata: Metadata) -> None:
        """The proxy refused `metadata`, because it expired or was revoked: give something else from now on.

        Called from any thread. Calls that follow go on with the old one where there is nothing else.
        """


def forget(credentials: Credentials, refused: Metadata) -> None:
    """Tell `credentials`, if they care, that the proxy refused what they gave."""
    if isinstance(credentials, RenewableCredentials):
        credentials.refused(refused)


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
        self._expires_at = math.inf
        renewed_after_fork(self)

    def metadata(self) -> Metadata:
        """Return the entry `authorization` with a token that is at most a minute old and good for half a minute.

        Raises:
            CredentialsError: the endpoint does not answer, or not with a token.
        """
        with self._lock:
            if self._token is None or self._stale():
                answer = self._fetch()
                self._token = BearerToken(answer, origin=f"the answer of {self._url}")
                self._fetched_at = self._clock()
                self._expires_at = time_in_token(answer, "exp", math.inf)
            return self._token.metadata()

    def refused(self, metadata: Metadata) -> None:
        """Fetch a new token for the next call if `metadata` is the present one."""
        with self._lock:
            if self._token is not None and self._token.metadata() == tuple(metadata):
                self._token = None

    def after_fork(self) -> bool:
        """See `fork.Inherited`: a thread of the parent may hold the lock."""
        self._lock = threading.Lock()
        return False

    def _stale(self) -> bool:
        # A token ends at a time of day, which is not what the clock shows.
        left = self._expires_at - time.time()
        return self._clock() - self._fetched_at > ACCESS_TOKEN_MAX_AGE_SECS or left < ACCESS_TOKEN_LEAST_LEFT_SECS

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
    """The first of Domino's usual places that has a credential; all are looked at again for each call.

    In this order: DOMINO_USER_TOKEN, the endpoint $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization.
    An endpoint that does not answer, and a credential that the proxy refused, are passed over where a later place has
    something.

    Args:
        environ: the environment to look into.

    Raises:
        CredentialsError: none of the places has anything, or what is there is malformed.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        # Keeps its token between calls.
        self._endpoint: tuple[str, AccessTokenEndpoint] | None = None
        # More than there are places: tokens come and go.
        self._refused: deque[Metadata] = deque(maxlen=16)
        self.sources()

    def metadata(self) -> Metadata:
        """Return the metadata of the first place that has something now which the proxy has not refused.

        Where it refused all of them, of the first.

        Raises:
            CredentialsError: there is nothing any more, or the access-token endpoint fails and no later place is set.
        """
        reasons: list[str] = []
        found: list[Metadata] = []
        for _, source in self.sources():
            try:
                found.append(tuple(source.metadata()))
            except CredentialsError as error:
                reasons.append(error.detail)
                continue
            if found[-1] not in self._refused:
                return found[-1]
        if found:
            return found[0]
        raise CredentialsError(f"{'; '.join(reasons)}; no other place has credentials (looked at {_PLACES})")

    def refused(self, metadata: Metadata) -> None:
        """Pass over `metadata` from now on where another place has something."""
        if self._endpoint is not None:
            self._endpoint[1].refused(metadata)
        if tuple(metadata) not in self._refused:
            _LOG.warning("the proxy refused the credential in use; looking again at %s", _PLACES)
            self._refused.append(tuple(metadata))

    def sources(self) -> list[tuple[str, Credentials]]:
        """Return what the environment has now, each with the name of its place, in the order of preference.

        Raises:
            CredentialsError: none of the places has anything, or what is there is malformed.
        """
        env = self._environ
        sources: list[tuple[str, Credentials]] = []
        if token := env.get("DOMINO_USER_TOKEN"):
            sources.append(("DOMINO_USER_TOKEN", BearerToken(token, origin="DOMINO_USER_TOKEN")))
        if api_proxy := env.get("DOMINO_API_PROXY"):
            url = f"{api_proxy.rstrip('/')}/access-token"
            if self._endpoint is None or self._endpoint[0] != url:
                self._endpoint = (url, AccessTokenEndpoint(url))
            sources.append(("$DOMINO_API_PROXY/access-token", self._endpoint[1]))
        if key := env.get("DOMINO_USER_API_KEY"):
            sources.append(("DOMINO_USER_API_KEY", ApiKey(key, origin="DOMINO_USER_API_KEY")))
        if token := env.get("Authorization"):
            sources.append(("Authorization", BearerToken(token, origin="Authorization")))
        if not sources:
            raise CredentialsError(
                f"no Domino credentials found; looked at the argument credentials, then at {_PLACES}. "
                "Set one of them, or pass credentials=ApiKey(…) or BearerToken(…)"
            )
        return sources

    def __repr__(self) -> str:
        return "EnvironmentCredentials(<hidden>)"


def time_in_token(token: str, claim: str, otherwise: float) -> float:
    """Return a time of day that a JWT says, unverified, in seconds since 1970 (RFC 7519, "NumericDate").

    Args:
        token: the token, without the word Bearer.
        claim: "exp" for its end, "iat" for when it was made.
        otherwise: returned where it does not say, or is no JWT.
    """
    try:
        claims = token.split(".")[1]
        seconds = float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))[claim])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return otherwise
    # Python's JSON has numbers that are none.
    return seconds if math.isfinite(seconds) else otherwise


def _checked(secret: str, origin: str) -> str:
    """Return `secret` if it can be sent in a header; the error never quotes it."""
    if not secret.strip():
        raise CredentialsError(f"{origin} is empty; expected an API key or a token; pass one, or set none")
    if any(not " " <= character <= "~" for character in secret):
        raise CredentialsError(
            f"{origin} has a line break, control or non-ASCII character; expected printable ASCII "
            "(a trailing newline often comes from reading the value out of a file)"
        )
    return secret

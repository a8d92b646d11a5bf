"""Requests to the scale service: credentials, errors, and trying again where that is safe."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from mm_client_api.credentials import Credentials, Metadata, forget
from mm_scale.errors import (
    ConflictError,
    DeniedError,
    NotAuthenticatedError,
    RejectedError,
    ScaleError,
    UnavailableError,
    UsageError,
)

_ATTEMPTS = 3
_LONGEST_PAUSE_SECS = 10.0
_LONGEST_TEXT = 2000
_KINDS: dict[int, type[ScaleError]] = {401: NotAuthenticatedError, 403: DeniedError, 409: ConflictError}


class Http:
    """Requests to one service, on connections that are kept."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        ca_bundle: str | None,
        timeout_secs: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects when it is first asked.

        Args:
            url: of the service, http[s]://HOST:PORT.
            credentials: name the caller; asked for each request.
            ca_bundle: PEM file of the authorities for the service's certificate; None for the usual ones.
            timeout_secs: longest time between two pieces of an answer.
            sleep: waits so many seconds.

        Raises:
            UsageError: the address can't be used.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise UsageError(
                "the scale service's address can't be used; expected http://HOST:PORT or https://HOST:PORT, such as"
                " http://triton-inference-server-admin.inference-dev:8000; give it as --url or MM_SCALE_URL"
            )
        self._url = url.rstrip("/")
        self._credentials = credentials
        self._timeout_secs = timeout_secs
        self._sleep = sleep
        self._session = requests.Session()
        if ca_bundle is not None:
            self._session.verify = ca_bundle

    def close(self) -> None:
        """Ends the connections."""
        self._session.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        key: str = "",
    ) -> dict[str, Any]:
        """A request and its answer.

        What does not answer is asked again, three times in all: that is safe for what only reads, and for changes
        under a key.

        Args:
            method: HTTP's.
            path: below the address.
            query: the query's parameters.
            body: what is sent as JSON; None for nothing.
            key: under which the change is made once.

        Raises:
            ScaleError: of the kind that fits the answer's status.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._send(method, path, query, body, key, stream=False)
                return _json(response)
            except UnavailableError as error:
                if attempt == _ATTEMPTS or (method != "GET" and not key):
                    raise
                self._sleep(min(error.retry_after_secs, _LONGEST_PAUSE_SECS))

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """The lines of an answer that comes piece by piece.

        Args:
            path: below the address.

        Raises:
            ScaleError: of the kind that fits the answer's status; UnavailableError where the answer breaks off.
        """
        response = self._send("GET", path, None, None, "", stream=True)
        with response:
            try:
                for line in response.iter_lines():
                    yield json.loads(line)
            except (requests.RequestException, ValueError) as error:
                raise self._no_answer(error) from None

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: object, key: str, *, stream: bool
    ) -> requests.Response:
        metadata: Metadata = ()
        for last in (False, True):
            metadata = tuple(self._credentials.metadata())
            try:
                response = self._session.request(
                    method,
                    self._url + path,
                    params=query,
                    json=body,
                    headers={"Idempotency-Key": key} if key else {},
                    auth=_Headers(metadata),
                    timeout=self._timeout_secs,
                    # A redirect would take an API key to another server.
                    allow_redirects=False,
                    stream=stream,
                )
            except (requests.RequestException, OSError) as error:
                raise self._no_answer(error) from None
            if response.status_code != 401 or last:
                break
            # A short-lived token may have ended on the way, and another place may have a good credential.
            forget(self._credentials, metadata)
            if tuple(self._credentials.metadata()) == metadata:
                break
        if response.status_code == 200:
            return response
        raise _error(response)

    def _no_answer(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"the scale service at {self._url} does not answer ({_why(error)}); expected it at that address; check"
            " --url or MM_SCALE_URL, and that the installation lets this workspace in (networkPolicy.clients)"
        )


class _Headers(requests.auth.AuthBase):
    """Adds the credential; an AuthBase, so that requests takes none out of a ~/.netrc instead."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        for name, value in self._metadata:
            request.headers[name] = value
        return request


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise RejectedError(
            "the answer is no JSON object; expected the scale service there; check --url or MM_SCALE_URL"
        )
    return answer


def _error(response: requests.Response) -> ScaleError:
    status = response.status_code
    try:
        text = str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        text = f"HTTP {status}: {' '.join(response.text.split())[:200]}"
    if status == 429 or status >= 500:
        after = response.headers.get("Retry-After", "")
        return UnavailableError(text[:_LONGEST_TEXT], float(after) if after.isdecimal() else 1.0)
    return _KINDS.get(status, RejectedError)(text[:_LONGEST_TEXT])


def _why(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not one of the authorities that are known here; see --ca-bundle"
    return "the connection failed" if isinstance(error, requests.ConnectionError) else type(error).__name__

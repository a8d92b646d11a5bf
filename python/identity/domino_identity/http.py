"""One bounded GET to a server that decides about identities."""

from __future__ import annotations

import contextlib
import http.cookiejar
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import requests
import urllib3

from mm_service.tls import CertificateError, File
from mm_service.watched_file import WatchedFile

_LOG = logging.getLogger(__name__)
# A principal takes about half a KB, Keycloak's keys about 5.
_LONGEST_ANSWER = 256 * 1024
_LOOK_EVERY_SECS = 1.0

# It quotes headers that it can't parse, and an answer may echo the request with its credential.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class NoAnswer(Exception):  # noqa: N818 - says what happened
    """There is no whole answer; the text names the kind of trouble and quotes nothing."""


class Get(Protocol):
    """Asks a server, as `Client` does."""

    def get(self, url: str, headers: Mapping[str, str], *, timeout_secs: float) -> tuple[int, bytes]:
        """Status and body; raises NoAnswer."""
        ...


class Asked(Protocol):
    """Hears of questions to servers; may be called from any thread, and must not wait."""

    def __call__(self, server: str, secs: float, *, answered: bool) -> None:
        """A question is over.

        Args:
            server: which one was asked, by a name of ours.
            secs: how long that took.
            answered: whether there was a whole answer that is no error of the server's own (HTTP 5xx).
        """


class Timed:
    """Asks by another `Get`, and tells how long that takes."""

    def __init__(self, inner: Get, server: str, asked: Asked | None) -> None:
        """Asks nothing yet.

        Args:
            inner: asks.
            server: which server that is, by a name of ours.
            asked: hears of it; None where nobody wants to.
        """
        self._inner = inner
        self._server = server
        self._asked = asked

    def get(self, url: str, headers: Mapping[str, str], *, timeout_secs: float) -> tuple[int, bytes]:
        """Status and body; raises NoAnswer."""
        if self._asked is None:
            return self._inner.get(url, headers, timeout_secs=timeout_secs)
        began, answered = time.perf_counter(), False
        try:
            status, body = self._inner.get(url, headers, timeout_secs=timeout_secs)
            answered = status < 500
            return status, body
        finally:
            self._asked(self._server, time.perf_counter() - began, answered=answered)


def warn_of_plaintext(what: str, url: str) -> None:
    """Logs a warning, once for each server that is asked, where that is not over TLS.

    Args:
        what: what goes over the connection, as the subject of a sentence with its verb.
        url: of the server.
    """
    if url.startswith("http://"):
        _LOG.warning(
            "%s at %s over plain http: a change to that traffic changes who callers are; use https, or encrypt the"
            " network",
            what,
            url,
        )


class _Alarm:
    """Ends the connection in use when the time is up: a socket's own timeout begins anew at each byte."""

    def __init__(self, secs: float) -> None:
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self.rung = False
        self._timer = threading.Timer(secs, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, sock: socket.socket) -> None:
        with self._lock:
            self._sock = sock
            if self.rung:
                _end(sock)

    def stop(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._sock = None

    def _ring(self) -> None:
        with self._lock:
            self.rung = True
            if self._sock is not None:
                _end(self._sock)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the method of an SSLSocket, which would also drop the TLS: what is read next would pass as decrypted.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


# The alarm of the request that this thread makes, and the authorities that hold for it; a connection learns of them no
# other way.
_of_thread = threading.local()


class _Watched:
    """A connection that the request's alarm can end, from the answer's first byte on."""

    sock: Any

    def getresponse(self) -> urllib3.response.HTTPResponse:
        _of_thread.alarm.watch(self.sock)
        return super().getresponse()  # type: ignore[misc,no-any-return]  # the other base has it


class _Http(_Watched, urllib3.connection.HTTPConnection):  # type: ignore[misc]  # urllib3's own response type
    pass


class _Https(_Watched, urllib3.connection.HTTPSConnection):  # type: ignore[misc]  # as above
    def connect(self) -> None:
        if _of_thread.authorities is not None:
            self.ca_certs, self.ca_cert_data = None, _of_thread.authorities
        super().connect()


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class Client:
    """Connections to identity servers, shared by all calls."""

    def __init__(
        self,
        *,
        connections: int,
        ca_bundle: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is called yet.

        Args:
            connections: how many connections to one server may be kept.
            ca_bundle: PEM file of the authorities to check servers against, looked at once a second at most; None
                for the usual ones. There is no way not to check.
            clock: the time in seconds by which it is looked at.

        Raises:
            CertificateError: the file can't be used.
        """
        self._authorities = None if ca_bundle is None else _authorities(ca_bundle, clock)
        self._session = requests.Session()
        # A .netrc or a proxy from the environment would replace or divert the caller's credential.
        self._session.trust_env = False
        # A cookie that one caller's answer sets would be sent along with the next caller's credential.
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._session.verify = True
        adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
        adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _current_authorities(self) -> str | None:
        if self._authorities is None:
            return None
        self._authorities.look()
        return self._authorities.current

    def get(self, url: str, headers: Mapping[str, str], *, timeout_secs: float) -> tuple[int, bytes]:
        """Status and body; a redirect is an answer like any other and never followed.

        Args:
            url: what to get.
            headers: beside the usual ones.
            timeout_secs: longest time to the last byte; each further address of the host may take as long to connect.

        Raises:
            NoAnswer: there is no whole answer of a sensible size within the time.
        """
        alarm = _of_thread.alarm = _Alarm(timeout_secs)
        _of_thread.authorities = self._current_authorities()
        deadline = time.monotonic() + timeout_secs
        try:
            with self._session.get(
                url,
                headers={**headers, "Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=timeout_secs,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = b""
                while piece := response.raw.read1(_LONGEST_ANSWER):
                    body += piece
                    if len(body) > _LONGEST_ANSWER:
                        raise NoAnswer("answer too large")
                # A connection that the alarm ended looks like an answer that is complete.
                if alarm.rung or time.monotonic() > deadline:
                    raise NoAnswer("answer too slow")
                return response.status_code, body
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # The exception's text may quote the request; its kind says enough.
            raise NoAnswer(type(error).__name__) from None
        finally:
            alarm.stop()


def _authorities(path: str, clock: Callable[[], float]) -> WatchedFile[str]:
    """The authorities' certificates in a file, as PEM."""
    file = File("DOMINO_CA_FILE", path)

    def checked(contents: tuple[bytes, ...]) -> str:
        text = contents[0].decode("ascii", "ignore")
        try:
            # As a connection does it, which would take an empty text for the usual authorities.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError):
            raise CertificateError(f"{file} holds no PEM certificate, or one that can't be read") from None
        return text

    return WatchedFile(
        [path],
        lambda: (file.read(),),
        checked,
        error=CertificateError,
        changed=lambda _: _LOG.info("%s has changed and holds for new connections", file),
        failed=lambda text: _LOG.error("%s has changed, but what was read before stays in use: %s", file, text),
        look_every_secs=_LOOK_EVERY_SECS,
        clock=clock,
    )

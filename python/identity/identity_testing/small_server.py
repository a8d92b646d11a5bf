"""A server that is no proxy: HTTP on loopback, TLS, and for each request the name of its caller.

It stands for what another server of ours makes of the two libraries. It is set up by environment variables, prints its
port, serves until SIGTERM, and then prints which modules of the proxy, and of grpc, it has loaded: none.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from domino_identity import IdentityUnavailable, NotAuthenticated
from domino_identity.credential import UnusableCredential, from_headers
from domino_identity.decisions import Decisions
from domino_identity.factory import authenticator_for, decisions_for
from domino_identity.settings import IdentitySettings
from mm_service import parse, tls
from mm_service.settings import SettingsError, load, setting
from mm_service.supervisor import TerminationSignal, end_with_any_thread

_CALLS = 16
_CALL_SECS = 30.0


@dataclass(frozen=True)
class Settings(IdentitySettings, tls.TlsSettings):
    """What the server runs with."""

    listen_addr: str = setting("127.0.0.1:0", parse.address, "Where the server listens; port 0 takes a free one.")


class SmallServer(ThreadingHTTPServer):
    """Names its callers.

    Attributes:
        decisions: say who is calling.
    """

    daemon_threads = True

    def __init__(self, settings: Settings) -> None:
        host, _, port = settings.listen_addr.rpartition(":")
        self.decisions: Decisions = decisions_for(
            settings, authenticator_for(settings, connections=_CALLS), calls=_CALLS
        )
        self._certificates = tls.for_listener(settings)
        self._context = None if self._certificates is None else tls.server_context(self._certificates.current)
        super().__init__((host, int(port)), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A new connection; its handshake is made in its own thread, with the certificate of this moment."""
        connection, address = super().get_request()
        if self._certificates is not None and self._context is not None:
            pem = self._certificates.renewed()
            if pem is not None:
                self._context = tls.server_context(pem)
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of connections that end early, and of failed handshakes."""
        if not isinstance(sys.exception(), ssl.SSLError | ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class _Handler(BaseHTTPRequestHandler):
    server: SmallServer
    timeout = _CALL_SECS

    def do_GET(self) -> None:
        """200 with the caller's name; 401, or 503 with Retry-After where that is known."""
        try:
            credential = from_headers(self.headers.items())
            decision = self.server.decisions.decide(credential, time.monotonic() + _CALL_SECS)
        except (UnusableCredential, NotAuthenticated) as error:
            self._answer(401, str(error), {"WWW-Authenticate": "Bearer"})
        except IdentityUnavailable as error:
            after = error.retry_after_secs
            self._answer(503, str(error), {} if after is None else {"Retry-After": str(math.ceil(after))})
        else:
            self._answer(200, decision.principal.name, {})

    def _answer(self, status: int, text: str, headers: dict[str, str]) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Logs no request."""


def main() -> int:
    """Serves; returns the exit status."""
    logging.basicConfig(level="INFO")
    end_with_any_thread()
    terminated = TerminationSignal()
    try:
        server = SmallServer(load(Settings, os.environ))
    except (SettingsError, RuntimeError) as error:
        sys.stderr.write(f"small_server: {error}\n")
        return 2
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    terminated.wait()
    server.shutdown()
    server.server_close()
    foreign = sorted(name for name in sys.modules if name.partition(".")[0] in ("triton_proxy", "grpc"))
    sys.stdout.write(f"{foreign}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

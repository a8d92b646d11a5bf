"""Credentials that change, and a real HTTP service that gives tokens as Domino's does."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from client_testing.background import InBackground
from mm_client_api.credentials import Metadata


class Changing:
    """Credentials that are the next of their values after each refusal, and stay at the last.

    Attributes:
        asked: how often they were asked for.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._number = 0
        self.asked = 0

    def metadata(self) -> Metadata:
        """Return the present value."""
        self.asked += 1
        return (("x-domino-api-key", f"key-{self._number}"),)

    def refused(self, metadata: Metadata) -> None:
        """Go on to the next value."""
        if tuple(metadata) == (("x-domino-api-key", f"key-{self._number}"),):
            self._number = min(self._number + 1, self._count - 1)


class TokenService(InBackground, ThreadingHTTPServer):
    """Answers `/access-token` with a new token each time.

    Attributes:
        asked: how often.
        status: of the answers.
        expiries: the times of day when the coming tokens end; without one, tokens are no JWTs.
        claims: what JWTs say beside it.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = 0
        self.status = 200
        self.expiries: list[float] = []
        self.claims: dict[str, float] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def token(self) -> str:
        """Return a new token."""
        self.asked += 1
        if not self.expiries:
            return f"token-{self.asked}"
        claims = json.dumps({**self.claims, "exp": self.expiries.pop(0), "jti": self.asked}).encode()
        return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


class _Handler(BaseHTTPRequestHandler):
    server: TokenService

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/access-token" else 404)
        self.end_headers()
        self.wfile.write(f"{self.server.token()}\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

"""A stand-in for Domino's front end, as far as the product asks it: who is the owner of this credential?

It answers as Domino does: an unknown credential gets 200 and `"isAnonymous": true`, never 401. For tests it misbehaves
on demand. It logs nothing, so no credential is ever written anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from devstack.ports import ADDRESS

_PRINCIPAL_PATH = "/v4/auth/principal"
_WORKSPACES_PATH = "/workspaces/"
_ACCESS_TOKEN = "/access-token"  # noqa: S105  a path
_TOKEN_SECONDS = 300.0

HTML_BODY = b"<html><body><h1>Sign in to Domino</h1></body></html>"


@dataclass(frozen=True)
class Behaviour:
    """How the next answers differ from Domino's usual ones.

    Attributes:
        status: HTTP status instead of 200.
        delay: seconds of silence before the answer.
        drip: seconds over which the body is spread, a byte at a time.
        body: this instead of the JSON.
        content_type: media type that the answer claims.
        location: the Location header, for redirects.
        drop: close the connection without any answer.
    """

    status: int = 200
    delay: float = 0.0
    drip: float = 0.0
    body: bytes | None = None
    content_type: str = "application/json"
    location: str | None = None
    drop: bool = False


@dataclass(frozen=True)
class _User:
    name: str
    user_id: str
    admin: bool

    def principal(self) -> dict[str, object]:
        return {
            "isAnonymous": False,
            "isAdmin": self.admin,
            "canonicalId": self.user_id,
            "canonicalName": self.name,
            "userId": self.user_id,
            "userName": self.name,
            "email": f"{self.name}@example.com",
        }


_ANONYMOUS: dict[str, object] = {"isAnonymous": True, "isAdmin": False}


class DominoStandIn:
    """The stand-in's server; as a context manager it is started on entry and stopped on exit.

    Args:
        port: where to listen; 0 picks a free one, which later starts keep.
        address: where to listen; other than 127.0.0.1 only in a pod of its own, since anybody may ask.
    """

    def __init__(self, port: int = 0, address: str = ADDRESS) -> None:
        self._port = port
        self._address = address
        self._lock = threading.Lock()
        self._users: dict[str, _User] = {}
        self._keys: dict[str, _User] = {}
        self._tokens: dict[str, tuple[_User, float]] = {}
        self._behaviour = Behaviour()
        self._towards: Callable[[str], Behaviour | None] | None = None
        self._calls = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """What DOMINO_HOST is to be, such as "http://127.0.0.1:40000"."""
        return f"http://{ADDRESS}:{self._port}"

    @property
    def calls(self) -> int:
        """How often the principal was asked for so far."""
        with self._lock:
            return self._calls

    def api_proxy_url(self, name: str) -> str:
        """Returns what DOMINO_API_PROXY is in a workspace of this user: there `/access-token` gives fresh tokens."""
        return f"{self.url}{_WORKSPACES_PATH}{name}"

    def add_user(self, name: str, *, api_key: str | None = None, token: str | None = None, admin: bool = False) -> None:
        """Makes a user known.

        Args:
            name: the user's name.
            api_key: value of `X-Domino-Api-Key` that belongs to the user.
            token: bearer token that belongs to the user and does not expire.
            admin: whether Domino calls the user an administrator.
        """
        user = _User(name, uuid.uuid5(uuid.NAMESPACE_DNS, name).hex[:24], admin)
        with self._lock:
            self._users[name] = user
            if api_key is not None:
                self._keys[api_key] = user
            if token is not None:
                self._tokens[token] = (user, float("inf"))

    def remove_user(self, name: str) -> None:
        """Forgets a user: from now on nobody is behind the user's keys and tokens.

        Args:
            name: a user's name.

        Raises:
            KeyError: there is no such user.
        """
        with self._lock:
            user = self._users.pop(name)
            self._keys = {key: owner for key, owner in self._keys.items() if owner is not user}
            self._tokens = {token: entry for token, entry in self._tokens.items() if entry[0] is not user}

    def new_token(self, name: str, lifetime: float = _TOKEN_SECONDS) -> str:
        """Makes a bearer token in the form of a JWT, with a signature that nobody can verify.

        Args:
            name: a user's name.
            lifetime: seconds for which the token is good.

        Returns:
            The token.

        Raises:
            KeyError: there is no such user.
        """
        with self._lock:
            user = self._users[name]
            now = time.time()
            claims = {
                "iss": f"{self.url}/auth/realms/DominoRealm",
                "sub": user.user_id,
                "preferred_username": name,
                "iat": int(now),
                "exp": int(now + lifetime),
                "jti": uuid.uuid4().hex,
            }
            parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
            encoded = [
                base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, secrets.token_bytes(32))
            ]
            token = ".".join(encoded)
            self._tokens[token] = (user, now + lifetime)
            return token

    def behave(self, behaviour: Behaviour | None = None) -> None:
        """Misbehaves from the next call for a principal on.

        Args:
            behaviour: how; None for as Domino does.
        """
        with self._lock:
            self._behaviour = behaviour or Behaviour()

    def behave_towards(self, chosen: Callable[[str], Behaviour | None] | None) -> None:
        """Misbehaves towards some credentials only, as a front end does that refuses long headers.

        Args:
            chosen: gets the API key, or else all of the value of Authorization, and says how to answer to it; None
                for as `behave` says. None instead of a function ends that.
        """
        with self._lock:
            self._towards = chosen

    def start(self) -> None:
        """Begins to listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = _Server((self._address, self._port), self)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="domino", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops listening and breaks off every connection, as a front end that went down."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.break_off()
            self._server.server_close()
            self._server = self._thread = None

    def __enter__(self) -> DominoStandIn:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _principal(self, api_key: str | None, authorization: str | None) -> tuple[dict[str, object], Behaviour]:
        """Answers one call for a principal and counts it."""
        with self._lock:
            self._calls += 1
            user = self._keys.get(api_key or "")
            scheme, _, token = (authorization or "").partition(" ")
            if user is None and scheme.lower() == "bearer":
                owner, expires = self._tokens.get(token.strip(), (None, 0.0))
                user = owner if time.time() < expires else None
            chosen = self._towards(api_key or authorization or "") if self._towards else None
            return user.principal() if user else _ANONYMOUS, chosen or self._behaviour


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A proxy that many callers come to asks about all of them at once.
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], stand_in: DominoStandIn) -> None:
        super().__init__(address, _Handler)
        self.stand_in = stand_in
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stays silent: a caller who hangs up early is part of the tests."""

    def break_off(self) -> None:
        self.stopping.set()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        stand_in = cast("_Server", self.server).stand_in
        if self.path == _PRINCIPAL_PATH:
            principal, behaviour = stand_in._principal(
                self.headers.get("X-Domino-Api-Key"), self.headers.get("Authorization")
            )
            self._answer(json.dumps(principal).encode(), behaviour)
        elif self.path.startswith(_WORKSPACES_PATH) and self.path.endswith(_ACCESS_TOKEN):
            name = self.path[len(_WORKSPACES_PATH) : -len(_ACCESS_TOKEN)]
            try:
                self._answer(stand_in.new_token(name).encode(), Behaviour(content_type="text/plain"))
            except KeyError:
                self._answer(b"", Behaviour(status=404))
        else:
            self._answer(b"", Behaviour(status=404))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that http.server gives
        """Writes nothing."""

    def _answer(self, usual: bytes, behaviour: Behaviour) -> None:
        stopping = cast("_Server", self.server).stopping
        stopping.wait(behaviour.delay)
        if behaviour.drop:
            self.close_connection = True
            return
        body = usual if behaviour.body is None else behaviour.body
        self.send_response(behaviour.status)
        self.send_header("Content-Type", behaviour.content_type)
        self.send_header("Content-Length", str(len(body)))
        if behaviour.location is not None:
            self.send_header("Location", behaviour.location)
        self.end_headers()
        if behaviour.drip > 0:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if stopping.wait(behaviour.drip / len(body)):
                    self.close_connection = True
                    return
        else:
            self.wfile.write(body)

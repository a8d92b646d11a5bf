"""Domino's principal call against a server that answers, byte by byte, what a test tells it to."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.auth import Credential, IdentityUnavailable, NotAuthenticated, Principal
from triton_proxy.auth.domino import DominoPrincipal, read_principal

SECRET = "s3cret-of-ann"  # noqa: S105
CREDENTIAL = Credential("X-Domino-Api-Key", SECRET)
ANN = {"isAnonymous": False, "isAdmin": False, "canonicalName": "ann", "canonicalId": "6170"}


class RawServer:
    """Answers each connection's request with the same bytes, in pieces, with a pause between them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.pieces: list[bytes] = []
        self.pause = 0.0
        self.requests: list[bytes] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def answers(self, status: str, body: bytes, *headers: str) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        self.pieces = [(head + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode() + body]

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65536))
                try:
                    for piece in self.pieces:
                        connection.sendall(piece)
                        if self._ended.wait(self.pause):
                            return
                except OSError:
                    pass  # The caller had enough, which some tests are about.

    def stop(self) -> None:
        self._ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.stop()


def ask(server: RawServer, credential: Credential = CREDENTIAL, *, timeout_secs: float = 5) -> Principal:
    domino = DominoPrincipal(server.url, timeout_secs=timeout_secs, connections=1)
    try:
        return domino.authenticate(credential)
    finally:
        domino.close()


@pytest.mark.parametrize(
    ("answer", "principal"),
    [
        (ANN, Principal("ann", admin=False)),
        ({**ANN, "isAdmin": True}, Principal("ann", admin=True)),
        ({**ANN, "isAdmin": "true"}, Principal("ann", admin=False)),
        ({"isAnonymous": False, "userName": "bob"}, Principal("bob", admin=False)),
        ({"isAnonymous": False, "canonicalName": None, "email": "c@d.e"}, Principal("c@d.e", admin=False)),
        ({"isAnonymous": False, "canonicalName": "", "canonicalId": "42"}, Principal("42", admin=False)),
        ({"isAnonymous": False, "userId": "43"}, Principal("43", admin=False)),
    ],
)
def test_named(server: RawServer, answer: dict[str, object], principal: Principal) -> None:
    server.answers("200 OK", json.dumps(answer).encode())
    assert ask(server) == principal


def test_the_credential_goes_into_its_own_header(server: RawServer) -> None:
    server.answers("200 OK", json.dumps(ANN).encode())
    ask(server)
    ask(server, Credential("Authorization", "Bearer a.b.c"))
    first, second = (request.decode().split("\r\n") for request in server.requests)
    assert first[0] == "GET /v4/auth/principal HTTP/1.1"
    assert f"X-Domino-Api-Key: {SECRET}" in first
    assert not any(line.startswith("Authorization") for line in first)
    assert "Authorization: Bearer a.b.c" in second
    assert not any(line.startswith("X-Domino-Api-Key") for line in second)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("200 OK", {"isAnonymous": True}),
        ("200 OK", {**ANN, "isAnonymous": True}),
        ("401 Unauthorized", {}),
        ("403 Forbidden", ANN),
    ],
)
def test_not_authenticated(server: RawServer, status: str, answer: dict[str, object]) -> None:
    server.answers(status, json.dumps(answer).encode())
    with pytest.raises(NotAuthenticated, match="Domino does not accept these credentials"):
        ask(server)


GOOD = json.dumps(ANN).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", b""),
        ("200 OK", b"<html>Sign in</html>"),
        ("200 OK", GOOD[:-1]),
        ("200 OK", b"[" + GOOD + b"]"),
        ("200 OK", b'"ann"'),
        ("200 OK", b"null"),
        ("200 OK", b"\xff\xfe"),
        ("200 OK", b"[" * 60_000),
        ("200 OK", b'{"isAnonymous": false}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": 7}'),
        ("200 OK", b'{"isAnonymous": "false", "canonicalName": "ann"}'),
        ("200 OK", b'{"isAnonymous": 0, "canonicalName": "ann"}'),
        ("200 OK", b'{"isAnonymous": null, "canonicalName": "ann"}'),
        ("200 OK", b'{"canonicalName": "ann"}'),
        ("200 OK", GOOD + b" " * 100_000),
        ("201 Created", GOOD),
        ("204 No Content", b""),
        ("404 Not Found", GOOD),
        ("429 Too Many Requests", GOOD),
        ("500 Internal Server Error", GOOD),
        ("503 Service Unavailable", GOOD),
    ],
)
def test_unavailable(server: RawServer, status: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    server.answers(status, body)
    with caplog.at_level(logging.DEBUG), pytest.raises(IdentityUnavailable) as caught:
        ask(server)
    assert str(caught.value) == "Domino can't say who is calling just now; try again"
    assert "ann" not in caplog.text


def test_a_redirect_is_not_followed(server: RawServer) -> None:
    elsewhere = RawServer()
    elsewhere.answers("200 OK", GOOD)
    server.answers("302 Found", b"", f"Location: {elsewhere.url}/v4/auth/principal")
    with pytest.raises(IdentityUnavailable):
        ask(server)
    elsewhere.stop()
    assert elsewhere.requests == []


def test_less_than_promised_is_unavailable(server: RawServer) -> None:
    server.pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + GOOD]
    with pytest.raises(IdentityUnavailable):
        ask(server)


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\n"], [b"no http at all\r\n\r\n"]])
def test_no_answer_or_no_http_is_unavailable(server: RawServer, pieces: list[bytes]) -> None:
    server.pieces = pieces
    with pytest.raises(IdentityUnavailable):
        ask(server)


def test_an_answer_that_drips_is_cut_off(server: RawServer) -> None:
    server.pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"] + [b" "] * 200
    server.pause = 0.05
    before = time.monotonic()
    with pytest.raises(IdentityUnavailable):
        ask(server, timeout_secs=0.3)
    assert time.monotonic() - before < 5  # All of it would take 10 s.


def test_nobody_listening_is_unavailable_and_says_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    server = RawServer()
    server.stop()
    with caplog.at_level(logging.DEBUG), pytest.raises(IdentityUnavailable) as caught:
        ask(server)
    assert SECRET not in caplog.text + str(caught.value)
    assert "ConnectionError" in caplog.text


def test_what_the_environment_offers_is_not_used(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A .netrc would replace the caller's token, a proxy would read it."""
    home = tmp_path_factory.mktemp("home")
    (home / "netrc").write_text("machine 127.0.0.1 login other password word\n")
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.answers("200 OK", GOOD)
    assert ask(server, Credential("Authorization", "Bearer a.b.c")).name == "ann"
    assert b"Authorization: Bearer a.b.c" in server.requests[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
FIELDS = ("isAnonymous", "isAdmin", "canonicalName", "userName", "email", "canonicalId", "userId")


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(FIELDS), JSON)))
def test_only_a_named_principal_that_is_not_anonymous_ever_passes(answer: object) -> None:
    try:
        principal = read_principal(json.dumps(answer).encode())
    except (NotAuthenticated, IdentityUnavailable):
        return
    assert isinstance(answer, dict)
    assert answer["isAnonymous"] is False
    assert principal.name
    assert principal.name in answer.values()
    assert principal.admin == (answer.get("isAdmin") is True)

"""Domino's principal call against a server that answers, byte by byte, what a test tells it to."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_identity import Credential, CutShort, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.domino import DominoPrincipal, read_principal
from domino_identity.http import Client
from identity_testing.raw_server import Answer, RawServer, header, http_response
from identity_testing.realm import SigningKey, claims

SECRET = "s3cret-of-ann"  # noqa: S105
CREDENTIAL = Credential(Kind.API_KEY, SECRET)
Ask = Callable[..., Principal]
ANN = {"isAnonymous": False, "isAdmin": False, "canonicalName": "ann", "canonicalId": "6170"}


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(connections=2)
    yield client
    client.close()


@pytest.fixture
def ask(server: RawServer, client: Client) -> Ask:
    def ask(credential: Credential = CREDENTIAL, *, own_secs: float = 5, callers_secs: float = 60) -> Principal:
        domino = DominoPrincipal(server.url, client, timeout_secs=own_secs)
        return domino.authenticate(credential, time.monotonic() + callers_secs)

    return ask


@pytest.mark.parametrize(
    ("answer", "principal"),
    [
        (ANN, Principal("ann", admin=False)),
        ({**ANN, "isAdmin": True}, Principal("ann", admin=True)),
        ({**ANN, "isAdmin": "true"}, Principal("ann", admin=False)),
        ({"isAnonymous": False, "userName": "bob"}, Principal("bob", admin=False)),
        ({"isAnonymous": False, "canonicalName": None, "userId": "7", "email": "c@d.e"}, Principal("7", admin=False)),
        ({"isAnonymous": False, "canonicalName": "", "canonicalId": "42"}, Principal("42", admin=False)),
        ({"isAnonymous": False, "userId": "43"}, Principal("43", admin=False)),
    ],
)
def test_named(ask: Ask, server: RawServer, answer: dict[str, object], principal: Principal) -> None:
    server.answer = http_response("200 OK", json.dumps(answer).encode())
    assert ask() == principal


def test_the_credential_goes_into_its_own_header(ask: Ask, server: RawServer) -> None:
    server.answer = http_response("200 OK", json.dumps(ANN).encode())
    ask()
    ask(Credential(Kind.TOKEN, "a.b.c"))
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
def test_not_authenticated(ask: Ask, server: RawServer, status: str, answer: dict[str, object]) -> None:
    server.answer = http_response(status, json.dumps(answer).encode())
    with pytest.raises(NotAuthenticated, match="Domino does not accept these credentials"):
        ask()


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
        ("200 OK", b'{"isAnonymous": false, "canonicalName": 7, "userName": "ann"}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": "ann\\t", "userName": "ann"}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": "", "email": "ann@example.com"}'),
        ("200 OK", b'{"isAnonymous": "false", "canonicalName": "ann"}'),
        ("200 OK", b'{"isAnonymous": 0, "canonicalName": "ann"}'),
        ("200 OK", b'{"isAnonymous": null, "canonicalName": "ann"}'),
        ("200 OK", b'{"canonicalName": "ann"}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": "  "}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": "ann\\nWARNING forged"}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": "\\ud800"}'),
        ("200 OK", b'{"isAnonymous": false, "canonicalName": "%s"}' % (b"n" * 300)),
        ("200 OK", GOOD + b" " * 300_000),
        ("201 Created", GOOD),
        ("204 No Content", b""),
        ("404 Not Found", GOOD),
        ("405 Method Not Allowed", GOOD),
        ("408 Request Timeout", GOOD),
        ("421 Misdirected Request", GOOD),
        ("429 Too Many Requests", GOOD),
        ("500 Internal Server Error", GOOD),
        ("503 Service Unavailable", GOOD),
    ],
)
def test_unavailable(ask: Ask, server: RawServer, status: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = http_response(status, body)
    with caplog.at_level(logging.DEBUG), pytest.raises(IdentityUnavailable) as caught:
        ask()
    assert str(caught.value) == "Domino can't say who is calling just now; try again"
    assert "ann" not in caplog.text


@pytest.mark.parametrize("status", [400, 406, 413, 414, 422, 431, 451, 499])
def test_a_refusal_of_the_request_is_a_no_in_words_of_ours(
    ask: Ask, server: RawServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = http_response(f"{status} Because", b"<html>ann</html>")
    with pytest.raises(NotAuthenticated) as caught:
        ask()
    assert str(caught.value) == (
        f"Domino refuses to look at these credentials (HTTP {status}); check that the API key or token is current. A"
        " token that is too long for Domino's front end can be verified by the proxy: the operator sets KEYCLOAK_ISSUER"
    )
    assert len(server.requests) == 1
    assert "ann" not in caplog.text.replace("can", "")


@pytest.mark.parametrize(
    ("answer", "answers"),
    [
        (http_response("200 OK", b'{"isAnonymous": true}'), True),
        (http_response("200 OK", b"<html>"), True),
        (http_response("401 Unauthorized", b""), True),
        (http_response("404 Not Found", b""), True),
        (http_response("500 Internal Server Error", b""), False),
        (http_response("503 Service Unavailable", b""), False),
        (Answer(), False),
        (Answer(first_pause=5), False),
    ],
)
def test_whether_it_answers_at_all_is_asked_without_a_credential(
    server: RawServer, client: Client, answer: Answer, answers: bool
) -> None:
    server.answer = answer
    timeout_secs = 0.3 if answer.first_pause else 30.0
    assert DominoPrincipal(server.url, client, timeout_secs=timeout_secs).answers() is answers
    [request] = server.requests
    assert (header(request, "X-Domino-Api-Key"), header(request, "Authorization")) == (None, None)


def test_plain_http_is_warned_of_once(server: RawServer, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    DominoPrincipal(server.url, client, timeout_secs=5)
    assert [f"callers' credentials go to Domino at {server.url} over plain http" in m for m in caplog.messages] == [
        True
    ]
    DominoPrincipal("https://domino.example", client, timeout_secs=5)
    assert len(caplog.messages) == 1


def test_a_redirect_is_not_followed(ask: Ask, server: RawServer) -> None:
    with RawServer(http_response("200 OK", GOOD)) as elsewhere:
        server.answer = http_response("302 Found", b"", f"Location: {elsewhere.url}/v4/auth/principal")
        with pytest.raises(IdentityUnavailable):
            ask()
        assert elsewhere.requests == []


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (HEAD,),
        (b"no http at all\r\n\r\n",),
        (HEAD + b"Content-Length: 500\r\n\r\n" + GOOD,),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n500\r\n" + GOOD,),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(GOOD),),
        (HEAD + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n" + GOOD,),
    ],
)
def test_no_whole_answer_is_unavailable(ask: Ask, server: RawServer, pieces: tuple[bytes, ...]) -> None:
    server.answer = Answer(pieces)
    with pytest.raises(IdentityUnavailable):
        ask()


DRIPS = {
    "head": (HEAD, *[b"X-Drip: 1\r\n"] * 90),
    "for ever 100": (b"HTTP/1.1 100 Continue\r\n\r\n",) * 90,
    "body": (HEAD + b"Content-Length: 90\r\n\r\n", *[b" "] * 90),
    # Cut off, it would be a refusal that nobody spoke.
    "401": (b"HTTP/1.1 401 Unauthorized\r\n", *[b"X-Drip: 1\r\n"] * 90),
    "after the answer": (HEAD + b"\r\n" + GOOD, *[b" "] * 90),
}


@pytest.mark.parametrize("pieces", DRIPS.values(), ids=DRIPS.keys())
def test_an_answer_that_drips_is_cut_off(ask: Ask, server: RawServer, pieces: tuple[bytes, ...]) -> None:
    # All of it takes 9 s, each byte is in time.
    server.answer = Answer(pieces, pause=0.1)
    with pytest.raises(IdentityUnavailable):
        ask(own_secs=0.4)
    assert server.finished == 0


def test_nobody_listening_is_unavailable_and_says_no_secret(
    ask: Ask, server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    with caplog.at_level(logging.DEBUG), pytest.raises(IdentityUnavailable) as caught:
        ask()
    assert SECRET not in caplog.text + str(caught.value)
    assert "ConnectionError" in caplog.text


@pytest.mark.parametrize(
    "failure", [http_response("503 Service Unavailable", b""), http_response("429 Too Many Requests", b""), Answer()]
)
def test_what_may_pass_is_asked_again(ask: Ask, server: RawServer, failure: Answer) -> None:
    server.answer = lambda _: failure if len(server.requests) < 3 else http_response("200 OK", GOOD)
    assert ask().name == "ann"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "404 Not Found"])
def test_what_was_answered_is_not_asked_again(ask: Ask, server: RawServer, status: str) -> None:
    server.answer = http_response(status, b"")
    with pytest.raises((IdentityUnavailable, NotAuthenticated)):
        ask()
    assert len(server.requests) == 1


def test_a_callers_hurry_says_nothing_about_domino(
    ask: Ask, server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = Answer(first_pause=5)
    with pytest.raises(CutShort):
        ask(callers_secs=0.2)
    with pytest.raises(CutShort):
        ask(callers_secs=-1)
    assert "gave no answer" not in caplog.text
    with pytest.raises(IdentityUnavailable) as caught:
        ask(own_secs=0.2)
    assert type(caught.value) is IdentityUnavailable


def test_no_callers_cookie_goes_along_with_the_next_caller(ask: Ask, server: RawServer) -> None:
    server.answer = http_response("200 OK", GOOD, "Set-Cookie: session=ann; Path=/")
    ask()
    ask(Credential(Kind.API_KEY, "of-somebody-else"))
    assert all(header(request, "cookie") is None for request in server.requests)
    assert len(server.requests) == 2


def test_a_token_that_domino_vouches_for_ends_when_it_says(ask: Ask, server: RawServer) -> None:
    server.answer = http_response("200 OK", GOOD)
    token = SigningKey("any").token(claims(exp=2_000_000_000))
    assert ask(Credential(Kind.TOKEN, token)).expires_at == 2_000_000_000
    assert ask(Credential(Kind.TOKEN, "opaque")).expires_at is None
    for end in ("soon", float("nan"), 10**400):
        assert ask(Credential(Kind.TOKEN, SigningKey("any").token(claims(exp=end)))).expires_at is None


def test_what_the_environment_offers_is_not_used(
    ask: Ask, server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A .netrc would replace the caller's token, a proxy would read it."""
    home = tmp_path_factory.mktemp("home")
    (home / "netrc").write_text("machine 127.0.0.1 login other password word\n")
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.answer = http_response("200 OK", GOOD)
    assert ask(Credential(Kind.TOKEN, "a.b.c")).name == "ann"
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

"""When keys are fetched, which of them are used, and what happens when they can't be had; over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from domino_identity import CutShort, IdentityUnavailable, NotAuthenticated
from domino_identity.http import Client, NoAnswer
from domino_identity.jwks import Keys, read_keys
from identity_testing.raw_server import Answer, RawServer, http_response
from identity_testing.realm import SigningKey, jwks

OLD = SigningKey("old")
NEW = SigningKey("new")
CURVE = SigningKey("curve", "ES256")
EDWARDS = SigningKey("edwards", "EdDSA")
assert isinstance(OLD.private, rsa.RSAPrivateKey)
PRIVATE = jwt.algorithms.RSAAlgorithm.to_jwk(OLD.private, as_dict=True)
DOWN = http_response("503 Service Unavailable", b"")


class Case:
    """Keys at a real server, on a clock that a test moves."""

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.now = 1000.0
        self.client = Client(connections=1)
        self.keys = Keys(f"{server.url}/certs", self.client, clock=lambda: self.now)
        self.lists(OLD)

    def lists(self, *keys: SigningKey) -> None:
        self.server.answer = http_response("200 OK", jwks(*(key.jwk() for key in keys)))

    def has(self, key_id: str, *, secs: float = 30) -> bool | str:
        try:
            return self.keys.find(key_id, time.monotonic() + secs) is not None
        except IdentityUnavailable as trouble:
            return type(trouble).__name__

    @property
    def fetches(self) -> int:
        return len(self.server.requests)


@pytest.fixture
def case() -> Iterator[Case]:
    with RawServer() as server:
        case = Case(server)
        yield case
        case.client.close()


def test_keys_are_fetched_once_and_without_credentials(case: Case) -> None:
    assert [case.has("old") for _ in range(100)] == [True] * 100
    assert case.fetches == 1
    assert case.server.requests[0].startswith(b"GET /certs HTTP/1.1\r\n")
    assert b"Authorization" not in case.server.requests[0]


def test_unknown_ids_make_no_storm(case: Case) -> None:
    assert case.has("old")
    for number in range(1000):
        case.now += 0.01  # 10 s in all.
        assert case.has(f"unknown-{number}") is False
    assert case.fetches <= 2


def test_a_new_key_is_found_after_the_pause(case: Case) -> None:
    assert case.has("old")
    case.lists(OLD, NEW)
    assert case.has("new") is False
    case.now += 10
    assert case.has("new") is True
    assert case.has("old") is True
    assert case.fetches == 2


def test_a_key_that_is_gone_is_not_used_for_long(case: Case) -> None:
    assert case.has("old")
    case.lists(NEW)
    case.now += 600
    assert case.has("old") is True
    case.now += 1
    assert case.has("old") is False
    assert case.fetches == 2


def test_while_keycloak_is_down_keys_are_used_for_an_hour(case: Case) -> None:
    assert case.has("old")
    case.server.answer = DOWN
    for _ in range(35):
        case.now += 100
        assert case.has("old") is True
        assert case.has("new") == "IdentityUnavailable" if case.now > 1010 else True
    case.now += 101
    assert case.has("old") == "IdentityUnavailable"
    case.lists(OLD)
    case.now += 10
    assert case.has("old") is True


def test_a_keycloak_that_is_down_is_not_asked_by_everybody(case: Case) -> None:
    case.server.answer = DOWN
    assert {case.has("old") for _ in range(100)} == {"IdentityUnavailable"}
    assert case.fetches == 1
    case.now += 10
    case.has("old")
    assert case.fetches == 2


def test_a_caller_in_a_hurry_does_not_use_up_the_try(case: Case) -> None:
    listed = case.server.answer
    assert isinstance(listed, Answer)
    case.server.answer = Answer(listed.pieces, first_pause=0.05)
    assert case.has("old", secs=0.01) is True


def test_a_fetch_does_not_last_long(case: Case) -> None:
    case.server.answer = Answer((b"HTTP/1.1 200 OK\r\n", *[b"X-Drip: 1\r\n"] * 90), pause=0.1)
    assert case.has("old") == "IdentityUnavailable"
    assert case.server.finished == 0


class Held:
    """A server whose answer comes when the test says so.

    Attributes:
        asked: is set once it was asked for the second time.
        may_answer: to be set then.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self._asked_before = False

    def get(self, _url: str, _headers: Mapping[str, str], *, timeout_secs: float) -> tuple[int, bytes]:
        assert timeout_secs > 0
        if self._asked_before:
            self.asked.set()
            assert self.may_answer.wait(30)
        self._asked_before = True
        return 200, jwks(OLD.jwk())


def test_nobody_whose_key_is_known_waits_for_a_fetch() -> None:
    now, held = 1000.0, Held()
    keys = Keys("https://keycloak/certs", held, clock=lambda: now)
    assert keys.find("old", time.monotonic())
    now += 601
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(keys.find, "old", time.monotonic())
        assert held.asked.wait(30)
        assert keys.find("old", time.monotonic() + 30)
        with pytest.raises(CutShort):
            keys.find("unknown", time.monotonic() + 0.01)
        assert not fetching.done()
        held.may_answer.set()
        assert fetching.result()


@pytest.mark.parametrize(
    "answer",
    [
        http_response("200 OK", b"<html>"),
        http_response("200 OK", b"[]"),
        http_response("200 OK", b"{}"),
        http_response("200 OK", b'{"keys": null}'),
        http_response("200 OK", b'{"keys": {}}'),
        http_response("200 OK", b'{"keys": []}'),
        http_response("200 OK", b'{"keys": ["a", 7, null, []]}'),
        http_response("200 OK", b"[" * 60_000),
        http_response("200 OK", jwks(OLD.jwk())[:-1]),
        http_response("404 Not Found", jwks(OLD.jwk())),
        http_response("302 Found", b"", "Location: http://127.0.0.1:1/"),
        Answer(),
    ],
)
def test_no_document_is_no_answer_about_a_key(case: Case, answer: Answer) -> None:
    case.server.answer = answer
    assert case.has("old") == "IdentityUnavailable"


@pytest.mark.parametrize(
    ("jwk", "algorithm"),
    [
        (OLD.jwk(), "RS256"),
        (OLD.jwk(alg=None), "RS256"),
        (OLD.jwk(alg="PS512"), "PS512"),
        (OLD.jwk(use=None), "RS256"),
        (CURVE.jwk(), "ES256"),
        (CURVE.jwk(alg=None), "ES256"),
        (SigningKey("c", "ES384").jwk(alg=None), "ES384"),
        (EDWARDS.jwk(), "EdDSA"),
        (EDWARDS.jwk(alg=None), "EdDSA"),
        (SigningKey("e", "EdDSA", bits=448).jwk(), "EdDSA"),
    ],
)
def test_a_usable_key_has_one_algorithm(jwk: dict[str, object], algorithm: str) -> None:
    [key] = read_keys(jwks(jwk)).usable.values()
    assert key.algorithm_name == algorithm


@pytest.mark.parametrize(
    "jwk",
    [
        OLD.jwk(alg="none"),
        OLD.jwk(alg="HS256"),
        OLD.jwk(alg="ES256"),
        OLD.jwk(alg="RSA-OAEP"),
        OLD.jwk(alg=["RS256"]),
        OLD.jwk(use="enc"),
        OLD.jwk(kid=None),
        OLD.jwk(kid=7),
        OLD.jwk(kty="oct", k="c2VjcmV0"),
        OLD.jwk(kty=None),
        OLD.jwk(n=None),
        OLD.jwk(n=7),
        OLD.jwk(n="!"),
        {**OLD.jwk(), **PRIVATE},
        CURVE.jwk(alg="RS256"),
        CURVE.jwk(alg="ES384"),
        CURVE.jwk(crv="P-384", alg="ES384"),
        CURVE.jwk(crv=["P-256"]),
        CURVE.jwk(x="AAAA"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "old", "alg": "HS256"},
        {"kty": "OKP", "crv": "X25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "old"},
        EDWARDS.jwk(alg="Ed25519"),
        EDWARDS.jwk(alg="ES256"),
        EDWARDS.jwk(crv="P-256"),
        EDWARDS.jwk(x="AAAA"),
        {**EDWARDS.jwk(), "d": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ],
)
def test_a_key_that_is_not_for_this_is_left_out(jwk: dict[str, object]) -> None:
    with pytest.raises(NoAnswer, match="no usable key"):
        read_keys(jwks(jwk))
    assert list(read_keys(jwks(jwk, NEW.jwk())).usable) == ["new"]


def test_keys_over_plain_http_are_warned_of_once(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    text = f"the keys that tokens are verified with are fetched at {case.server.url}/certs over plain http"
    Keys(f"{case.server.url}/certs", case.client)
    assert [text in message for message in caplog.messages] == [True]
    case.has("old")
    Keys("https://keycloak.example/certs", case.client)
    assert len(caplog.messages) == 1


def test_a_key_that_is_listed_but_not_for_this_is_refused_with_what_it_is(case: Case) -> None:
    case.server.answer = http_response("200 OK", jwks(OLD.jwk(), EDWARDS.jwk(crv="X25519")))
    with pytest.raises(NotAuthenticated) as caught:
        case.has("edwards")
    assert str(caught.value) == (
        "the token is signed with a key that can't be used here: its issuer lists it as {'alg': 'EdDSA', 'crv':"
        " 'X25519', 'kty': 'OKP', 'use': 'sig'}; expected a public key for signatures: RSA, EC P-256, EC P-384,"
        " EC P-521, OKP Ed25519, OKP Ed448"
    )
    assert (case.has("old"), case.has("other")) == (True, False)


def test_of_two_with_one_id_the_first_is_used() -> None:
    twin = SigningKey("old")
    [key] = read_keys(jwks(OLD.jwk(alg="none"), OLD.jwk(), twin.jwk())).usable.values()
    assert isinstance(key.key, rsa.RSAPublicKey)
    assert isinstance(OLD.private, rsa.RSAPrivateKey)
    assert key.key.public_numbers() == OLD.private.public_key().public_numbers()


def test_what_the_document_says_beside_its_keys_does_not_matter() -> None:
    document = {**json.loads(jwks(OLD.jwk())), "more": [1]}
    assert list(read_keys(json.dumps(document).encode()).usable) == ["old"]

"""Tokens that somebody made up: each is refused in words, says nothing of itself, and is shown to nobody else."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterator, Mapping

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from domino_identity import Credential, Kind, NotAuthenticated, Principal
from domino_identity.http import Client
from domino_identity.jwks import Keys
from domino_identity.keycloak import KeycloakTokens
from domino_identity.tree import AnyOf
from identity_testing.raw_server import RawServer, http_response
from identity_testing.realm import ISSUER, SigningKey, by_secret, claims, jwks, part, unsigned

KEY = SigningKey("rsa")
CURVE = SigningKey("curve", "ES256")
SHORT = SigningKey("short", bits=1024)
EDWARDS = SigningKey("edwards", "EdDSA")
ENCRYPTION = SigningKey("enc").jwk(use="enc", alg="RSA-OAEP")
OTHERS = SigningKey("rsa")  # Of the same id, but somebody else's.
PEM = KEY.public(Encoding.PEM)
LEEWAY = 30


def now(seconds: float = 0) -> int:
    return int(time.time() + seconds)


def tampered(**changes: object) -> str:
    """A good token's head and signature around other claims."""
    head, _, signature = KEY.token(claims()).split(".")
    return f"{head}.{part(claims(**changes))}.{signature}"


MODULUS = KEY.jwk()["n"]
assert isinstance(MODULUS, str)
LONG_END = '{"exp": 1' + "0" * 5000 + "}"
NO_ALGORITHM = "expected a public key's algorithm: ES256, ES384, ES512, EdDSA, PS256, PS384, PS512, RS256,"
BAD = "not one that this proxy accepts"
ISSUER_IS = "the token's issuer is "
NO_KEY = "a key that its issuer does not have"

ATTACKS: Mapping[str, tuple[str, str]] = {
    "alg none": (unsigned("none"), NO_ALGORITHM),
    "alg None": (unsigned("None"), NO_ALGORITHM),
    "alg nOnE": (unsigned("nOnE"), NO_ALGORITHM),
    "alg none with a signature": (unsigned("none", part("x")), NO_ALGORITHM),
    "alg empty": (unsigned(""), NO_ALGORITHM),
    "alg null": (unsigned(None), NO_ALGORITHM),
    "alg list": (unsigned(["RS256"]), BAD),
    "alg dict": (unsigned({"RS256": 1}), BAD),
    "RS256 without a signature": (unsigned("RS256"), BAD),
    "RS256 with rubbish": (unsigned("RS256", part("x" * 256)), BAD),
    "another of its algorithms": (
        jwt.encode(claims(), KEY.private, algorithm="RS512", headers={"kid": "rsa"}),
        BAD,
    ),
    "RSA by the id of the curve": (KEY.token(claims(), kid="curve"), BAD),
    "ES256 by the id of RSA": (CURVE.token(claims(), kid="rsa"), BAD),
    "HS256 with the PEM": (by_secret(PEM), NO_ALGORITHM),
    "HS256 with the PEM, stripped": (by_secret(PEM.strip()), NO_ALGORITHM),
    "HS256 with the DER": (by_secret(KEY.public(Encoding.DER)), NO_ALGORITHM),
    "HS256 with the modulus": (by_secret(MODULUS.encode()), NO_ALGORITHM),
    "HS256 with the modulus' bytes": (by_secret(base64.urlsafe_b64decode(MODULUS + "==")), NO_ALGORITHM),
    "HS256 with nothing": (by_secret(b""), NO_ALGORITHM),
    "other key of the id": (OTHERS.token(claims()), BAD),
    "key in its header": (OTHERS.token(claims(), jwk=OTHERS.jwk()), BAD),
    "key behind its header": (OTHERS.token(claims(), jku="http://127.0.0.1:1/", x5u="http://127.0.0.1:1/"), BAD),
    "a key too short to be safe": (SHORT.token(claims()), BAD),
    "unknown kid": (SigningKey("other").token(claims()), NO_KEY),
    "kid a path": (KEY.token(claims(), kid="../../dev/null"), NO_KEY),
    "no kid": (jwt.encode(claims(), KEY.private, algorithm="RS256"), NO_KEY),
    "kid a number": (f"{part({'alg': 'RS256', 'kid': 7})}.{part(claims())}.{part('x')}", BAD),
    "unknown critical header": (KEY.token(claims(), crit=["exp"], exp=1), BAD),
    "detached": (f"{part({'alg': 'RS256', 'kid': 'rsa', 'b64': False, 'crit': ['b64']})}..{part('x')}", BAD),
    "other claims under a signature": (tampered(preferred_username="bob"), BAD),
    "longer life under a signature": (tampered(exp=now(9999)), BAD),
    "other issuer": (
        KEY.token(claims(iss="https://domino.example/auth/realms/master")),
        ISSUER_IS + "'https://domino.example/auth/realms/master';",
    ),
    "issuer with a slash more": (
        KEY.token(claims(iss=ISSUER + "/")),
        ISSUER_IS + f"'{ISSUER}/'; this proxy accepts '{ISSUER}'",
    ),
    "issuer in capitals": (KEY.token(claims(iss=ISSUER.upper())), ISSUER_IS),
    "issuer in a list": (KEY.token(claims(iss=[ISSUER])), ISSUER_IS),
    "no issuer": (KEY.token(claims(iss=None)), BAD),
    "expired": (KEY.token(claims(exp=now(-LEEWAY - 1))), "the token has expired; get a new one"),
    "expired long ago": (KEY.token(claims(exp=1)), "the token has expired; get a new one"),
    "exp zero": (KEY.token(claims(exp=0)), "the token has expired"),
    "exp negative": (KEY.token(claims(exp=-(10**20))), "the token has expired"),
    "no exp": (KEY.token(claims(exp=None)), BAD),
    "exp text": (KEY.token(claims(exp=str(now(300)))), "the token's exp is not a time"),
    "exp huge": (KEY.token(claims(exp=10**400)), "the token's exp is not a time"),
    "exp longer than Python reads": (
        KEY.token({"x": 1}).replace(part({"x": 1}), part('{"exp":1' + "0" * 5000 + "}")),
        BAD,
    ),
    "exp true": (KEY.token(claims(exp=True)), "the token has expired"),
    "exp nan": (KEY.token(claims(exp=float("nan"))), BAD),
    "exp infinite": (KEY.token(claims(exp=float("inf"))), BAD),
    "exp list": (KEY.token(claims(exp=[now(300)])), BAD),
    "no iat": (KEY.token(claims(iat=None)), BAD),
    "iat text": (KEY.token(claims(iat=str(now()))), "the token's iat is not a time"),
    "iat true": (KEY.token(claims(iat=True)), "the token's iat is not a time"),
    "issued in the future": (KEY.token(claims(iat=now(9999))), BAD),
    "not yet valid": (KEY.token(claims(nbf=now(9999))), BAD),
    "nbf text": (KEY.token(claims(nbf="0")), "the token's nbf is not a time"),
    "identity token": (KEY.token(claims(typ="ID")), "an access token is needed"),
    "refresh token": (KEY.token(claims(typ="Refresh")), "an access token is needed"),
    "logout token": (KEY.token(claims(typ="Logout")), "an access token is needed"),
    "no typ": (KEY.token(claims(typ=None)), "an access token is needed"),
    "typ list": (KEY.token(claims(typ=["Bearer"])), "an access token is needed"),
    "names nobody": (KEY.token(claims(preferred_username=None, sub=None)), "the token names nobody"),
    "names a number": (KEY.token(claims(preferred_username=7)), "the token's preferred_username can't be a name"),
    "a name with a line in it": (KEY.token(claims(preferred_username="a\nb")), "preferred_username can't be a name"),
    "a name that is too long": (KEY.token(claims(preferred_username="a" * 257)), "preferred_username can't be a name"),
    "a blank name": (
        KEY.token(claims(preferred_username="  ")),
        "expected 1 to 256 printable characters, not all blank",
    ),
    "an unverified address alone": (
        KEY.token(claims(preferred_username=None, sub=None, email="root@domino.example")),
        "the token names nobody",
    ),
    "a spoilt name before a verified address": (
        KEY.token(claims(preferred_username="a\tb", email="root@domino.example", email_verified=True)),
        "preferred_username can't be a name",
    ),
    "Ed25519 of another key": (SigningKey("edwards", "EdDSA").token(claims()), BAD),
    "Ed25519 by the id of RSA": (EDWARDS.token(claims(), kid="rsa"), BAD),
    "RSA by the id of Ed25519": (KEY.token(claims(), kid="edwards"), BAD),
    "a key for encryption": (
        KEY.token(claims(), kid="enc"),
        "a key that can't be used here: its issuer lists it as {'alg': 'RSA-OAEP', 'kty': 'RSA', 'use': 'enc'};",
    ),
    "sub a number": (KEY.token(claims(sub=7)), BAD),
    "not a token": ("not-a-token", BAD),
    "two parts": ("a.b", BAD),
    "three parts of rubbish": ("a.b.c", BAD),
    "three parts of nothing": ("..", BAD),
    "five parts": ("a.b.c.d.e", BAD),
    "not base64": ("!!.!!.!!", BAD),
    "no JSON": (f"{part('x')}.{part('y')}.{part('z')}", BAD),
    "JSON but no object": (f"{part([1])}.{part([2])}.{part('z')}", BAD),
    "deep JSON": (f"{part('[' * 3000)}.{part('[' * 3000)}.{part('z')}", BAD),
    "claims a list": (f"{part({'alg': 'RS256', 'kid': 'rsa'})}.{part([1])}.{part('z')}", BAD),
}


class Asked:
    """Whom the tree would ask next."""

    calls = 0

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.calls += 1
        return Principal("asked", admin=False)


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(
        http_response("200 OK", jwks(KEY.jwk(), CURVE.jwk(), SHORT.jwk(), EDWARDS.jwk(), ENCRYPTION))
    ) as server:
        yield server


@pytest.fixture(scope="module")
def verifier(server: RawServer) -> KeycloakTokens:
    return KeycloakTokens([ISSUER], Keys(server.url, Client(connections=1)), audience=None, leeway_secs=LEEWAY)


@pytest.mark.parametrize(("token", "text"), ATTACKS.values(), ids=ATTACKS.keys())
def test_refused(verifier: KeycloakTokens, token: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    with caplog.at_level(logging.DEBUG), pytest.raises(NotAuthenticated) as caught:
        AnyOf([verifier, asked]).authenticate(Credential(Kind.TOKEN, token), time.monotonic() + 30)
    assert text in str(caught.value)
    assert asked.calls == 0
    for piece in (piece for piece in token.split(".") if len(piece) > 20):
        assert piece not in str(caught.value) + caplog.text


def test_all_of_them_together_make_one_fetch() -> None:
    with RawServer(http_response("200 OK", jwks(KEY.jwk()))) as server:
        keys = Keys(server.url, Client(connections=1))
        verifying = KeycloakTokens([ISSUER], keys, audience=None, leeway_secs=LEEWAY)
        for token, _ in ATTACKS.values():
            with pytest.raises(NotAuthenticated):
                verifying.authenticate(Credential(Kind.TOKEN, token), time.monotonic() + 30)
        assert len(server.requests) == 1


def test_an_issuer_is_shown_printable_and_short(verifier: KeycloakTokens) -> None:
    for issuer in ("https://a\n2026 WARNING forged\u202e\ud800", "i" * 9000, {"a": ["b" * 9000] * 99}):
        with pytest.raises(NotAuthenticated) as caught:
            verifier.authenticate(Credential(Kind.TOKEN, KEY.token(claims(iss=issuer))), time.monotonic() + 30)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 2000

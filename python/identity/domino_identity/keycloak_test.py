"""Which tokens are good, with a realm of our own and its keys over real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_identity import Credential, IdentityUnavailable, Kind, NotAuthenticated, NotMine, Principal, Role
from domino_identity.http import Client
from domino_identity.jwks import Keys
from domino_identity.keycloak import KeycloakTokens
from domino_identity.tree import AnyOf
from identity_testing.raw_server import RawServer, http_response
from identity_testing.realm import ISSUER, SigningKey, by_secret, claims, jwks, part, unsigned

KEY = SigningKey("rsa")
CURVE = SigningKey("curve", "ES256")
EDWARDS = [SigningKey("ed25519", "EdDSA"), SigningKey("ed448", "EdDSA", bits=448)]
ALIAS = "https://domino.before.example/auth/realms/DominoRealm"
LEEWAY = 30
Ask = Callable[..., Principal]


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(http_response("200 OK", jwks(*(key.jwk() for key in [KEY, CURVE, *EDWARDS])))) as server:
        yield server


@pytest.fixture(scope="module")
def keys(server: RawServer) -> Keys:
    return Keys(server.url, Client(connections=1))


@pytest.fixture
def ask(keys: Keys) -> Ask:
    def ask(token: str, audience: str | None = None) -> Principal:
        return verifier(keys, audience).authenticate(Credential(Kind.TOKEN, token), time.monotonic() + 30)

    return ask


def verifier(keys: Keys, audience: str | None = None, parties: Sequence[str] = ()) -> KeycloakTokens:
    return KeycloakTokens([ISSUER, ALIAS], keys, audience=audience, authorized_parties=parties, leeway_secs=LEEWAY)


def now(seconds: float = 0) -> int:
    return int(time.time() + seconds)


def test_a_good_token_names_user_groups_and_end(ask: Ask) -> None:
    end = now(300)
    expected = Principal("ann", False, ("/roles/Practitioner", "/organizations/acme"), float(end))
    assert ask(KEY.token(claims(exp=end))) == expected
    for key in (CURVE, *EDWARDS):
        assert ask(key.token(claims(exp=end))) == expected


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({}, ()),
        ({"realm_access": {"roles": ["scaler", "user"]}}, (Role(None, "scaler"), Role(None, "user"))),
        (
            {"resource_access": {"triton": {"roles": ["admin"]}, "account": {"roles": ["view"]}}},
            (Role("triton", "admin"), Role("account", "view")),
        ),
        ({"realm_access": ["scaler"], "resource_access": ["admin"]}, ()),
        ({"realm_access": {"roles": "scaler"}, "resource_access": {"triton": {"roles": {"admin": 1}}}}, ()),
        (
            {"realm_access": {"roles": [7, None, "scaler"]}, "resource_access": {"triton": "admin"}},
            (Role(None, "scaler"),),
        ),
        ({"roles": ["admin"], "triton": {"roles": ["admin"]}}, ()),
    ],
)
def test_a_token_brings_the_roles_of_the_realm_and_its_clients(
    ask: Ask, changes: dict[str, object], roles: tuple[Role, ...]
) -> None:
    assert ask(KEY.token(claims(**changes))).roles == roles


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"user_groups": ["/roles/SysAdmin"]}, ("ann", True, ("/roles/SysAdmin",))),
        ({"user_groups": ["/acme/roles/SysAdmin", "SysAdmin"]}, ("ann", False, ("/acme/roles/SysAdmin", "SysAdmin"))),
        ({"user_groups": "/roles/SysAdmin"}, ("ann", False, ())),
        ({"user_groups": {"/roles/SysAdmin": 1}}, ("ann", False, ())),
        ({"user_groups": [7, None, "/g"]}, ("ann", False, ("/g",))),
        ({"user_groups": None, "realm_access": {"roles": ["SysAdmin"]}}, ("ann", False, ())),
        ({"user_groups": None, "preferred_username": None}, ("6170", False, ())),
        ({"user_groups": None, "preferred_username": "", "email": "a@b.c"}, ("6170", False, ())),
        ({"user_groups": None, "preferred_username": None, "email": "a@b.c"}, ("6170", False, ())),
        (
            {"user_groups": None, "preferred_username": None, "email": "a@b.c", "email_verified": "true"},
            ("6170", False, ()),
        ),
        (
            {"user_groups": None, "preferred_username": None, "email": "a@b.c", "email_verified": True},
            ("a@b.c", False, ()),
        ),
    ],
)
def test_who_it_is(ask: Ask, changes: dict[str, object], expected: tuple[object, ...]) -> None:
    principal = ask(KEY.token(claims(**changes)))
    assert (principal.name, principal.admin, principal.groups) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": now(9999) + 0.5},
        {"aud": None},
        {"aud": "anything"},
        {"jti": "one"},
    ],
)
def test_accepted(ask: Ask, changes: dict[str, object]) -> None:
    assert ask(KEY.token(claims(**changes))).name == "ann"


@pytest.mark.parametrize(
    ("claim", "seconds", "accepted"),
    [
        ("exp", -LEEWAY + 5, True),
        ("exp", -LEEWAY - 1, False),
        ("iat", LEEWAY - 5, True),
        ("iat", LEEWAY + 5, False),
        ("nbf", LEEWAY - 5, True),
        ("nbf", LEEWAY + 5, False),
    ],
)
def test_clocks_may_differ_by_the_leeway_and_no_more(ask: Ask, claim: str, seconds: float, accepted: bool) -> None:
    token = KEY.token(claims(**{claim: now(seconds)}))
    if accepted:
        assert ask(token).name == "ann"
    else:
        with pytest.raises(NotAuthenticated):
            ask(token)


@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        ("triton", True),
        (["account", "triton"], True),
        ("account", False),
        (["account"], False),
        ("triton-2", False),
        (["Triton"], False),
        ([], False),
        ("", False),
        (None, False),
        (["triton", 7], False),
        ({"triton": 1}, False),
    ],
)
def test_an_audience_that_is_set_is_strict(ask: Ask, audience: object, accepted: bool) -> None:
    token = KEY.token(claims(aud=audience))
    if accepted:
        assert ask(token, "triton").name == "ann"
    else:
        with pytest.raises(NotAuthenticated, match="not one that this proxy accepts"):
            ask(token, "triton")


@pytest.mark.parametrize(
    ("party", "got"),
    [
        ("domino-play", None),
        ("domino-batch", None),
        ("domino", "the client 'domino' (azp)"),
        ("Domino-Play", "the client 'Domino-Play' (azp)"),
        ("", "the client '' (azp)"),
        (["domino-play"], "the client ['domino-play'] (azp)"),
        ({"domino-play": 1}, "the client {'domino-play': 1} (azp)"),
        (7, "the client 7 (azp)"),
        (None, "no client (azp is missing)"),
    ],
)
def test_authorized_parties_that_are_set_are_strict(keys: Keys, party: object, got: str | None) -> None:
    token = Credential(Kind.TOKEN, KEY.token(claims(azp=party)))
    assert verifier(keys).authenticate(token, time.monotonic() + 30).name == "ann"
    strict = verifier(keys, parties=["domino-play", "domino-batch"])
    if got is None:
        assert strict.authenticate(token, time.monotonic() + 30).name == "ann"
        return
    with pytest.raises(NotAuthenticated) as caught:
        strict.authenticate(token, time.monotonic() + 30)
    assert str(caught.value) == (
        f"the token was issued to {got}; this proxy accepts tokens of one of ['domino-play', 'domino-batch'], as"
        " JWT_AUTHORIZED_PARTIES says"
    )


def test_a_realm_may_have_several_names_and_another_is_named_beside_them(ask: Ask) -> None:
    assert ask(KEY.token(claims(iss=ALIAS))).name == "ann"
    with pytest.raises(NotAuthenticated) as caught:
        ask(KEY.token(claims(iss="https://elsewhere.example/auth/realms/DominoRealm")))
    assert str(caught.value) == (
        "the token's issuer is 'https://elsewhere.example/auth/realms/DominoRealm'; this proxy accepts one of "
        f"['{ISSUER}', '{ALIAS}']. Is it a token of this Domino? Other names of its realm go into"
        " KEYCLOAK_ISSUER_ALIASES"
    )


def test_an_api_key_is_not_its_business(keys: Keys) -> None:
    with pytest.raises(NotMine):
        verifier(keys).authenticate(Credential(Kind.API_KEY, "k"), time.monotonic() + 30)


class Asked:
    """Whom the tree asks where the keys can't be fetched."""

    def __init__(self) -> None:
        self.calls = 0

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.calls += 1
        return Principal("asked", admin=False)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_only_where_the_keys_cannot_be_fetched_somebody_else_is_asked(asked: Asked) -> None:
    with RawServer(http_response("503 Service Unavailable", b"")) as down:
        keys = Keys(down.url, Client(connections=1))
        tree = AnyOf([verifier(keys, "triton"), asked])

        def name(token: str) -> str:
            return tree.authenticate(Credential(Kind.TOKEN, token), time.monotonic() + 30).name

        good = claims(aud=["triton"])
        assert name(KEY.token(good)) == "asked"
        with pytest.raises(IdentityUnavailable):
            AnyOf([verifier(keys)]).authenticate(Credential(Kind.TOKEN, KEY.token(good)), time.monotonic() + 30)
        # What is wrong in itself is refused all the same, and nobody is asked.
        for wrong in ({"exp": 1}, {"iss": "other"}, {"typ": "ID"}, {"aud": "other"}, {"nbf": now(99)}, {"exp": "2"}):
            with pytest.raises(NotAuthenticated):
                name(KEY.token({**good, **wrong}))
        for token in (by_secret(KEY.public(Encoding.PEM)), unsigned("none", aud="triton"), "a.b.c"):
            with pytest.raises(NotAuthenticated):
                name(token)
        assert asked.calls == 1


CHARACTERS = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), VALUES)
CLAIMS = st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "iss", "aud", "sub", "typ", "jti"]), VALUES)


@settings(deadline=None)
@given(
    st.text(CHARACTERS, max_size=60)
    | st.tuples(HEADERS, CLAIMS).map(lambda parts: ".".join([*map(part, parts), part("x")]))
)
def test_whatever_is_not_signed_is_refused_in_words(token: str) -> None:
    with pytest.raises(NotAuthenticated):
        verifier(NO_KEYS).authenticate(Credential(Kind.TOKEN, token), time.monotonic() + 30)


@settings(deadline=None)
@given(CLAIMS)
def test_no_signed_claims_break_it(changes: dict[str, object]) -> None:
    """The issuer may sign what it likes: it is accepted with sound values, or refused in words."""
    signed = {**claims(), **changes}
    try:
        principal = verifier(HAS_KEYS).authenticate(Credential(Kind.TOKEN, KEY.token(signed)), time.monotonic() + 30)
    except NotAuthenticated:
        return
    assert (signed["iss"], signed["typ"], principal.name) == (ISSUER, "Bearer", "ann")
    assert principal.expires_at is not None
    assert now(-LEEWAY - 2) < principal.expires_at < 10**12


class Fixed(Keys):
    """Keys that are there without being fetched."""

    def __init__(self, *keys: SigningKey) -> None:
        self._fixed = {key.key_id: jwt.PyJWK(json.loads(json.dumps(key.jwk()))) for key in keys}

    def find(self, key_id: str, deadline: float) -> jwt.PyJWK | None:
        return self._fixed.get(key_id)


NO_KEYS = Fixed()
HAS_KEYS = Fixed(KEY)

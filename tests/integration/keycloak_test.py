"""The proxy and a real Keycloak: tokens are verified here, against its keys, and nobody else is asked about them."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import jwt
import pytest

from devstack.keycloak import Keycloak, KeycloakMissingError, Realm, distribution
from domino_identity import Credential, Kind, Principal
from identity_testing.raw_server import Answer, RawServer, header, http_response
from multimodal_contract import pb, pb_grpc
from proxy_testing.in_process import in_process
from proxy_testing.triton import SLOW, triton_stand_in
from triton_proxy.app import authenticator_for
from triton_proxy.settings import load

PASSWORD = "a-password-of-the-test"  # noqa: S105
ANONYMOUS = http_response("200 OK", b'{"isAnonymous": true}')
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
IN = grpc.StatusCode.OK


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    try:
        archive = distribution()
    except KeycloakMissingError as reason:
        pytest.skip(str(reason))
    with Keycloak(archive, log=tmp_path_factory.mktemp("keycloak") / "keycloak.log") as keycloak:
        yield keycloak


@pytest.fixture(scope="module")
def realm(keycloak: Keycloak) -> Realm:
    realm = Realm(keycloak, "DominoRealm")
    realm.add_user("ann", PASSWORD, ["/roles/Practitioner", "/organizations/acme"])
    realm.add_user("root", PASSWORD, ["/roles/SysAdmin"])
    return realm


@pytest.fixture
def domino() -> Iterator[RawServer]:
    """Knows nobody, and counts who asks."""
    with RawServer(ANONYMOUS) as server:
        yield server


@dataclass(frozen=True)
class Proxy:
    channel: grpc.Channel

    def knock(self, token: str) -> tuple[grpc.StatusCode, str]:
        """Status and text that a caller with a token sees."""
        stub = pb_grpc.MultimodalServiceStub(self.channel)
        try:
            ack = stub.SendUnary(pb.DataPacket(), metadata=(("authorization", f"Bearer {token}"),), timeout=30)
        except grpc.RpcError as refusal:
            return refusal.code(), refusal.details() or ""
        assert json.loads(ack.message)["error"].startswith("missing control")
        return IN, ""


@contextlib.contextmanager
def proxy(realm: Realm, domino: RawServer, **environment: str) -> Iterator[Proxy]:
    settings = {
        "DOMINO_HOST": domino.url,
        "KEYCLOAK_ISSUER": realm.issuer,
        "JWT_LEEWAY_SECS": "0",
        **environment,
    }
    with in_process(settings) as served:
        yield Proxy(served.channel)


def test_a_good_token_gets_in_and_nobody_is_asked(realm: Realm, domino: RawServer) -> None:
    token = realm.log_in("ann", PASSWORD).access
    with proxy(realm, domino) as served:
        for _ in range(20):
            assert served.knock(token) == (IN, "")
    assert domino.requests == []


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("ann", Principal("ann", False, ("/organizations/acme", "/roles/Practitioner"))),
        ("root", Principal("root", True, ("/roles/SysAdmin",))),
    ],
)
def test_groups_and_administrators_arrive(realm: Realm, user: str, expected: Principal) -> None:
    settings = load({"TRITON_URL": "127.0.0.1:1", "KEYCLOAK_ISSUER": realm.issuer})
    credential = Credential(Kind.TOKEN, realm.log_in(user, PASSWORD).access)
    principal = authenticator_for(settings).authenticate(credential, time.monotonic() + 30)
    assert (principal.name, principal.admin, tuple(sorted(principal.groups))) == (
        expected.name,
        expected.admin,
        expected.groups,
    )
    assert principal.expires_at is not None
    assert 0 < principal.expires_at - time.time() <= 300


def test_identity_and_refresh_tokens_are_not_for_access(realm: Realm, domino: RawServer) -> None:
    tokens = realm.log_in("ann", PASSWORD)
    with proxy(realm, domino) as served:
        for token in (tokens.identity, tokens.refresh):
            assert served.knock(token) == (UNAUTHENTICATED, "the token's typ is not Bearer; an access token is needed")
    assert domino.requests == []


def test_another_realm_of_the_same_keycloak_is_another_issuer(
    keycloak: Keycloak, realm: Realm, domino: RawServer
) -> None:
    other = Realm(keycloak, "OtherRealm")
    other.add_user("ann", PASSWORD, ["/roles/SysAdmin"])
    token = other.log_in("ann", PASSWORD).access
    with proxy(realm, domino) as served:
        assert served.knock(token)[0] is UNAUTHENTICATED
    # The right name with the other realm's keys does not do either.
    with proxy(realm, domino, KEYCLOAK_ISSUER=other.issuer, KEYCLOAK_JWKS_URL=realm.keys_url) as served:
        assert served.knock(token)[0] is UNAUTHENTICATED
    assert domino.requests == []


def test_an_audience_that_is_set_is_strict(realm: Realm, domino: RawServer) -> None:
    token = realm.log_in("ann", PASSWORD).access
    with proxy(realm, domino, JWT_AUDIENCE="triton") as served:
        assert served.knock(token)[0] is UNAUTHENTICATED
    assert domino.requests == []


def test_a_list_of_clients_that_is_set_is_strict(realm: Realm, domino: RawServer) -> None:
    token = realm.log_in("ann", PASSWORD).access
    with proxy(realm, domino, JWT_AUTHORIZED_PARTIES="other, domino-play") as served:
        assert served.knock(token) == (IN, "")
    with proxy(realm, domino, JWT_AUTHORIZED_PARTIES="other") as served:
        code, text = served.knock(token)
    assert code is UNAUTHENTICATED
    assert text == (
        "the token was issued to the client 'domino-play' (azp); this proxy accepts tokens of 'other', as"
        " JWT_AUTHORIZED_PARTIES says"
    )
    assert domino.requests == []


def test_a_realm_whose_name_changed_keeps_its_tokens(realm: Realm, domino: RawServer) -> None:
    token = realm.log_in("ann", PASSWORD).access
    name = {"KEYCLOAK_ISSUER": "https://domino.example/auth/realms/DominoRealm", "KEYCLOAK_JWKS_URL": realm.keys_url}
    with proxy(realm, domino, **name) as served:
        code, text = served.knock(token)
        assert code is UNAUTHENTICATED
        accepted = name["KEYCLOAK_ISSUER"]
        assert text.startswith(f"the token's issuer is '{realm.issuer}'; this proxy accepts '{accepted}'")
    with proxy(realm, domino, **name, KEYCLOAK_ISSUER_ALIASES=f"https://other.example,{realm.issuer}") as served:
        assert served.knock(token) == (IN, "")
    assert domino.requests == []


@pytest.mark.parametrize("curve", ["Ed25519", "Ed448"])
def test_tokens_signed_with_edwards_curves_get_in(keycloak: Keycloak, domino: RawServer, curve: str) -> None:
    edwards = Realm(keycloak, curve)
    edwards.sign_with_edwards(curve)
    edwards.add_user("ann", PASSWORD, ["/roles/Practitioner"])
    token = edwards.log_in("ann", PASSWORD).access
    assert jwt.get_unverified_header(token)["alg"] == "EdDSA"
    with proxy(edwards, domino) as served:
        assert served.knock(token) == (IN, "")
    assert domino.requests == []


def test_an_expired_token_is_refused(realm: Realm, domino: RawServer) -> None:
    realm.tokens_last(1)
    token = realm.log_in("ann", PASSWORD).access
    realm.tokens_last(300)
    with proxy(realm, domino) as served:
        deadline = time.monotonic() + 10
        while served.knock(token) == (IN, ""):
            assert time.monotonic() < deadline
        assert served.knock(token) == (UNAUTHENTICATED, "the token has expired; get a new one")
    assert domino.requests == []


def test_after_a_rotation_old_and_new_tokens_get_in(realm: Realm, domino: RawServer) -> None:
    old = realm.log_in("ann", PASSWORD).access
    with proxy(realm, domino) as served:
        assert served.knock(old) == (IN, "")
        realm.rotate_keys()
        new = realm.log_in("ann", PASSWORD).access
        assert new.split(".")[0] != old.split(".")[0]
        # Keys are not fetched more often than every ten seconds, whatever tokens say; a no stands for five.
        deadline = time.monotonic() + 20
        while served.knock(new)[0] is UNAUTHENTICATED:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert served.knock(new) == (IN, "")
        assert served.knock(old) == (IN, "")
    assert domino.requests == []


def test_a_revoked_token_ends_where_its_issuer_is_asked(realm: Realm) -> None:
    """Verified here it lives on to its end, which is why Domino's last minutes only; the principal call sees it."""
    token = realm.log_in("ann", PASSWORD).access

    def answer(request: bytes) -> Answer:
        shown = (header(request, "Authorization") or "").removeprefix("Bearer ")
        return (
            http_response("200 OK", b'{"isAnonymous": false, "userName": "ann"}') if realm.knows(shown) else ANONYMOUS
        )

    with RawServer(answer) as domino, proxy(realm, domino, KEYCLOAK_ISSUER="", AUTH_CACHE_SECS="1") as served:
        assert served.knock(token) == (IN, "")
        realm.revoke(token)
        deadline = time.monotonic() + 5
        while served.knock(token) == (IN, ""):
            assert time.monotonic() < deadline
        assert served.knock(token)[0] is UNAUTHENTICATED


def test_a_stream_ends_with_its_token_and_answers_what_it_accepted(realm: Realm, domino: RawServer) -> None:
    realm.tokens_last(3)
    token = realm.log_in("ann", PASSWORD).access
    end = time.time() + 3
    realm.tokens_last(300)
    packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
    shape = pb.Shape(dims=[1])
    slow = pb.DataPacket(
        meta=pb.Meta(correlation_id="accepted"),
        control=pb.Control(
            model=SLOW,
            model_version="1",
            inputs=[pb.InputSpec(name="x", shape=shape, dtype=pb.DT_FP32, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="y")],
        ),
        tensor=pb.Tensor(dtype=pb.DT_FP32, shape=shape, data=bytes(4)),
    )
    with triton_stand_in() as triton, proxy(realm, domino, TRITON_URL=triton.url) as served:
        call = pb_grpc.MultimodalServiceStub(served.channel).Chat(
            iter(packets.get, None), metadata=(("authorization", f"Bearer {token}"),), timeout=60
        )
        packets.put(slow)
        assert triton.begun.wait(10)
        # The stream stays open for the accepted packet alone: what is sent now is not accepted.
        time.sleep(max(end + 1 - time.time(), 0))
        packets.put(slow)
        triton.finish.set()
        assert next(call).correlation_id == "accepted"
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() is UNAUTHENTICATED
        assert caught.value.details() == "the token has expired; get a new one"
        assert "'mm-unanswered', value='not-accepted'" in str(caught.value.trailing_metadata())
    assert domino.requests == []


def test_an_idle_stream_ends_in_time(realm: Realm, domino: RawServer) -> None:
    realm.tokens_last(2)
    token = realm.log_in("ann", PASSWORD).access
    end = time.time() + 2
    realm.tokens_last(300)
    with proxy(realm, domino) as served:
        packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
        call = pb_grpc.MultimodalServiceStub(served.channel).Chat(
            iter(packets.get, None), metadata=(("authorization", f"Bearer {token}"),), timeout=60
        )
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() is UNAUTHENTICATED
        assert time.time() < end + 1.5


def test_while_keycloak_is_down_known_keys_do_and_else_domino_is_asked(
    keycloak: Keycloak, realm: Realm, domino: RawServer
) -> None:
    """The last one: Keycloak is stopped in it."""
    tokens = [realm.log_in("ann", PASSWORD).access for _ in range(2)]
    domino.answer = lambda request: (
        http_response("200 OK", b'{"isAnonymous": false, "userName": "ann"}')
        if header(request, "Authorization") == f"Bearer {tokens[1]}"
        else ANONYMOUS
    )
    identity = realm.log_in("ann", PASSWORD).identity
    with proxy(realm, domino) as served:
        assert served.knock(tokens[0]) == (IN, "")
        keycloak.stop()
        assert served.knock(tokens[1]) == (IN, "")
        assert domino.requests == []
    with proxy(realm, domino) as began_later:
        assert began_later.knock(tokens[1]) == (IN, "")
        assert began_later.knock(tokens[0])[0] is UNAUTHENTICATED
        assert len(domino.requests) == 2
        # What is wrong in itself is shown to nobody.
        assert began_later.knock(identity)[0] is UNAUTHENTICATED
        assert len(domino.requests) == 2
    with proxy(realm, domino, DOMINO_HOST="") as alone:
        assert alone.knock(tokens[1])[0] is UNAVAILABLE

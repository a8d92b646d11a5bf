"""Which connection gives way to the next one, on real sockets and on both engines."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_testing.http2 import ENGINES, PING, RawPeer, Service, Serving, frame, served, serving
from service_testing.authority import Authority
from triton_proxy.http2.giving_way import Loss, first_to_go
from triton_proxy.http2.limits import ConnectionLimits, Rate
from triton_proxy.http2.server_stream import StreamEnd

LIMITS = ConnectionLimits(connections=4, connections_per_peer=3, displaced=Rate(8, 0))
ROOM = (0, b"another connection needs the place")
CROWD, OTHER, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def run(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with serving(Service(), LIMITS, engine=request.param) as run:
        yield run
        assert run.errors == []


@pytest.fixture
def peers(run: Serving) -> Iterator[Peers]:
    with ExitStack() as stack:
        yield Peers(run, stack)


@dataclass
class Peers:
    """Peers whose sockets end with the test."""

    run: Serving
    stack: ExitStack

    def come(self, host: str = CROWD, path: str = "", *, greet: bool = True) -> RawPeer:
        """One more, with a call of that path."""
        peer = self.stack.enter_context(RawPeer(self.run.port, host=host, greet=greet))
        if path:
            peer.call(1, path)
            self.stays(peer)  # so that the server has the call
        return peer

    def stays(self, peer: RawPeer) -> bool:
        """Whether a peer's connection is alive."""
        peer.send(frame(PING, 0, 0, b"are you?"))
        return peer.until(PING) is not None


def known_and_idle(peers: Peers) -> RawPeer:
    peer = peers.come(path="/s.S/Known")
    peer.message(1, b"")
    assert peer.fields(1)[":status"] == "200"
    assert peer.fields(1)["grpc-status"] == "0"
    return peer


def test_of_a_crowded_address_the_oldest_connection_without_calls_gives_way(run: Serving, peers: Peers) -> None:
    busy, oldest, newer = peers.come(path="/s.S/Wait"), peers.come(), peers.come()
    fourth = peers.come()
    assert oldest.goaway() == ROOM
    assert oldest.closed()
    assert all(map(peers.stays, (busy, newer, fourth)))
    run.until_counted(connections_per_peer=1, connections=3)
    assert served(run)


def test_a_connection_of_a_known_caller_goes_after_all_those_of_strangers(run: Serving, peers: Peers) -> None:
    known, stranger, busy = known_and_idle(peers), peers.come(), peers.come(path="/s.S/Wait")
    peers.come()
    assert stranger.goaway() == ROOM
    # The one that has just come is the only stranger without calls now.
    peers.come(path="/s.S/Wait")
    assert peers.stays(known)
    # Then the known caller's: it is idle, and connects again when it needs to.
    peers.come(path="/s.S/Wait")
    assert known.goaway() == ROOM
    assert peers.stays(busy)


def test_where_all_have_calls_strangers_lose_the_oldest_of_theirs(peers: Peers) -> None:
    known, oldest, newer = (peers.come(path=path) for path in ("/s.S/Known", "/s.S/Wait", "/s.S/Wait"))
    fourth = peers.come()
    assert oldest.goaway() == ROOM
    assert all(map(peers.stays, (known, newer, fourth)))


def test_a_connection_with_a_known_callers_call_stays_and_the_next_is_closed(run: Serving, peers: Peers) -> None:
    known = [peers.come(path="/s.S/Known") for _ in range(3)]
    assert peers.come(greet=False).closed()
    assert all(map(peers.stays, known))
    run.until_counted(connections_per_peer=1, connections=3)


def test_where_there_is_no_place_at_all_the_address_with_the_most_gives_one(run: Serving, peers: Peers) -> None:
    other = peers.come(OTHER)
    crowd = [peers.come() for _ in range(3)]
    third = peers.come(THIRD)
    assert crowd[0].goaway() == ROOM
    assert all(map(peers.stays, (other, third, *crowd[1:])))
    run.until_counted(connections=4)
    assert run.statistics().cut == {"connections": 1}


def test_where_the_largest_address_can_give_none_the_next_one_does(peers: Peers) -> None:
    crowd = [peers.come(path="/s.S/Known") for _ in range(3)]
    other = peers.come(OTHER)
    third = peers.come(THIRD)
    assert other.goaway() == ROOM
    assert all(map(peers.stays, (third, *crowd)))


def test_one_that_has_not_said_a_word_gives_way(run: Serving, peers: Peers) -> None:
    silent = [peers.come(greet=False) for _ in range(3)]
    run.until_counted(connections=3)
    assert served(run)
    peers.come()
    assert silent[0].closed()


def test_one_that_is_still_at_its_tls_handshake_gives_way(tmp_path: Path) -> None:
    pair = Authority("ours").issue("127.0.0.1")
    (tmp_path / "pair.pem").write_bytes(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with serving(Service(), LIMITS, ssl_context=lambda: context) as run, ExitStack() as stack:
        peers = Peers(run, stack)
        silent = [peers.come(greet=False) for _ in range(4)]
        assert silent[0].closed()
        run.until_counted(connections_per_peer=1, connections=3, handshakes_failed=0)


def test_connections_that_come_without_end_from_one_address_leave_others_alone(run: Serving, peers: Peers) -> None:
    caller = peers.come(OTHER, "/s.S/Wait")
    for _ in range(100):
        peers.come(greet=False)
    run.until_counted(connections=4, accepted=1 + 3 + 8, connections_per_peer=97)
    assert peers.stays(caller)
    assert served(run)


def test_the_lost_call_of_a_stranger_is_cut_off() -> None:
    service = Service()
    with serving(service, LIMITS) as run, ExitStack() as stack:
        peers = Peers(run, stack)
        for _ in range(3):
            peers.come(path="/s.S/Wait")
        peers.come()
        run.until(lambda: service.ends == [StreamEnd.LOST])


@dataclass(frozen=True)
class Lost:
    number: int
    loss: Loss


@given(st.lists(st.sampled_from(Loss)))
def test_the_first_to_go_is_the_oldest_of_those_with_the_least_loss(losses: list[Loss]) -> None:
    connections = [Lost(number, loss) for number, loss in enumerate(losses)]
    losable = [one for one in connections if one.loss is not Loss.KNOWN_CALLERS_CALLS]
    expected = min(losable, key=lambda one: (one.loss, one.number), default=None)
    assert first_to_go(connections) is expected

"""Connections take turns: many calls that come together on one keep those of another waiting for a few."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from proxy_testing.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    ENGINES,
    HEADERS,
    LOOPS,
    PATIENCE,
    RST_STREAM,
    RawPeer,
    Serving,
    frame,
    serving,
)
from triton_proxy.http2.connection import DataReceived, Event, RequestReceived
from triton_proxy.http2.limits import ConnectionLimits, Rate
from triton_proxy.http2.server_stream import Stream
from triton_proxy.http2.turns import REQUESTS_A_TURN, Turns

MANY = 100


class Order:
    """Answers calls at once, and remembers whose they were.

    Attributes:
        peers: whose, in the order in which they were begun.
        knows: whether it knows the callers.
    """

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.knows = True

    def __call__(self, stream: Stream) -> None:
        self.peers.append(stream.peer)
        if self.knows:
            stream.widen(1 << 16)
        stream.on_message(stream.answer)


@pytest.fixture(params=[(engine, loop) for engine in ENGINES for loop in LOOPS], ids="-".join)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Serving, Order]]:
    engine, loop = request.param
    order = Order()
    with serving(order, engine=ENGINES[engine], loop=loop) as run:
        yield run, order
        assert run.errors == []


def calls(peer: RawPeer, streams: range, data: bytes = b"hello", *, reset: bool = False) -> bytes:
    """Whole calls, in bytes."""
    body = b"\0" + len(data).to_bytes(4, "big") + data
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, peer.head())
        + frame(DATA, END_STREAM, stream, body)
        + (frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big")) if reset else b"")
        for stream in streams
    )


def answered(peer: RawPeer, stream_id: int) -> bool:
    return peer.until(DATA, stream_id) == (0, b"\0\0\0\0\5hello")


def called(run: Serving) -> RawPeer:
    """A connection on which a call was served."""
    peer = RawPeer(run.port)
    peer.send(calls(peer, range(1, 2)))
    assert answered(peer, 1)
    return peer


def both_at_once(run: Serving, first: tuple[RawPeer, bytes], second: tuple[RawPeer, bytes]) -> None:
    """Has both read after both have come."""
    stands, goes_on = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        goes_on.wait(PATIENCE)

    run.loop.call_soon_threadsafe(stand)
    assert stands.wait(PATIENCE)
    for peer, data in (first, second):
        peer.send(data)
    goes_on.set()


@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
def test_a_call_is_begun_before_all_those_that_came_together_on_another_connection(
    running: tuple[Serving, Order], *, known: bool
) -> None:
    """Of a known caller, in one read; of another, in reads so small that each begins few of them."""
    run, order = running
    order.knows = known
    with called(run) as busy, called(run) as other:
        order.peers.clear()
        many = calls(busy, range(3, 3 + 2 * MANY, 2))
        both_at_once(run, (busy, many), (other, calls(other, range(3, 5, 2))))
        assert answered(other, 3)
        assert all(answered(busy, stream) for stream in range(3, 3 + 2 * MANY, 2))
    assert len(order.peers) == MANY + 1
    (its_turn,) = (at for at, peer in enumerate(order.peers) if order.peers.count(peer) == 1)
    assert its_turn <= 2 * REQUESTS_A_TURN


def test_a_call_that_was_reset_in_the_same_read_is_not_begun(running: tuple[Serving, Order]) -> None:
    run, order = running
    with called(run) as peer:
        order.peers.clear()
        peer.send(calls(peer, range(3, 3 + 2 * MANY, 2), reset=True) + calls(peer, range(1001, 1002)))
        assert answered(peer, 1001)
    assert len(order.peers) == 1
    run.until_counted(streams=0, held_bytes=0)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_calls_that_are_not_begun_count_as_resets(engine: type) -> None:
    order = Order()
    with serving(order, ConnectionLimits(resets=Rate(10, 0)), engine=engine) as run, RawPeer(run.port) as peer:
        peer.send(calls(peer, range(1, 23, 2), reset=True))
        assert peer.goaway() == (11, b"too many resets")
    assert order.peers == []


def test_a_peer_that_goes_away_while_calls_of_it_wait_leaves_nothing(running: tuple[Serving, Order]) -> None:
    run, _ = running
    with called(run) as peer:
        peer.send(calls(peer, range(3, 3 + 2 * MANY, 2)))
    run.until_counted(streams=0, held_bytes=0, connections=0)


def test_a_turn_keeps_the_order_and_what_waits_is_counted() -> None:
    counted: list[int] = []
    turns = Turns(counted.append)
    events: list[Event] = []
    for stream in range(1, 2 * 2 * REQUESTS_A_TURN + 3, 2):
        events += [RequestReceived(stream, (), end_stream=False), DataReceived(stream, b"12", end_stream=True)]
    turns.add(events)
    assert sum(counted) == 2 * len(events) // 2
    taken = [turns.take(), turns.take()]
    assert [sum(type(event) is RequestReceived for event in turn) for turn in taken] == [REQUESTS_A_TURN] * 2
    assert turns
    turns.add([DataReceived(1, b"3", end_stream=True)])
    taken.append(turns.take())
    assert [event for turn in taken for event in turn] == [*events, DataReceived(1, b"3", end_stream=True)]
    assert not turns
    assert sum(counted) == 0
    turns.add(events)
    turns.clear()
    assert (sum(counted), bool(turns)) == (0, False)

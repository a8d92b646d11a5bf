"""Each limit with its exact outcome and its counter, on both engines; and others are not disturbed by it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mm_service.status import Code
from proxy_testing.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    ENGINES,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawPeer,
    Service,
    Serving,
    frame,
    served,
    serving,
)
from triton_proxy.http2.limits import Allowance, ConnectionLimits, Rate, Unsent, share
from triton_proxy.http2.server_stream import StreamEnd

CALM = 11
# A TCP state of Linux: the other end knows that this one has closed.
FIN_WAIT2 = b"\x05"
LIMITS = ConnectionLimits(
    streams=3, header_bytes=2000, message_bytes=1 << 20, held_bytes=300_000,
    pings=Rate(3, 0.5), settings=Rate(3, 0.2), resets=Rate(3, 1), small_frames=Rate(3, 1), unread_answer_bytes=5 << 20,
)  # fmt: skip


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Serving, Service]]:
    service = Service()
    with serving(service, LIMITS, engine=request.param) as run:
        yield run, service
        run.until_counted(held_bytes=0)
        assert run.errors == []


Running = tuple[Serving, Service]


def test_connections_that_their_peers_closed_before_are_not_set_up(running: Running) -> None:
    run, _ = running

    def come_and_go() -> None:
        # On the server's own thread, which accepts nothing meanwhile.
        peers = [RawPeer(run.port, greet=False).socket for _ in range(5)]
        for peer in peers:
            peer.shutdown(socket.SHUT_WR)
        while any(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != FIN_WAIT2 for peer in peers):
            pass
        for peer in peers:
            peer.close()

    run.run(come_and_go)
    run.until_counted(gone=5, accepted=0, connections=0)
    assert served(run)


def test_a_call_too_many_in_all_is_unavailable(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        for stream_id in (1, 3, 5, 7):
            peer.call(stream_id, "/s.S/Wait")
        fields = peer.fields(7)
        assert fields["grpc-status"] == f"{Code.UNAVAILABLE:d}"
        assert fields["grpc-message"] == "the server has 3 calls: try again"
        assert peer.until(RST_STREAM, 7) == (0, bytes(4))
        assert run.statistics().cut == {"streams": 1}
        peer.send(frame(RST_STREAM, 0, 1, b"\0\0\0\x08"))
        run.until_counted(streams=2)
        assert served(run)


def test_headers_beyond_the_limit_are_refused_with_their_size(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Unary", ("x", "v" * 3000))
        fields = peer.fields(1)
        assert fields["grpc-status"] == f"{Code.RESOURCE_EXHAUSTED:d}"
        assert fields["grpc-message"].startswith("Received metadata larger than max (3")
        assert fields["grpc-message"].endswith(" vs. 2000)")
        peer.call(3)
        peer.message(3, b"next")
        assert peer.until(DATA, 3) == (0, b"\0\0\0\0\4next")
        assert run.statistics().cut == {"header_bytes": 1}


def test_headers_beyond_all_bounds_end_their_connection(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Unary", *((f"x{n}", "v" * 1000) for n in range(9)))
        assert peer.goaway() == (CALM, b"")
        assert peer.closed()
    assert served(run)
    assert run.statistics().violations == 1


def test_a_socket_that_sends_nothing_is_cut(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port, greet=False) as peer:
        run.until_counted(connections=1)
        run.later(9)
        run.later(11)
        assert peer.closed()
    run.until_counted(preface=1)


def test_a_frame_that_never_ends_is_cut_and_calls_are_answered_until_then(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        peer.call(1)
        peer.message(1, b"a")
        assert peer.fields(1)[":status"] == "200"
        peer.send(frame(HEADERS, 0, 3, peer.head()))  # no END_HEADERS
        run.until(lambda: all(c.incomplete_since is not None for c in run.server.connections()))
        run.later(19)
        peer.send(b"\0")
        run.later(21)
        assert peer.until(PING) == (0, b"keepaliv")
        peer.send(b"\0")
        run.later(21 + 21)
        assert peer.closed()
    run.until_counted(frame=1)


def test_frames_that_say_nothing_to_us_are_no_incomplete_frame(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        # Once this is answered, nothing that says something can arrive together with the frame.
        peer.send(frame(PING, 0, 0, b"say once"))
        assert peer.until(PING) == (ACK, b"say once")
        peer.send(frame(0xFA, 0, 0, b"unknown"))
        run.until(lambda: any(c.incomplete_since is not None for c in run.server.connections()))
        run.later(21)
        assert peer.until(PING) == (0, b"keepaliv")
        peer.send(frame(PING, ACK, 0, b"keepaliv"))
        run.until(lambda: all(c.incomplete_since is None for c in run.server.connections()))
        run.later(42)
        peer.call(1)
        peer.message(1, b"x")
        assert peer.fields(1)[":status"] == "200"
    assert run.statistics().cut == {}


def test_a_call_without_a_message_is_told_so(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer:
        peer.call(1)
        run.until_counted(streams=1)
        run.later(59)
        run.later(61)
        fields = peer.fields(1)
        assert fields["grpc-status"] == f"{Code.DEADLINE_EXCEEDED:d}"
        assert fields["grpc-message"] == "no message came within 60 s of the call's head"
    run.until_counted(first_message=1, streams=0)
    assert service.ends == [StreamEnd.ANSWERED]


def test_a_message_that_is_never_complete_is_told_so(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        peer.call(1)
        peer.send(frame(DATA, 0, 1, b"\0\0\0\1\0" + bytes(100)))
        run.until_counted(held_bytes=105)
        run.later(119)
        assert run.statistics().cut == {}
        run.later(121)
        fields = peer.fields(1)
        assert fields["grpc-status"] == f"{Code.DEADLINE_EXCEEDED:d}"
        assert fields["grpc-message"] == "a message was not complete within 120 s"
    run.until_counted(message=1, held_bytes=0)


def test_an_idle_connection_is_told_to_go(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        run.later(899)
        run.later(901)
        assert peer.goaway() == (0, b"")
    run.until_counted(idle=1)


def test_an_old_connection_is_told_to_go_and_its_calls_may_end() -> None:
    with serving(Service(), ConnectionLimits(age=30, first_message=1000)) as run, RawPeer(run.port) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.head()))
        run.until_counted(streams=1)
        run.later(29)
        run.later(31)
        assert peer.goaway() is not None
        run.until_counted(age=1)
        peer.message(1, b"late")
        assert peer.fields(1)[":status"] == "200"
        assert peer.closed()
        run.until_counted(connections=0, age=1)


def test_a_silent_peer_is_pinged_and_cut_when_it_does_not_answer(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        run.later(61)
        assert peer.until(PING) == (0, b"keepaliv")
        run.later(61 + 21)
        assert peer.closed()
    run.until_counted(keepalive_answer=1)


def test_a_silent_peer_that_answers_the_ping_stays(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        run.later(61)
        assert peer.until(PING) == (0, b"keepaliv")
        peer.send(frame(PING, ACK, 0, b"keepaliv") + frame(PING, 0, 0, b"heard it"))
        assert peer.until(PING) == (ACK, b"heard it")
        run.later(61 + 21)
        assert peer.until(PING) == (0, b"keepaliv")
    assert run.statistics().cut == {}


@pytest.mark.parametrize(
    ("limit", "flood", "words"),
    [
        ("pings", frame(PING, 0, 0, bytes(8)), b"too_many_pings"),
        ("settings", frame(SETTINGS, 0, 0), b"too many settings"),
        ("small_frames", frame(DATA, 0, 1), b"too many small_frames"),
        ("small_frames", frame(DATA, 0, 1, b"\0"), b"too many small_frames"),
    ],
)
def test_a_flood_ends_its_connection(running: Running, limit: str, flood: bytes, words: bytes) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Wait")
        peer.send(flood * 4)
        assert peer.goaway() == (CALM, words)
        assert peer.closed()
    run.until_counted(streams=0, **{limit: 1})
    assert served(run)


def test_a_large_message_may_come_in_crumbs_too(running: Running) -> None:
    run, _ = running
    rounds, piece = 12, bytes(4096)
    with RawPeer(run.port) as peer:
        peer.call(1)
        peer.send(frame(DATA, 0, 1, b"\0" + (rounds * (len(piece) + 1)).to_bytes(4, "big")))
        for _ in range(rounds):
            peer.send(frame(DATA, 0, 1, piece) + frame(DATA, 0, 1, b"x"))
        assert peer.fields(1)[":status"] == "200"
        # What a connection brought pays for no more than that.
        peer.call(3, "/s.S/Wait")
        peer.send(frame(DATA, 0, 3) * 8)
        assert peer.goaway() == (CALM, b"too many small_frames")
    run.until_counted(small_frames=1)


def test_calls_that_are_reset_as_they_come_end_their_connection(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        for stream_id in range(1, 9, 2):
            peer.call(stream_id, "/s.S/Wait")
            peer.send(frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08"))
        assert peer.goaway() == (CALM, b"too many resets")
    run.until_counted(resets=1, streams=0)
    assert served(run)


def test_pings_between_answers_are_forgiven(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        for stream_id in range(1, 21, 2):
            peer.send(frame(PING, 0, 0, bytes(8)) * 2)
            peer.call(stream_id)
            peer.message(stream_id, b"x")
            assert peer.until(DATA, stream_id) is not None
    assert run.statistics().cut == {}


def test_pings_within_an_answer_are_forgiven(running: Running) -> None:
    run, _ = running
    more = (1 << 14).to_bytes(4, "big")
    with RawPeer(run.port, window=1 << 14) as peer:
        peer.call(1, "/s.S/Big")
        peer.message(1, b"1000000")
        for _ in range(50):
            assert peer.until(DATA, 1) is not None
            peer.send(frame(PING, 0, 0, bytes(8)))
            assert peer.until(PING) == (ACK, bytes(8))
            peer.send(frame(WINDOW_UPDATE, 0, 0, more) + frame(WINDOW_UPDATE, 0, 1, more))
    assert run.statistics().cut == {}


def test_the_answers_to_pings_pay_for_no_others(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        for _ in range(3):
            peer.send(frame(PING, 0, 0, bytes(8)))
            assert peer.until(PING) == (ACK, bytes(8))
        peer.send(frame(PING, 0, 0, bytes(8)))
        assert peer.goaway() == (CALM, b"too_many_pings")
    run.until_counted(pings=1)


def test_a_rate_is_a_burst_and_then_so_many_per_second() -> None:
    allowance = Allowance(Rate(2, 0.5), 0.0)
    assert [allowance.take(at) for at in (0, 0, 0, 1.9, 2, 2, 100, 100, 100)] == [
        True, True, False, False, True, False, True, True, False,
    ]  # fmt: skip


def test_the_oldest_unsent_byte_is_as_old_as_the_sweep_that_saw_it() -> None:
    unsent = Unsent()
    seen = [(100, 100, 0), (200, 150, 5), (300, 201, 9), (300, 199, 10), (400, 100, 11)]
    assert [unsent.age(*row) for row in seen] == [
        0, 5, 9, 0, 0,
    ]  # fmt: skip
    assert unsent.age(400, 0, 50) == 0
    assert unsent.age(500, 100, 60) == 0


def test_each_of_several_processes_has_a_part_of_what_is_bounded_in_all() -> None:
    whole = ConnectionLimits()
    part = share(whole, 4)
    assert (part.connections, part.connections_per_peer, part.streams, part.held_bytes) == (256, 128, 1024, 128 << 20)
    assert part == replace(whole, connections=256, connections_per_peer=128, streams=1024, held_bytes=128 << 20)
    assert share(replace(whole, connections=3), 4).connections == 1

"""Bytes that are held, held back or not read: their limits, and the windows that have to come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mm_service.status import Code
from proxy_testing.http2 import (
    DATA,
    END_HEADERS,
    ENGINES,
    HEADERS,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    RawPeer,
    Service,
    Serving,
    frame,
    served,
    serving,
)
from triton_proxy.http2.limits import ConnectionLimits
from triton_proxy.http2.server_stream import StreamEnd

CALM = 11
LIMITS = ConnectionLimits(message_bytes=1 << 20, held_bytes=300_000, unread_answer_bytes=5 << 20)
Running = tuple[Serving, Service]


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    service = Service()
    with serving(service, LIMITS, engine=request.param) as run:
        yield run, service
        run.until_counted(held_bytes=0)
        assert run.errors == []


def test_bytes_held_in_all_end_the_call_that_passes_the_limit(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Held")
        peer.message(1, bytes(200_000), flags=0)
        peer.call(3, "/s.S/Wait")
        peer.send(frame(DATA, 0, 3, b"\0" + (900_000).to_bytes(4, "big")))
        for _ in range(20):
            peer.send(frame(DATA, 0, 3, bytes(16384)))
        fields = peer.fields(3)
        assert fields["grpc-status"] == f"{Code.RESOURCE_EXHAUSTED:d}"
        assert fields["grpc-message"] == "the server holds as many bytes of messages as it may: try again"
        assert run.statistics().cut == {"held_bytes": 1}
        run.until_counted(held_bytes=0)
        assert service.arrived == 200_005


def test_bytes_count_from_the_first_one_and_no_window_comes_back_until_resume() -> None:
    service = Service()
    with serving(service, replace(LIMITS, stream_window=100_000, held_bytes=1 << 20)) as run, RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Held")
        peer.send(frame(DATA, 0, 1, b"\0" + (150_000).to_bytes(4, "big")))
        for _ in range(6):
            peer.send(frame(DATA, 0, 1, bytes(16384)))
        run.until(lambda: service.arrived == 5 + 6 * 16384)
        peer.send(frame(PING, 0, 0, b"12345678"))
        while (got := peer.receive()) is not None and got[0] != PING:
            assert got[0] != WINDOW_UPDATE or got[2] != 1
        run.run(service.streams[0].resume)
        assert peer.until(WINDOW_UPDATE, 1) is not None


def test_bytes_that_come_with_a_refused_head_use_no_window_up(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port) as peer:
        for stream_id in range(1, 801, 2):  # 20 MB, of a connection's window of 16
            head = peer.head(content_type="application/json")
            body = frame(DATA, 0, stream_id, bytes(16384)) * 3
            peer.send(frame(HEADERS, END_HEADERS, stream_id, head) + body)
            assert peer.until(RST_STREAM, stream_id) == (0, bytes(4))
        peer.call(801)
        peer.message(801, b"hello")
        assert peer.until(DATA, 801) == (0, b"\0\0\0\0\5hello")


def test_what_was_held_back_of_an_aborted_call_uses_no_window_up(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer:
        for stream_id in range(1, 401, 2):  # 20 MB, of a connection's window of 16
            peer.call(stream_id, "/s.S/Held")
            before = service.arrived
            begun = b"\0\0\x08\0\0" + bytes(16000)
            peer.send(frame(DATA, 0, stream_id, begun) + frame(DATA, 0, stream_id, bytes(16384)) * 5)
            expected = before + len(begun) + 5 * 16384
            run.until(lambda expected=expected: service.arrived == expected)  # type: ignore[misc] # a default
            run.run(lambda: service.streams[-1].abort(Code.ABORTED, "enough"))
            assert peer.until(RST_STREAM, stream_id) == (0, bytes(4))
        assert served(run)


def test_a_cancelled_answer_is_freed_though_its_socket_is_stuck(running: Running) -> None:
    run, service = running
    with RawPeer(run.port, window=(1 << 31) - 1, receive_buffer=4096) as peer:
        peer.send(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        peer.call(1, "/s.S/Big")
        peer.message(1, b"50000000")
        run.until(lambda: run.server.connections()[0].unsent > 20_000_000)
        run.run(service.streams[0].cancel)
        assert service.ends == [StreamEnd.CUT]
        assert run.run(lambda: run.server.connections()[0].unsent) < 1_000_000


def test_more_unread_bytes_than_a_connection_may_have_cut_it(running: Running) -> None:
    run, _ = running
    with RawPeer(run.port, window=0) as peer:
        peer.call(1, "/s.S/Big")
        peer.message(1, b"6000000")
        run.until(lambda: any(c.unsent > 5 << 20 for c in run.server.connections()))
        run.later(0)
        run.until_counted(unread_answer_bytes=1, connections=0)


def test_an_answer_that_the_windows_do_not_let_out_is_reset(running: Running) -> None:
    run, service = running
    with RawPeer(run.port, window=1000) as peer:
        peer.call(1, "/s.S/Big")
        peer.message(1, b"1000000")
        assert peer.until(DATA, 1) is not None
        run.later(0)
        run.later(59)
        run.later(61)
        assert peer.until(RST_STREAM, 1) == (0, CALM.to_bytes(4, "big"))
        run.until_counted(unread_answers=1, streams=0)
        assert service.ends == [StreamEnd.CUT]
        assert served(run)


def test_a_stuck_socket_is_cut_with_all_it_was_sent(running: Running) -> None:
    run, service = running
    with RawPeer(run.port, window=(1 << 31) - 1, receive_buffer=4096) as peer:
        peer.send(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        peer.call(1, "/s.S/Big")
        peer.message(1, b"4000000")
        run.until_counted(opened=1)
        run.until(lambda: any(c.unsent > 100_000 for c in run.server.connections()))
        run.later(0)
        run.later(61)
        run.until_counted(connections=0)
    assert run.statistics().cut["unread_answers"] >= 1
    assert service.ends in ([StreamEnd.LOST], [StreamEnd.CUT])


def test_time_for_which_we_hold_the_window_back_is_not_the_caller_s(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Held")
        peer.send(frame(DATA, 0, 1, b"\0\0\0\1\0" + bytes(100)))
        run.until(lambda: service.arrived == 105)
        run.later(121)
        assert "message" not in run.statistics().cut

"""What begins and ends connections: other protocols, requests that are no calls, drains; on both engines."""

from __future__ import annotations

import asyncio
import queue
import socket
from collections.abc import Iterator

import pytest

from mm_service.status import Code
from proxy_testing.http2 import (
    ACK,
    DATA,
    END_STREAM,
    ENGINES,
    GOAWAY,
    LOOPS,
    PING,
    RST_STREAM,
    SETTINGS,
    RawPeer,
    Serving,
    frame,
    serving,
)
from triton_proxy.http2.first_bytes import HTTP1_ANSWER
from triton_proxy.http2.inbox import EndOfMessages
from triton_proxy.http2.server_stream import Stream, StreamEnd


class Service:
    """Echoes, or waits."""

    def __init__(self) -> None:
        self.ends: list[StreamEnd | None] = []
        self.messages: list[bytes] = []
        self.left: list[float | None] = []
        self.calls = 0

    def __call__(self, stream: Stream) -> None:
        self.calls += 1
        self.left.append(stream.time_left())
        stream.on_end(lambda s: self.ends.append(s.end))
        if stream.method == "/s.S/Unary":
            stream.on_message(stream.answer)
        elif stream.method == "/s.S/Cancel":
            stream.send(bytes(1_000_000))
            stream.on_message(lambda _: stream.cancel())
        elif stream.method == "/s.S/Next":
            stream.on_next(lambda: self.next(stream))
        else:
            self.waiting = stream

    def next(self, stream: Stream) -> None:
        try:
            self.messages.append(stream.receive_nowait())
            stream.on_next(lambda: self.next(stream))
        except EndOfMessages:
            stream.answer(b"+".join(self.messages))


Running = tuple[Serving, Service]


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    service = Service()
    with serving(service, engine=request.param) as run:
        yield run, service
        assert run.errors == []


def test_http1_is_told_what_this_port_speaks(running: Running) -> None:
    run, _ = running
    with socket.create_connection(("127.0.0.1", run.port)) as client:
        client.sendall(b"GET / HTT")
        client.sendall(b"P/1.1\r\nhost: a\r\n\r\n")
        answer = b""
        while more := client.recv(4096):
            answer += more
    assert answer == HTTP1_ANSWER
    assert answer.startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")


def test_what_is_no_http_is_closed(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running[0].port)) as client:
        client.sendall(b"\x16\x03\x01junk\n")
        assert client.recv(100) == b""


@pytest.mark.parametrize(
    ("replaced", "status"), [({"content_type": "application/json"}, "415"), ({":method": "GET"}, "405")]
)
def test_what_is_no_call_gets_an_http_status(running: Running, replaced: dict[str, str], status: str) -> None:
    with RawPeer(running[0].port) as peer:
        peer.call(1, flags=END_STREAM, **replaced)
        assert peer.fields(1)[":status"] == status


def test_a_drain_answers_what_was_accepted_and_ends(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer:
        peer.call(1)
        run.until_counted(streams=1)
        drained = asyncio.run_coroutine_threadsafe(run.server.drain(30), run.loop)
        assert peer.until(GOAWAY) is not None
        got = peer.until(PING)
        assert got is not None
        peer.send(frame(PING, ACK, 0, got[1]))
        second = peer.until(GOAWAY)
        assert second is not None
        assert second[1][:4] == (1).to_bytes(4, "big")
        peer.message(1, b"the last")
        assert peer.until(DATA, 1) == (0, b"\0\0\0\0\x08the last")
        drained.result(30)
    run.until(lambda: service.ends == [StreamEnd.ANSWERED])


def test_a_drain_ends_in_time_while_peers_do_as_they_like(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer, RawPeer(run.port, greet=False):
        peer.call(1, "/s.S/Wait")
        run.until_counted(streams=1, connections=2)
        run.wait(lambda: run.server.drain(0.05))
        assert peer.closed()
    run.until(lambda: service.ends == [StreamEnd.LOST])


def test_a_drain_tells_callers_that_wait_to_be_accepted_to_go_away(running: Running) -> None:
    """Reset, their calls would fail; of this connection their libraries know that nothing was begun."""
    run, service = running
    peers: queue.SimpleQueue[RawPeer] = queue.SimpleQueue()

    async def drain() -> None:
        # In one turn of the loop: it has not been accepted when the drain begins.
        peer = RawPeer(run.port, greet=False)
        peer.send(RawPeer.PREFACE + frame(SETTINGS, 0, 0))
        peer.call(1, flags=END_STREAM)
        peers.put(peer)
        await run.server.drain(30)

    drained = asyncio.run_coroutine_threadsafe(drain(), run.loop)
    with peers.get(timeout=30) as peer:
        assert peer.goaway() == (0, b"")
        assert peer.closed()
    drained.result(30)
    assert service.calls == 0


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("turns", range(5))
def test_a_server_closes_connections_at_any_stage_of_their_beginning(turns: int, loop: str) -> None:
    """Some turns after they came: not accepted, accepted but not begun, begun."""
    with serving(Service(), loop=loop) as run:

        async def close() -> None:
            peers = [RawPeer(run.port, greet=False) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await run.server.close()
            for peer in peers:
                peer.socket.close()

        run.wait(close)
        assert run.statistics().connections == 0


def test_a_call_ends_at_the_deadline_that_its_caller_gave(running: Running) -> None:
    run, service = running
    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Wait", grpc_timeout="50m")
        fields = peer.fields(1)
        assert fields["grpc-status"] == f"{Code.DEADLINE_EXCEEDED:d}"
        assert fields["grpc-message"] == "the call's deadline is over"
        peer.call(3)
        peer.message(3, b"")
        assert peer.until(DATA, 3) is not None
    assert service.left[0] is not None
    assert 0 <= service.left[0] <= 0.05 + 1e-9  # of a clock that counts hours in floating point
    assert service.left[1] is None


def test_an_answer_that_nobody_reads_is_cut_at_the_deadline(running: Running) -> None:
    run, service = running
    with RawPeer(run.port, window=1) as peer:
        peer.call(1, grpc_timeout="50m")
        peer.message(1, bytes(1000))
        assert peer.until(RST_STREAM, 1) == (0, (8).to_bytes(4, "big"))
    run.until(lambda: service.ends == [StreamEnd.CUT])


def test_messages_may_be_asked_for_one_by_one(running: Running) -> None:
    with RawPeer(running[0].port) as peer:
        peer.call(1, "/s.S/Next")
        peer.send(frame(DATA, 0, 1, b"\0\0\0\0\1a\0\0\0\0\1b"))
        peer.message(1, b"c")
        assert peer.until(DATA, 1) == (0, b"\0\0\0\0\5a+b+c")


def test_a_call_that_the_handler_cancels_is_over_whatever_is_unread(running: Running) -> None:
    run, service = running
    with RawPeer(run.port, window=1000) as peer:
        peer.call(1, "/s.S/Cancel")
        peer.message(1, b"", flags=0)
        assert peer.until(RST_STREAM, 1) == (0, (8).to_bytes(4, "big"))
    run.until(lambda: service.ends == [StreamEnd.CUT])


def test_bytes_that_came_before_somebody_counts_are_counted_at_once(running: Running) -> None:
    run, service = running
    counted: list[int] = []

    def count(size: int) -> bool:
        counted.append(size)
        return True

    with RawPeer(run.port) as peer:
        peer.call(1, "/s.S/Wait")
        peer.send(frame(DATA, 0, 1, b"\0\0\0\1\0" + bytes(100)))
        run.until_counted(held_bytes=105)
        run.run(lambda: service.waiting.on_bytes(count))
        assert counted == [105]
        peer.send(frame(DATA, 0, 1, bytes(50)))
        run.until_counted(held_bytes=155)
        assert counted == [105, 50]

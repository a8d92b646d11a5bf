"""Peers that send anything: the server goes on serving others, the client's calls end, and nothing of ours raises."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_testing.http2 import (
    ACK,
    CLIENT_ENGINES,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENGINES,
    GOAWAY,
    HEADERS,
    LOOPS,
    PATIENCE,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    LoopThread,
    RawPeer,
    Serving,
    frame,
    serving,
)
from triton_proxy.http2.client import Http2Client
from triton_proxy.http2.client_call import CallFailed
from triton_proxy.http2.server_stream import Stream

REQUEST = [
    (":method", "POST"), (":scheme", "http"), (":path", "/s.S/Unary"), (":authority", "a"), ("te", "trailers"),
    ("content-type", "application/grpc"), ("grpc-encoding", "gzip"), ("grpc-timeout", "1S"),
]  # fmt: skip
HEAD = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")]

kinds = st.one_of(
    st.sampled_from([DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE]), st.integers(0, 12)
)
messages = st.builds(lambda flag, size, data: bytes((flag,)) + size.to_bytes(4, "big") + data, st.integers(0, 2),
                     st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)), st.binary(max_size=40))  # fmt: skip


def frames(block: bytes) -> st.SearchStrategy[bytes]:
    """Frames of any kind, most of them nearly right."""
    payloads = st.one_of(st.just(block), messages, st.sampled_from([b"", bytes(4), bytes(8)]), st.binary(max_size=30))
    return st.builds(frame, kinds, st.sampled_from([0, END_STREAM, END_HEADERS, 5, 0xFF]), st.integers(0, 7), payloads)


def mutated(data: bytes, at: int, flip: int) -> bytes:
    """Bytes with one changed."""
    changed = bytearray(data)
    if changed:
        changed[at % len(changed)] ^= flip
    return bytes(changed)


requests = frames(hpack.Encoder().encode(REQUEST))
answers = frames(hpack.Encoder().encode(HEAD))
flips = st.tuples(st.integers(0, 2000), st.integers(0, 255))


def echo(stream: Stream) -> None:
    stream.on_message(stream.answer)
    stream.on_half_closed(stream.finish)


@pytest.fixture(scope="module", params=ENGINES.values(), ids=list(ENGINES))
def running(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with serving(echo, engine=request.param) as run:
        yield run
        assert run.errors == []
        run.until_counted(connections=0, streams=0, held_bytes=0)


@given(sent=st.lists(requests, max_size=12), flip=flips)
def test_no_client_takes_the_server_away(running: Serving, sent: list[bytes], flip: tuple[int, int]) -> None:
    opening = RawPeer.PREFACE + frame(SETTINGS, 0, 0)
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as peer:
        peer.sendall(opening + mutated(b"".join(sent), *flip))
        peer.shutdown(socket.SHUT_WR)
        try:
            while peer.recv(65536):
                pass
        except ConnectionResetError:
            pass
    with RawPeer(running.port) as other:
        other.call(1)
        other.message(1, b"hello")
        assert other.until(DATA, 1) == (0, b"\0\0\0\0\5hello")
    assert running.errors == []


class Hostile:
    """A server that answers each connection with bytes of a test's choice."""

    def __init__(self) -> None:
        self.answer = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            # A client that has gone already breaks nothing here.
            with contextlib.suppress(OSError), accepted:
                accepted.settimeout(PATIENCE)
                accepted.sendall(frame(SETTINGS, 0, 0))
                received = b""
                # The head of the call is there, or the client has gone.
                while b"\0\0\x01\x04" not in received and b"\x01\x04\0\0\0\x01" not in received:
                    more = accepted.recv(65536)
                    if not more:
                        break
                    received += more
                accepted.sendall(self.answer)


@pytest.fixture(scope="module", params=CLIENT_ENGINES, ids=str)
def hostile(request: pytest.FixtureRequest) -> Iterator[tuple[Hostile, LoopThread, str]]:
    server, asking = Hostile(), LoopThread(LOOPS["asyncio"]())
    yield server, asking, request.param
    server.listener.close()
    asking.stop()
    assert asking.errors == []


@given(sent=st.lists(answers, max_size=12), flip=flips)
def test_no_server_keeps_a_call_or_makes_the_client_raise(
    hostile: tuple[Hostile, LoopThread, str], sent: list[bytes], flip: tuple[int, int]
) -> None:
    server, asking, engine = hostile
    server.answer = frame(SETTINGS, ACK, 0) + mutated(b"".join(sent), *flip)

    async def ask() -> None:
        port = server.listener.getsockname()[1]
        client = Http2Client("127.0.0.1", port, connections=1, engine=CLIENT_ENGINES[engine])
        try:
            await client.unary("/s.S/Unary", b"x")
        except CallFailed:
            pass
        finally:
            await client.close()
        assert client.counters.held_bytes == 0
        await asyncio.sleep(0)

    asking.wait(ask)
    assert asking.errors == []

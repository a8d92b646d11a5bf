"""One connection: against grpc's own server, and against one that says whatever a test makes it say."""

from __future__ import annotations

import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import grpc
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triton_proxy.triton.direct import frames as frames
from triton_proxy.triton.direct.blocking_socket import CallFailed
from triton_proxy.triton.direct.connection import Connection
from triton_proxy.triton.direct.frames import Flag, Kind, Setting

METHOD = "/test.Echo/Echo"
TIMEOUT = 30
LARGEST = 4 << 20
OK = [(":status", "200"), ("content-type", "application/grpc")]
WELL = [("grpc-status", "0")]


@contextmanager
def served(answer: Callable[[bytes, grpc.ServicerContext], bytes]) -> Iterator[str]:
    """A gRPC server with the one method."""
    server = grpc.server(
        ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    )
    method: Any = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=None, response_serializer=None)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def connect(url: str) -> Connection:
    return Connection(url, METHOD, max_message_bytes=LARGEST, timeout_secs=TIMEOUT)


def failure(connection: Connection, *message: bytes, timeout_secs: float = TIMEOUT) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(CallFailed) as caught:
        connection.call(message, timeout_secs=timeout_secs)
    return caught.value.code(), caught.value.details()


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with served(lambda request, _: request) as url:
        yield url


@settings(deadline=None)
@given(calls=st.lists(st.lists(st.binary(max_size=50) | st.integers(0, 600_000).map(bytes), max_size=4), max_size=4))
def test_what_is_sent_in_parts_arrives_as_one_and_comes_back(echo: str, calls: list[list[bytes]]) -> None:
    with closing(connect(echo)) as connection:
        for message in calls:
            parts = [memoryview(part) if len(part) % 2 else part for part in message]
            assert connection.call(parts, timeout_secs=TIMEOUT) == b"".join(message)
            assert connection.rested()


def test_many_megabytes_on_one_connection_give_the_window_back(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Less than one answer, so that each of them does it.
    monkeypatch.setattr("triton_proxy.triton.direct.connection._WINDOW_GIVEN_BACK", 1_000_000)
    with closing(connect(echo)) as connection:
        for _ in range(20):
            assert len(connection.call([bytes(3_000_000)], timeout_secs=TIMEOUT)) == 3_000_000


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_status_comes_with_its_words_and_the_connection_goes_on(code: grpc.StatusCode) -> None:
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"fine":
            return request
        context.abort(code, "größer als 100 %")
        raise AssertionError

    with served(refuse) as url, closing(connect(url)) as connection:
        assert failure(connection, bytes(300_000)) == (code, "größer als 100 %")
        assert connection.rested()
        assert connection.call([b"fine"], timeout_secs=TIMEOUT) == b"fine"


def test_a_deadline_is_the_servers_too() -> None:
    seen: list[float] = []
    ended = threading.Event()

    def slow(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append(context.time_remaining() or 0)
        context.add_callback(ended.set)
        ended.wait(TIMEOUT)
        return request

    with served(slow) as url, closing(connect(url)) as connection:
        expected = (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        assert failure(connection, b"x", timeout_secs=0.3) == expected
        connection.close()
        assert ended.wait(TIMEOUT)
    assert 0 < seen[0] <= 0.3


def test_what_is_aborted_is_cancelled_at_the_server() -> None:
    begun, over = threading.Event(), threading.Event()

    def slow(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(over.set)
        begun.set()
        over.wait(TIMEOUT)
        return request

    with served(slow) as url, closing(connect(url)) as connection, ThreadPoolExecutor(1) as caller:
        failed = caller.submit(failure, connection, b"x")
        assert begun.wait(TIMEOUT)
        connection.abort()
        assert over.wait(TIMEOUT)
        assert failed.result(TIMEOUT)[0] is grpc.StatusCode.UNAVAILABLE
        assert not connection.usable


def test_too_large_an_answer_is_refused_before_it_is_read() -> None:
    with served(lambda _, __: bytes(LARGEST + 1)) as url, closing(connect(url)) as connection:
        expected = f"CLIENT: Received message larger than max ({LARGEST + 1} vs. {LARGEST})"
        assert failure(connection, b"x") == (grpc.StatusCode.RESOURCE_EXHAUSTED, expected)
        assert not connection.usable


def test_a_message_that_is_announced_takes_memory_as_it_comes() -> None:
    head = data(b"\x00" + struct.pack(">I", 60 << 20) + bytes(1000))
    with saying(headers(OK), head) as url:
        tracemalloc.start()
        try:
            with closing(Connection(url, METHOD, max_message_bytes=64 << 20, timeout_secs=TIMEOUT)) as connection:
                assert failure(connection, b"x")[0] is grpc.StatusCode.UNAVAILABLE
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 10 << 20


def test_a_large_answer_is_right_at_any_size() -> None:
    large = bytes(range(256)) * (37 << 12)
    with served(lambda _, __: large) as url:
        connection = Connection(url, METHOD, max_message_bytes=64 << 20, timeout_secs=TIMEOUT)
        with closing(connection):
            assert connection.call([b"x"], timeout_secs=TIMEOUT) == large


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CallFailed, match=f"failed to connect to Triton at 127.0.0.1:{port}: Connection refused"):
        connect(f"127.0.0.1:{port}")


@contextmanager
def saying(*said: bytes) -> Iterator[str]:
    """A server that waits for a call, says all that, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                heard = b""
                while METHOD.encode() not in heard:
                    heard += peer.recv(1 << 20)
                try:
                    for each in said:
                        peer.sendall(each)
                    peer.settimeout(0.05)
                    while peer.recv(1 << 20):
                        pass
                except OSError:
                    pass

        done = pool.submit(serve)
        yield f"127.0.0.1:{server.getsockname()[1]}"
        done.result(TIMEOUT)


def headers(fields: list[tuple[str, str]], flags: Flag = Flag.NONE) -> bytes:
    return frames.frame(Kind.HEADERS, Flag.END_HEADERS | flags, 1, hpack.Encoder().encode(fields))


def data(message: bytes, flags: Flag = Flag.NONE, compressed: int = 0) -> bytes:
    return frames.frame(Kind.DATA, flags, 1, struct.pack(">BI", compressed, len(message)) + message)


START = frames.settings({})
END = headers(WELL, Flag.END_STREAM)
RESET = struct.pack(">I", 2)
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
UNAVAILABLE, INTERNAL, UNKNOWN = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN


def test_an_answer_may_come_in_any_pieces() -> None:
    complete = START + headers(OK) + data(b"answer") + END
    for length in range(1, 12):
        pieces = [complete[start : start + length] for start in range(0, len(complete), length)]
        with saying(*pieces) as url, closing(connect(url)) as connection:
            assert connection.call([b"x"], timeout_secs=TIMEOUT) == b"answer"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], (UNAVAILABLE, "broke: it was closed")),
        ([headers(OK), data(b"a")], (UNAVAILABLE, "broke: it was closed")),
        ([headers(OK), END], (INTERNAL, "Triton ended the call before its answer was complete")),
        ([headers(OK), data(b"a")[:-1] + b"", b"a", END], None),
        ([headers(OK), data(b"a"), data(b"b"), END], (INTERNAL, "Triton answered more than one message")),
        ([headers(OK), data(b"a", Flag.END_STREAM)], (UNKNOWN, "Triton ended the call without a status")),
        ([headers(OK), data(b"a", compressed=1)], (INTERNAL, "Triton's answer is compressed")),
        ([headers(OK, Flag.END_STREAM)], (UNKNOWN, "")),
        ([headers([(":status", "502")], Flag.END_STREAM)], (UNAVAILABLE, "answers instead of Triton says HTTP 502")),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], (UNAVAILABLE, "Triton sent a frame that is not expected")),
        ([frames.frame(Kind.PUSH_PROMISE, stream=1)], (UNAVAILABLE, "a frame that is not expected: type 5")),
        ([frames.frame(Kind.HEADERS, stream=1)], (UNAVAILABLE, "a frame that is not expected: type 1")),
        ([frames.frame(Kind.DATA, Flag.PADDED, 1, b"abc")], (UNAVAILABLE, "a frame that is not expected: type 0")),
        ([frames.frame(Kind.DATA, stream=3, payload=b"abc")], (UNAVAILABLE, "data on a stream that has ended")),
        ([frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, b"\xff" * 9)], (UNAVAILABLE, "metadata can't be read")),
        ([headers([(":status", "502")]), data(b"<html>")], (UNAVAILABLE, "answers instead of Triton says HTTP 502")),
        ([headers([(":status", "404")]), data(b"", Flag.END_STREAM)], (UNIMPLEMENTED, "Triton says HTTP 404")),
        ([frames.settings({Setting.MAX_FRAME_SIZE: 0})], (UNAVAILABLE, "a setting that is not allowed: 5 is 0")),
        ([frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31})], (UNAVAILABLE, "not allowed: 4 is 2147483648")),
        ([frames.frame(Kind.SETTINGS, payload=b"abc")], (UNAVAILABLE, "a frame of a wrong length: type 4, 3 bytes")),
        ([frames.frame(Kind.WINDOW_UPDATE, payload=b"")], (UNAVAILABLE, "of a wrong length: type 8, 0 bytes")),
        ([frames.frame(Kind.RST_STREAM, stream=1, payload=RESET)], (INTERNAL, "reset the call, HTTP/2 error 2")),
    ],
)  # fmt: skip
def test_what_no_grpc_server_should_say_is_a_clear_failure(
    said: list[bytes], expected: tuple[grpc.StatusCode, str] | None
) -> None:
    with saying(START, *said) as url, closing(connect(url)) as connection:
        if expected is None:
            assert connection.call([b"x"], timeout_secs=TIMEOUT) == b"a"
            return
        code, text = failure(connection, b"x")
        assert code is expected[0]
        assert expected[1] in text


EXPECTED = [START, headers(OK), data(b"a"), END]
SETTINGS = st.dictionaries(st.sampled_from(Setting), st.integers(0, (1 << 32) - 1)).map(frames.settings)
FRAMES = st.builds(
    lambda kind, flags, stream, payload: frames.frame(kind, flags, stream, payload),
    st.integers(0, 11),
    st.integers(0, 255),
    st.sampled_from([0, 1, 3]),
    st.binary(max_size=40),
)


@settings(deadline=None, max_examples=200)
@given(
    said=st.lists(st.sampled_from([START, headers(OK), data(b"a"), END]) | FRAMES | st.binary(max_size=30), max_size=8)
)
def test_whatever_it_says_a_call_ends_in_an_answer_or_a_failure(said: list[bytes]) -> None:
    with saying(*said) as url, closing(connect(url)) as connection, suppress(CallFailed):
        assert len(connection.call([b"x"], timeout_secs=TIMEOUT)) <= LARGEST


def test_a_window_is_waited_for_and_not_exceeded() -> None:
    answered = [headers(OK), data(b"answer"), END]
    small = frames.settings({Setting.INITIAL_WINDOW_SIZE: 10, Setting.MAX_FRAME_SIZE: 16384})
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def serve() -> list[int]:
            peer, _ = server.accept()
            lengths = []
            with peer, peer.makefile("rb") as reader:
                reader.read(len(frames.PREFACE))
                peer.sendall(small)
                got = 0
                while got < 100 + 5:
                    length, kind, _, _ = frames.read_header(reader.read(frames.HEADER_BYTES))
                    reader.read(length)
                    if kind == Kind.DATA:
                        lengths.append(length)
                        got += length
                        update = struct.pack(">I", length)
                        peer.sendall(frames.frame(Kind.WINDOW_UPDATE, stream=1, payload=update))
                peer.sendall(b"".join(answered))
                reader.read()
            return lengths

        lengths = pool.submit(serve)
        connection = connect(f"127.0.0.1:{server.getsockname()[1]}")
        # The settings must be known before the call, as they are to all but the first.
        deadline = time.monotonic() + TIMEOUT
        while connection._first_window != 10:
            assert connection.rested()
            assert time.monotonic() < deadline
        assert connection.call([bytes(100)], timeout_secs=TIMEOUT) == b"answer"
        connection.close()
        assert max(lengths.result(TIMEOUT)) <= 10


@pytest.mark.parametrize(
    ("goodbye", "unprocessed"),
    [
        (frames.frame(Kind.GOAWAY, payload=struct.pack(">II", 0, 0)), True),
        (frames.frame(Kind.GOAWAY, payload=struct.pack(">II", 1, 0)), False),
        (frames.frame(Kind.RST_STREAM, stream=1, payload=struct.pack(">I", frames.REFUSED_STREAM)), True),
        (frames.frame(Kind.RST_STREAM, stream=1, payload=RESET), False),
    ],
)
def test_a_server_that_says_goodbye_says_whether_it_has_heard_the_call(goodbye: bytes, unprocessed: bool) -> None:
    with saying(START, goodbye) as url, closing(connect(url)) as connection:
        with pytest.raises(CallFailed) as caught:
            connection.call([b"x"], timeout_secs=TIMEOUT)
        assert caught.value.unprocessed is unprocessed
        assert not connection.usable


def test_a_request_that_was_not_sent_to_its_end_was_not_begun() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as server:

        def hang_up() -> None:
            peer, _ = listener.accept()
            with peer:
                # Without a window for the rest of it.
                while len(peer.recv(1 << 16)) < 1 << 14:
                    pass

        hung_up = server.submit(hang_up)
        connection = connect(f"127.0.0.1:{listener.getsockname()[1]}")
        with closing(connection), pytest.raises(CallFailed) as caught:
            connection.call([bytes(1 << 20)], timeout_secs=TIMEOUT)
        hung_up.result(TIMEOUT)
        assert (caught.value.code(), caught.value.unprocessed) == (grpc.StatusCode.UNAVAILABLE, True)


def test_pings_are_answered_also_between_calls() -> None:
    ping = frames.frame(Kind.PING, payload=b"12345678")
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def serve() -> bytes:
            peer, _ = server.accept()
            with peer:
                peer.sendall(START + ping)
                seen = b""
                while frames.frame(Kind.PING, Flag.ACK, payload=b"12345678") not in seen:
                    seen += peer.recv(1000)
                return seen

        seen = pool.submit(serve)
        with closing(connect(f"127.0.0.1:{server.getsockname()[1]}")) as connection:
            while not seen.done():
                connection.rested()
            assert seen.result(TIMEOUT)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_literals_are_read_back_by_the_library(name: bytes, value: bytes) -> None:
    assert hpack.Decoder().decode(frames.literal(name, value), raw=True) == [(name, value)]

"""Calls against grpc's own server, that tells who is connected and can be stopped."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import hpack
import pytest

from service_testing.waiting import until
from triton_proxy.triton.direct import frames as frames
from triton_proxy.triton.direct.blocking_socket import CallFailed
from triton_proxy.triton.direct.calls import Call, Calls, CallsStatistics
from triton_proxy.triton.direct.frames import Flag, Kind
from triton_proxy.triton.direct.status import LONGEST_SECS

METHOD = "/test.Echo/Echo"
TIMEOUT = 30
SLOW, REFUSED = b"slow", b"refused"


class Echo:
    """A server that answers what it was asked; a slow call when it is over, or when `finish` is set.

    Attributes:
        url: where it listens.
        peers: the other end of each call.
        begun: is released for each slow call.
        over: is released when a slow one has ended, for whatever reason.
        finish: lets slow calls end.
    """

    def __init__(self, port: int) -> None:
        self.peers: list[str] = []
        self.begun, self.over = threading.Semaphore(0), threading.Semaphore(0)
        self.finish = threading.Event()
        self.server = grpc.server(ThreadPoolExecutor(20), options=[("grpc.so_reuseport", 0)])
        method: Any = grpc.unary_unary_rpc_method_handler(self._answer, None, None)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": method}),))
        self.url = f"127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{port}')}"
        self.server.start()

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.peers.append(context.peer())
        if request == REFUSED:
            context.abort(grpc.StatusCode.NOT_FOUND, "refused")
        if request == SLOW:
            ended = threading.Event()
            context.add_callback(ended.set)
            context.add_callback(self.over.release)
            self.begun.release()
            while not self.finish.is_set() and not ended.wait(0.01):
                pass
        return request


@contextmanager
def echo(port: int = 0) -> Iterator[Echo]:
    made = Echo(port)
    try:
        yield made
    finally:
        made.finish.set()
        made.server.stop(None).wait()


@contextmanager
def calls_to(url: str, most: int = 16) -> Iterator[Calls]:
    calls = Calls(url, METHOD, max_message_bytes=1 << 20, most=most)
    try:
        yield calls
    finally:
        calls.close()


def answer(calls: Calls, message: bytes = b"x") -> bytes:
    return bytes(calls.begin([message], timeout_secs=TIMEOUT).result(TIMEOUT))


def test_one_call_after_another_is_one_connection() -> None:
    with echo() as server, calls_to(server.url) as calls:
        assert [answer(calls, b"%d" % number) for number in range(30)] == [b"%d" % number for number in range(30)]
        assert len(set(server.peers)) == 1


def test_a_refused_call_costs_no_connection() -> None:
    with echo() as server, calls_to(server.url) as calls:
        for _ in range(3):
            error = calls.begin([REFUSED], timeout_secs=TIMEOUT).exception()
            assert isinstance(error, CallFailed)
            assert str(error) == "NOT_FOUND: refused"
            assert answer(calls) == b"x"
        assert len(set(server.peers)) == 1


def test_calls_at_once_get_their_own_answers() -> None:
    with echo() as server, calls_to(server.url) as calls, ThreadPoolExecutor(8) as callers:
        messages = [bytes([number]) * 40_000 for number in range(200)]
        assert list(callers.map(lambda message: answer(calls, message), messages)) == messages
        assert 1 < len(set(server.peers)) <= 8


def test_more_than_the_most_wait_for_their_turn() -> None:
    with echo() as server, calls_to(server.url, most=2) as calls:
        slow = [calls.begin([SLOW], timeout_secs=TIMEOUT) for _ in range(2)]
        for _ in slow:
            assert server.begun.acquire(timeout=TIMEOUT)
        third = calls.begin([b"x"], timeout_secs=TIMEOUT)
        # It waits for its turn no longer than it may take.
        late = calls.begin([b"y"], timeout_secs=0)
        assert calls.statistics() == CallsStatistics(under_way=4, idle=0)
        assert not third.done()
        server.finish.set()
        assert third.result(TIMEOUT) == b"x"
        assert [call.result(TIMEOUT) for call in slow] == [SLOW] * 2
        error = late.exception()
        assert isinstance(error, CallFailed)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_cancelled_call_is_over_at_both_ends_and_no_other_is_disturbed() -> None:
    with echo() as server, calls_to(server.url) as calls:
        heard: list[bool] = []
        cancelled, other = (calls.begin([SLOW], timeout_secs=TIMEOUT) for _ in range(2))
        cancelled.add_done_callback(lambda call: heard.append(call.cancelled()))
        for _ in range(2):
            assert server.begun.acquire(timeout=TIMEOUT)
        cancelled.cancel()
        cancelled.cancel()
        assert heard == [True]
        with pytest.raises(grpc.FutureCancelledError):
            cancelled.result(TIMEOUT)
        assert server.over.acquire(timeout=TIMEOUT)
        assert not other.done()
        assert answer(calls) == b"x"
        server.finish.set()
        assert other.result(TIMEOUT) == SLOW


def test_to_cancel_what_is_over_or_has_not_begun_disturbs_nobody() -> None:
    with echo() as server, calls_to(server.url, most=1) as calls:
        over = calls.begin([b"x"], timeout_secs=TIMEOUT)
        assert over.result(TIMEOUT) == b"x"
        slow = calls.begin([SLOW], timeout_secs=TIMEOUT)
        assert server.begun.acquire(timeout=TIMEOUT)
        waiting = calls.begin([b"never"], timeout_secs=TIMEOUT)
        waiting.cancel()
        over.cancel()
        assert not over.cancelled()
        server.finish.set()
        assert slow.result(TIMEOUT) == SLOW
        assert answer(calls) == b"x"
        assert len(server.peers) == 3


def test_calls_cancelled_at_any_moment_leave_the_others_alone() -> None:
    with echo() as server, calls_to(server.url) as calls:
        for number in range(300):
            dropped = calls.begin([b"dropped"], timeout_secs=TIMEOUT)
            kept = calls.begin([b"%d" % number], timeout_secs=TIMEOUT)
            threading.Event().wait((number % 20) / 20_000)
            dropped.cancel()
            assert kept.result(TIMEOUT) == b"%d" % number


def test_a_deadline_ends_the_call_at_both_ends() -> None:
    with echo() as server, calls_to(server.url) as calls:
        late = calls.begin([SLOW], timeout_secs=0.2)
        error = late.exception()
        assert isinstance(error, CallFailed)
        assert (error.code(), str(error)) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "DEADLINE_EXCEEDED: Deadline Exceeded",
        )
        assert not late.cancelled()
        assert server.over.acquire(timeout=TIMEOUT)
        assert answer(calls) == b"x"


def test_a_server_that_was_restarted_is_found_again() -> None:
    with echo() as first, calls_to(first.url) as calls:
        assert answer(calls) == b"x"
        first.server.stop(None).wait()
        error = calls.begin([b"x"], timeout_secs=TIMEOUT).exception()
        assert isinstance(error, CallFailed)
        assert error.details() == f"failed to connect to Triton at {first.url}: Connection refused"
        with echo(int(first.url.rpartition(":")[2])) as second:
            assert answer(calls) == b"x"
            assert len(second.peers) == 1


def test_what_nobody_uses_is_closed_on_demand() -> None:
    with echo() as server, calls_to(server.url) as calls:
        assert answer(calls) == b"x"
        until(lambda: calls.statistics() == CallsStatistics(under_way=0, idle=1))
        calls.forget()
        assert calls.statistics() == CallsStatistics(under_way=0, idle=0)
        assert answer(calls) == b"x"
        assert len(set(server.peers)) == 2


def test_the_end_ends_what_is_under_way() -> None:
    with echo() as server, calls_to(server.url) as calls:
        slow = calls.begin([SLOW], timeout_secs=TIMEOUT)
        assert server.begun.acquire(timeout=TIMEOUT)
        calls.close()
        for call in (slow, calls.begin([b"x"], timeout_secs=TIMEOUT)):
            with pytest.raises(CallFailed, match="CANCELLED: Channel closed!"):
                call.result(TIMEOUT)
        assert server.over.acquire(timeout=TIMEOUT)


def test_a_call_that_was_not_heard_is_made_again() -> None:
    encoder = hpack.Encoder()
    head = encoder.encode([(":status", "200")])
    status = encoder.encode([("grpc-status", "0")])
    message = struct.pack(">BI", 0, 1) + b"x"
    answered = (
        frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, head)
        + frames.frame(Kind.DATA, Flag.NONE, 1, message)
        + frames.frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1, status)
    )
    goodbye = frames.frame(Kind.GOAWAY, payload=struct.pack(">II", 0, 0))

    def serve(server: socket.socket) -> None:
        for said in (goodbye, answered):
            peer, _ = server.accept()
            with peer:
                heard = b""
                while METHOD.encode() not in heard:
                    heard += peer.recv(1 << 20)
                peer.sendall(frames.settings({}) + said)
                while peer.recv(1 << 20):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, server)
        with calls_to(f"127.0.0.1:{server.getsockname()[1]}") as calls:
            assert answer(calls) == b"x"
        served.result(TIMEOUT)


def test_the_longest_deadline_is_no_error() -> None:
    with echo() as server, calls_to(server.url) as calls:
        for secs in (LONGEST_SECS, 123_456.0):
            assert calls.begin([b"x"], timeout_secs=secs).result(TIMEOUT) == b"x"


def test_a_failure_of_our_own_is_heard_of_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with calls_to("nonsense") as calls:
        error = calls.begin([b"x"], timeout_secs=TIMEOUT).exception()
        assert isinstance(error, CallFailed)
        assert str(error) == "INTERNAL: the proxy failed to ask Triton; its log says why"
        assert "ValueError" in caplog.text


@pytest.mark.parametrize("kind", ["answered", "refused", "late", "cancelled"])
def test_nothing_is_kept_of_a_call_that_is_over_but_what_it_came_to(kind: str) -> None:
    class Request(bytearray):
        """Bytes that a weak reference may name."""

    gc.disable()
    try:
        with echo() as server, calls_to(server.url, most=1) as calls:
            request = Request(SLOW if kind in ("late", "cancelled") else REFUSED if kind == "refused" else b"x")
            call = calls.begin([request], timeout_secs=0.2 if kind == "late" else TIMEOUT)
            heard: list[Call] = []

            def take(over: Call) -> None:
                # In the thread that made the call, whose frames a failure would keep that is raised there.
                with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
                    over.result()
                heard.append(over)

            call.add_done_callback(take)
            if kind == "cancelled":
                assert server.begun.acquire(timeout=TIMEOUT)
                call.cancel()
            call.exception() if kind != "answered" else call.result(TIMEOUT)
            kept, made = weakref.ref(request), weakref.ref(call)
            del request
            # Its one thread has gone on to the next.
            assert answer(calls) == b"x"
            assert kept() is None
            assert heard == [call]
            heard.clear()
            del call
            assert made() is None
    finally:
        gc.enable()

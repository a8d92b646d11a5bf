"""Calls of Triton on the engine, against a real server of gRPC, and one whose frames a test writes."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from proxy_testing.http2 import ACK, GOAWAY, HEADERS, SETTINGS, RawPeer, frame
from service_testing.waiting import TIMEOUT, until
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.direct.blocking_socket import CallFailed
from triton_proxy.triton.engine_calls import EngineCall, EngineCalls

METHOD = "/s.S/M"
LARGEST = 1000


class Server:
    """Answers `echo` at once, `slow` when it may, `large` with too much, and all else with a status.

    Attributes:
        port: where it listens.
        begun: is released for each call.
        ended: how each slow call ended: whether its caller was there still.
        may_answer: lets slow calls be answered.
    """

    def __init__(self, port: int = 0) -> None:
        self.begun, self.may_answer = threading.Semaphore(0), threading.Event()
        self.ended: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._answer)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s.S", {"M": handler}),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.begun.release()
        if request == b"slow":
            context.add_callback(self.may_answer.set)
            self.may_answer.wait(TIMEOUT)
            self.ended.put(context.is_active())
        elif request == b"large":
            return bytes(LARGEST + 1)
        elif request != b"echo":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unknown: ü {request!r}")
        return request

    def close(self) -> None:
        self.may_answer.set()
        self._server.stop(None).wait()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread("test")
    yield thread
    thread.close()


@contextmanager
def calling(loop: LoopThread, port: int) -> Iterator[EngineCalls]:
    calls = EngineCalls(loop, f"127.0.0.1:{port}", METHOD, max_message_bytes=LARGEST)
    try:
        yield calls
    finally:
        calls.close()


@pytest.fixture
def calls(loop: LoopThread, server: Server) -> Iterator[EngineCalls]:
    with calling(loop, server.port) as calls:
        yield calls


def failure(call: EngineCall) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        call.result()
    return caught.value


def test_an_answer_is_had_by_waiting_and_by_a_callback_in_the_loops_thread(
    loop: LoopThread, calls: EngineCalls
) -> None:
    told: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()
    call = calls.begin([b"ec", memoryview(b"ho")], timeout_secs=TIMEOUT)
    call.add_done_callback(lambda done: told.put((loop.here, bytes(done.result()))))
    assert call.result() == b"echo"
    assert told.get(timeout=TIMEOUT)[1] == b"echo"
    assert (call.exception(), call.cancelled()) == (None, False)

    def begin_here() -> None:
        calls.begin([b"echo"], timeout_secs=TIMEOUT).add_done_callback(
            lambda done: told.put((loop.here, bytes(done.result())))
        )

    loop.soon(begin_here)
    assert told.get(timeout=TIMEOUT) == (True, b"echo")


def test_a_status_and_its_text_are_the_servers(calls: EngineCalls) -> None:
    error = failure(calls.begin([b"what"], timeout_secs=TIMEOUT))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "unknown: ü b'what'"


def test_an_answer_over_the_limit_is_refused(calls: EngineCalls) -> None:
    error = failure(calls.begin([b"large"], timeout_secs=TIMEOUT))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "CLIENT: Received message larger than max (1001 vs. 1000)"


def test_a_slow_answer_is_waited_for_without_a_ping(loop: LoopThread, server: Server, calls: EngineCalls) -> None:
    # grpc's server, and so Triton, ends a connection at the third PING within five minutes on which it sent no data.
    call = calls.begin([b"slow"], timeout_secs=10 * TIMEOUT)
    assert server.begun.acquire(timeout=TIMEOUT)

    async def look(later: float) -> None:
        client = calls.client()
        assert client is not None
        client.sweep(loop.loop.time() + later)

    for minutes in range(1, 8):
        loop.run(look(60.0 * minutes)).result(TIMEOUT)
    server.may_answer.set()
    assert call.result(TIMEOUT) == b"slow"
    assert calls.statistics().accepted == 1


def test_its_deadline_ends_a_call_here_and_there(server: Server, calls: EngineCalls) -> None:
    call = calls.begin([b"slow"], timeout_secs=0.2)
    assert failure(call).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not call.cancelled()
    until(lambda: server.may_answer.is_set())


def test_a_cancelled_call_is_over_at_once_and_the_server_knows(server: Server, calls: EngineCalls) -> None:
    told = threading.Event()
    call = calls.begin([b"slow"], timeout_secs=10 * TIMEOUT)
    call.add_done_callback(lambda _: told.set())
    assert server.begun.acquire(timeout=TIMEOUT)
    call.cancel()
    assert told.wait(TIMEOUT)
    assert call.cancelled()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    assert not server.ended.get(timeout=TIMEOUT)


def test_a_call_that_is_cancelled_before_it_is_made_never_is(
    loop: LoopThread, server: Server, calls: EngineCalls
) -> None:
    begun: queue.SimpleQueue[EngineCall] = queue.SimpleQueue()
    # The loop is busy until the call is begun in another thread, and comes to it after the cancelling.
    loop.soon(lambda: begun.get(timeout=TIMEOUT).cancel())
    call = calls.begin([b"echo"], timeout_secs=TIMEOUT)
    begun.put(call)
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    assert calls.begin([b"echo"], timeout_secs=TIMEOUT).result() == b"echo"
    assert server.begun.acquire(blocking=False)
    assert not server.begun.acquire(blocking=False)


def test_to_cancel_what_is_answered_changes_nothing(loop: LoopThread, calls: EngineCalls) -> None:
    call = calls.begin([b"echo"], timeout_secs=TIMEOUT)
    assert call.result() == b"echo"
    call.cancel()
    calls.begin([b"echo"], timeout_secs=TIMEOUT).result()
    assert (call.result(), call.cancelled()) == (b"echo", False)


def test_a_server_that_goes_away_fails_calls_and_serves_again_when_it_is_back(loop: LoopThread) -> None:
    server = Server()
    with calling(loop, server.port) as calls:
        under_way = calls.begin([b"slow"], timeout_secs=TIMEOUT)
        assert server.begun.acquire(timeout=TIMEOUT)
        server.close()
        assert under_way.exception() is None or failure(under_way).code() is grpc.StatusCode.UNAVAILABLE
        until(lambda: calls.begin([b"echo"], timeout_secs=TIMEOUT).exception() is not None)
        error = failure(calls.begin([b"echo"], timeout_secs=TIMEOUT))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert (error.details() or "").startswith(f"failed to connect to 127.0.0.1:{server.port}: ")
        back = Server(server.port)
        until(lambda: calls.begin([b"echo"], timeout_secs=TIMEOUT).exception() is None)
        back.close()


def test_closing_fails_what_is_under_way_and_what_is_begun_afterwards(loop: LoopThread, server: Server) -> None:
    with calling(loop, server.port) as calls:
        under_way = calls.begin([b"slow"], timeout_secs=TIMEOUT)
        assert server.begun.acquire(timeout=TIMEOUT)
    for call in (under_way, calls.begin([b"echo"], timeout_secs=TIMEOUT)):
        error = failure(call)
        assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "Channel closed!")


def test_what_is_begun_when_the_loop_is_closed_fails_instead_of_waiting_for_ever(server: Server) -> None:
    loop = LoopThread("test")
    with calling(loop, server.port) as calls:
        pass
    loop.close()
    error = failure(calls.begin([b"echo"], timeout_secs=TIMEOUT))
    assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "Channel closed!")


class Refusing(threading.Thread):
    """A server that says GOAWAY to each call that comes, which it says it has not looked at.

    Attributes:
        port: where it listens.
        heads: calls that came.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heads = 0
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as came:
            connection.sendall(frame(SETTINGS, 0, 0))
            came.read(len(RawPeer.PREFACE))
            while len(head := came.read(9)) == 9:
                came.read(int.from_bytes(head[:3], "big"))
                if head[3] == HEADERS:
                    self.heads += 1
                    connection.sendall(frame(GOAWAY, 0, 0, bytes(8)))
                elif head[3] == SETTINGS and not head[4]:
                    connection.sendall(frame(SETTINGS, ACK, 0))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_a_call_that_the_server_has_not_looked_at_is_made_once_more_and_not_again(loop: LoopThread) -> None:
    server = Refusing()
    with calling(loop, server.port) as calls:
        error = failure(calls.begin([b"echo"], timeout_secs=TIMEOUT))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.unprocessed
        assert server.heads == 2
    server.close()

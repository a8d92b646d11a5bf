"""A call of the engine as serving sees it, called by a stock client, or by frames, over a real connection."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from mm_service.status import OK, Code, Status
from multimodal_contract import NOT_ACCEPTED, RETRY_AFTER_MS
from proxy_testing.http2 import DATA, END_STREAM, HEADERS, WINDOW_UPDATE, RawPeer, frame
from proxy_testing.in_process import trailing
from service_testing.waiting import TIMEOUT, until
from triton_proxy.http2.limits import ConnectionLimits
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.http2.server import Http2Server
from triton_proxy.http2.server_stream import Stream
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.http2.engine_call import EngineCall

STRANGERS_WINDOW, WINDOW = 65_535, 8 << 20


class Serving:
    """A server whose calls a test serves by hand.

    Attributes:
        loop: in which everything arrives.
        port: where it listens.
        calls: those that came.
        threads: take the steps until a call's first `receive`, and those afterwards.
    """

    def __init__(self) -> None:
        self.loop = LoopThread("test")
        self.threads = CallThreads(ThreadPoolExecutor(1, "waiting"), ThreadPoolExecutor(2, "working"))
        self.calls: queue.SimpleQueue[EngineCall] = queue.SimpleQueue()
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = listener.getsockname()[1]
        self.loop.run(self._listen(listener)).result(TIMEOUT)

    async def _listen(self, listener: socket.socket) -> None:
        limits = ConnectionLimits(stream_window=STRANGERS_WINDOW, connection_window=64 << 20)
        self.server = Http2Server(self._serve, limits)
        self.server.listen(listener)

    def _serve(self, stream: Stream) -> None:
        self.calls.put(EngineCall(stream, self.loop, self.threads, WINDOW))

    def call(self) -> EngineCall:
        """The next that comes."""
        return self.calls.get(timeout=TIMEOUT)

    def settle(self) -> None:
        """Waits until the loop has had all that was asked of it, and what that led to."""
        for _ in range(4):
            self.loop.run(_nothing()).result(TIMEOUT)

    def close(self) -> None:
        self.loop.run(self.server.close()).result(TIMEOUT)
        self.threads.close()
        self.loop.close()


async def _nothing() -> None:
    pass


@pytest.fixture
def serving() -> Iterator[Serving]:
    running = Serving()
    yield running
    running.close()


@pytest.fixture
def channel(serving: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
        yield channel


@pytest.fixture
def peer(serving: Serving) -> Iterator[RawPeer]:
    with RawPeer(serving.port) as peer:
        yield peer


def unary(channel: grpc.Channel, message: bytes = b"m", timeout: float = TIMEOUT) -> grpc.Future[bytes]:
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/s.S/M")
    return method.future(message, timeout=timeout, metadata=(("name", "value"),))


def received(call: EngineCall) -> bytes | None:
    """The next message."""
    got: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call.receive(got.put)
    return got.get(timeout=TIMEOUT)


def answer(call: EngineCall, message: bytes, *, heavy: bool = False, last: bool = False) -> threading.Event:
    """Sends a message; the event says that it was taken."""
    taken = threading.Event()
    call.answer(lambda: [message], taken.set, heavy=heavy, last=last)
    return taken


def test_head_and_messages_come_one_by_one_as_they_are_asked_for(serving: Serving, channel: grpc.Channel) -> None:
    method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/s.S/M")
    chat = method(iter([b"1", b"2"]), timeout=TIMEOUT, metadata=(("name", "value"),))
    call = serving.call()
    assert call.head.method == "/s.S/M"
    assert ("name", "value") in list(call.head.headers)
    assert call.head.peer.startswith("ipv4:127.0.0.1:")
    left = call.time_left()
    assert left is not None
    assert 0 < left <= TIMEOUT
    assert [received(call) for _ in range(3)] == [b"1", b"2", None]
    call.accept()
    assert answer(call, b"one").wait(TIMEOUT)
    assert answer(call, b"two", heavy=True).wait(TIMEOUT)
    call.finish(OK)
    assert list(chat) == [b"one", b"two"]


@pytest.mark.parametrize("heavy", [False, True])
def test_the_last_answer_ends_the_call_with_ok_and_was_taken_once_the_line_has_it(
    serving: Serving, channel: grpc.Channel, heavy: bool
) -> None:
    future = unary(channel)
    call = serving.call()
    assert received(call) == b"m"
    taken = answer(call, b"answer", heavy=heavy, last=True)
    assert future.result(TIMEOUT) == b"answer"
    assert taken.wait(TIMEOUT)


def test_an_answer_that_comes_when_the_call_has_its_status_was_not_taken(serving: Serving) -> None:
    with RawPeer(serving.port, window=0) as peer:
        peer.call(1, "/s.S/M")
        call = serving.call()
        ended = threading.Event()
        call.on_end(ended.set)
        answer(call, b"in time")
        # The status is behind an answer for which its caller has no window: the call has not ended yet.
        call.finish(Status(Code.DEADLINE_EXCEEDED, "over"))
        late = answer(call, b"late", last=True)
        serving.settle()
        peer.send(frame(WINDOW_UPDATE, 0, 1, (1000).to_bytes(4, "big")))
        peer.fields(1)
        assert peer.fields(1)["grpc-status"] == str(int(Code.DEADLINE_EXCEEDED))
        assert ended.wait(TIMEOUT)
        serving.settle()
        assert not late.is_set()


@pytest.mark.parametrize("last", [False, True])
def test_an_answer_that_nobody_reads_is_not_taken_and_never_where_the_caller_leaves(
    serving: Serving, last: bool
) -> None:
    with RawPeer(serving.port, window=1) as peer:
        peer.call(1, "/s.S/M")
        peer.message(1, b"m")
        call = serving.call()
        assert received(call) == b"m"
        ended = threading.Event()
        call.on_end(ended.set)
        taken = [answer(call, bytes(1 << 20), last=last)]
        serving.settle()
        assert not taken[0].is_set()
    assert ended.wait(TIMEOUT)
    taken.append(answer(call, b"too late", last=True))
    serving.settle()
    assert not any(each.is_set() for each in taken)


def test_strangers_have_a_window_of_64_kib_and_known_callers_one_of_8_mib(serving: Serving, peer: RawPeer) -> None:
    peer.call(1, "/s.S/M")
    call = serving.call()
    # The first five bytes say that the message is over every limit: nobody looks at them before it is asked for.
    body = b"\0\xff\xff\xff\xff" + bytes(STRANGERS_WINDOW - 5)
    for at in range(0, len(body), 16384):
        peer.send(frame(DATA, 0, 1, body[at : at + 16384]))
    until(lambda: serving.server.counters.held_bytes == STRANGERS_WINDOW)
    serving.settle()
    got: list[bytes | None] = []
    call.receive(got.append)
    increments = []
    while (came := peer.receive()) is not None and came[0] != HEADERS:
        if came[0] == WINDOW_UPDATE and came[2] == 1:
            increments.append(int.from_bytes(came[3], "big"))
    # Nothing of what came is taken: it is refused at its first bytes. What is new is the known caller's window.
    assert increments[0] == WINDOW - STRANGERS_WINDOW
    assert got == []


def test_bytes_count_from_the_first_one_and_no_more_come_until_they_may(serving: Serving, peer: RawPeer) -> None:
    peer.call(1, "/s.S/M")
    peer.message(1, b"1234", flags=0)
    call = serving.call()
    until(lambda: serving.server.counters.held_bytes == 9)
    counted: list[int] = []
    call.count(lambda size: counted.append(size) or False)  # type: ignore[func-returns-value]
    assert received(call) == b"1234"
    assert counted == [9]
    peer.message(1, b"56", flags=END_STREAM)
    assert received(call) == b"56"
    assert counted == [9, 7]
    call.resume()
    assert received(call) is None


@pytest.mark.parametrize(
    ("status", "resend", "expected"),
    [
        (Status(Code.UNAVAILABLE, "grün: 100%"), False, set()),
        (Status(Code.UNAVAILABLE, "later"), True, {NOT_ACCEPTED}),
        (Status(Code.RESOURCE_EXHAUSTED, "later", 1.5), True, {NOT_ACCEPTED, (RETRY_AFTER_MS, "1500")}),
    ],
)
def test_a_status_comes_with_its_text_and_what_may_be_sent_again(
    serving: Serving, channel: grpc.Channel, status: Status, resend: bool, expected: set[tuple[str, str]]
) -> None:
    future = unary(channel)
    serving.call().finish(status, resend=resend)
    error = future.exception(TIMEOUT)
    assert isinstance(error, grpc.RpcError)
    assert (error.code().name, error.details()) == (status.code.name, status.text)
    assert set(trailing(error)) == expected


def test_a_cancelled_call_is_cancelled_for_its_caller_whatever_it_reads(
    serving: Serving, channel: grpc.Channel
) -> None:
    future = unary(channel)
    call = serving.call()
    answer(call, bytes(10 << 20))
    call.cancel()
    error = future.exception(TIMEOUT)
    assert isinstance(error, grpc.RpcError)
    assert error.code() is grpc.StatusCode.CANCELLED


def test_its_deadline_ends_a_call(serving: Serving, channel: grpc.Channel) -> None:
    future = unary(channel, timeout=0.2)
    call = serving.call()
    ended = threading.Event()
    call.on_end(ended.set)
    assert ended.wait(TIMEOUT)
    assert (call.time_left() or 0.0) < 0.2
    error = future.exception(TIMEOUT)
    assert isinstance(error, grpc.RpcError)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_its_end_is_told_of_once_and_afterwards_at_once(serving: Serving, channel: grpc.Channel) -> None:
    future = unary(channel)
    call = serving.call()
    told: list[str] = []
    call.on_end(lambda: told.append("before"))
    future.cancel()
    until(lambda: told)
    call.on_end(lambda: told.append("after"))
    assert told == ["before", "after"]


def test_a_call_is_closed_only_when_no_thread_is_at_work_on_it(serving: Serving, channel: grpc.Channel) -> None:
    future = unary(channel)
    call = serving.call()
    told: list[str] = []
    at_work, go_on = threading.Event(), threading.Event()

    def work() -> None:
        at_work.set()
        go_on.wait(TIMEOUT)
        told.append(threading.current_thread().name.partition("_")[0])

    call.on_end(lambda: told.append("ended"))
    call.on_closed(lambda: told.append("closed"))
    call.submit(work, lambda: told.append("finally"))
    assert at_work.wait(TIMEOUT)
    future.cancel()
    until(lambda: told == ["ended"])
    # What is submitted by now is not done, but comes to its end.
    call.submit(lambda: told.append("too late"), lambda: told.append("dropped"))
    go_on.set()
    until(lambda: "closed" in told)
    assert told == ["ended", "waiting", "finally", "dropped", "closed"]
    call.on_closed(lambda: told.append("afterwards"))
    assert told[-1] == "afterwards"


def test_known_callers_take_other_threads_than_strangers(serving: Serving, channel: grpc.Channel) -> None:
    future = unary(channel)
    call = serving.call()
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    call.submit(lambda: names.put(threading.current_thread().name))
    assert names.get(timeout=TIMEOUT).startswith("waiting")
    assert received(call) == b"m"
    call.submit(lambda: names.put(threading.current_thread().name))
    assert names.get(timeout=TIMEOUT).startswith("working")
    future.cancel()


def test_a_step_for_which_there_is_no_thread_is_refused_and_comes_to_its_end(
    serving: Serving, channel: grpc.Channel
) -> None:
    future = unary(channel)
    call = serving.call()
    serving.threads.waiting.shutdown()
    told: list[str] = []
    with pytest.raises(RuntimeError):
        call.submit(lambda: told.append("step"), lambda: told.append("finally"))
    assert told == ["finally"]
    call.on_closed(lambda: told.append("closed"))
    future.cancel()
    until(lambda: "closed" in told)

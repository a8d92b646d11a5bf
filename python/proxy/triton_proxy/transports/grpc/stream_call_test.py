"""Calls of grpc's own server, made with grpc's own client, as serving sees them."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_service.status import OK, Code, Status
from multimodal_contract import ADMITTED, NOT_ACCEPTED
from proxy_testing.in_process import trailing
from service_testing.waiting import until
from triton_proxy.serving.call import FAILED
from triton_proxy.transports.grpc.stream_call import StreamCall

TIMEOUT = 30
MOST_CALLS = 8
METHOD = "/a.Service/Method"
NO = Status(Code.PERMISSION_DENIED, "not you: ünknown", retry_after_secs=2.0)


@dataclass
class Served:
    """A server with one method, and a channel to it.

    Attributes:
        server: the server.
        channel: to it.
        calls: those so far.
    """

    server: grpc.Server
    channel: grpc.Channel
    calls: list[StreamCall] = field(default_factory=list)

    def ask(self, message: bytes = b"", *, timeout: float = TIMEOUT) -> bytes:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(METHOD)
        return method(message, timeout=timeout)

    def begin(self, message: bytes = b"") -> grpc.Future[bytes]:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(METHOD)
        return method.future(message, timeout=TIMEOUT)

    def chat(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(METHOD)
        return method(messages, timeout=TIMEOUT)

    def refusal(self) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            self.ask()
        return caught.value


@contextmanager
def served(begin: Callable[[StreamCall], None], readers: Executor | None = None) -> Iterator[Served]:
    with ThreadPoolExecutor(MOST_CALLS) as threads, ThreadPoolExecutor(MOST_CALLS) as own_readers:

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = StreamCall(METHOD, requests, context, readers or own_readers)
            serving.calls.append(call)
            return call.run(partial(begin, call))

        class OneMethod(grpc.GenericRpcHandler):
            def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
                return grpc.stream_stream_rpc_method_handler(behave)

        server = grpc.server(threads, handlers=[OneMethod()])
        port = server.add_insecure_port("127.0.0.1:0")
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            serving = Served(server, channel)
            server.start()
            yield serving
        server.stop(None).wait()


def nothing() -> None:
    pass


def echo(call: StreamCall) -> None:
    """Serves a unary call."""

    def answer(message: bytes | None) -> None:
        call.answer(lambda: [b"none" if message is None else message], nothing, heavy=False, last=True)

    call.receive(answer)


def test_messages_come_and_go() -> None:
    with served(echo) as serving:

        @given(st.binary(max_size=100_000))
        def same(message: bytes) -> None:
            assert serving.ask(message) == message

        same()


def test_one_unary_call_after_another_and_at_once_frees_its_threads() -> None:
    with served(echo) as serving, ThreadPoolExecutor(MOST_CALLS) as callers:
        messages = [str(number).encode() for number in range(50 * MOST_CALLS)]
        assert list(callers.map(serving.ask, messages)) == messages


def test_a_stream_is_told_that_it_is_read_and_a_unary_call_is_not() -> None:
    def begin(call: StreamCall) -> None:
        call.accept()
        call.finish(OK)

    with served(begin) as serving:
        stream = serving.chat(iter(()))
        assert list(stream) == []
        assert ADMITTED in [(entry.key, entry.value) for entry in stream.initial_metadata()]  # type: ignore[attr-defined]
    with served(echo) as serving:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = serving.channel.unary_unary(METHOD)
        _, unary = method.with_call(b"", timeout=TIMEOUT)
        assert list(unary.initial_metadata() or ()) == []


def test_an_answer_may_come_from_any_thread_and_the_first_end_counts() -> None:
    def begin(call: StreamCall) -> None:
        def answer() -> None:
            call.answer(lambda: [b"fir", b"st"], nothing, heavy=True, last=True)

        def ended() -> None:
            call.finish(NO)

        call.on_end(ended)
        call.receive(lambda _: threading.Thread(target=answer).start())

    with served(begin) as serving:
        assert serving.ask() == b"first"


def test_a_call_whose_answer_can_not_be_made_does_not_end_with_ok() -> None:
    taken = threading.Event()

    def begin(call: StreamCall) -> None:
        def fail() -> None:
            call.finish(FAILED)

        call.receive(lambda _: call.answer(fail, taken.set, heavy=False, last=True))

    with served(begin) as serving:
        refusal = serving.refusal()
        assert (refusal.code(), refusal.details()) == (grpc.StatusCode.INTERNAL, FAILED.text)
        assert taken.is_set()


def test_a_call_whose_answer_turns_out_to_be_none_ends_as_serving_says_then() -> None:
    def begin(call: StreamCall) -> None:
        call.answer(lambda: None, lambda: call.finish(NO), heavy=False, last=True)

    with served(begin) as serving:
        assert serving.refusal().details() == NO.text


def test_a_call_is_refused_in_words_before_its_message_is_read() -> None:
    with served(lambda call: call.finish(NO, resend=True)) as serving:
        for _ in range(2 * MOST_CALLS):
            refusal = serving.refusal()
            assert (refusal.code(), refusal.details()) == (grpc.StatusCode.PERMISSION_DENIED, NO.text)
            assert trailing(refusal) == [NOT_ACCEPTED, ("retry-after-ms", "2000")]


def test_a_mistake_at_its_beginning_ends_its_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    def begin(call: StreamCall) -> None:
        if len(serving.calls) % 2:
            raise ZeroDivisionError
        echo(call)

    with served(begin) as serving:
        for _ in range(MOST_CALLS):
            refusal = serving.refusal()
            assert (refusal.code(), refusal.details()) == (grpc.StatusCode.INTERNAL, FAILED.text)
            assert trailing(refusal) == [NOT_ACCEPTED]
            assert serving.ask(b"well") == b"well"
    assert "ZeroDivisionError" in caplog.text


def test_a_call_without_a_message_has_none() -> None:
    with served(echo) as serving:
        assert list(serving.chat(iter(()))) == [b"none"]


def test_messages_stay_with_the_caller_until_they_are_asked_for() -> None:
    received: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with served(lambda call: call.receive(received.put)) as serving:
        stream = serving.chat(iter([b"1", b"2"]))
        assert received.get(timeout=TIMEOUT) == b"1"
        call = serving.calls[0]
        call.receive(received.put)
        assert received.get(timeout=TIMEOUT) == b"2"
        call.receive(received.put)
        assert received.get(timeout=TIMEOUT) is None
        call.finish(OK)
        assert list(stream) == []


def test_a_caller_that_leaves_ends_its_call_and_what_comes_then_is_not_sent() -> None:
    begun, ended, closed = threading.Event(), threading.Event(), threading.Event()
    taken: list[int] = []

    def begin(call: StreamCall) -> None:
        call.on_end(ended.set)
        call.on_closed(closed.set)
        call.receive(lambda _: begun.set())

    with served(begin) as serving:
        for _ in range(2 * MOST_CALLS):
            for event in (begun, ended, closed):
                event.clear()
            asked = serving.begin()
            assert begun.wait(TIMEOUT)
            assert not ended.is_set()
            asked.cancel()
            assert ended.wait(TIMEOUT)
            serving.calls[-1].answer(lambda: [b"late"], lambda: taken.append(1), heavy=False, last=True)
            assert closed.wait(TIMEOUT)
        assert taken == []


def test_a_call_is_cancelled_at_once() -> None:
    with served(lambda call: call.cancel()) as serving:
        assert serving.refusal().code() is grpc.StatusCode.CANCELLED


def test_a_call_that_has_ended_calls_back_at_once() -> None:
    with served(echo) as serving:
        serving.ask()
        until(lambda: _closed(serving.calls[0]))
        called: list[str] = []
        serving.calls[0].on_end(lambda: called.append("end"))
        assert called == ["end"]


def _closed(call: StreamCall) -> bool:
    closed = threading.Event()
    call.on_closed(closed.set)
    return closed.is_set()


def test_a_server_that_stops_ends_its_calls() -> None:
    begun, ended = threading.Event(), threading.Event()

    def begin(call: StreamCall) -> None:
        call.on_end(ended.set)
        call.receive(lambda _: begun.set())

    with served(begin) as serving:
        asked = serving.begin()
        assert begun.wait(TIMEOUT)
        assert serving.server.stop(None).wait(TIMEOUT)
        assert ended.wait(TIMEOUT)
        assert asked.exception() is not None


def test_a_call_is_not_closed_while_a_thread_is_at_work_on_it() -> None:
    may_go_on, at_work, closed = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        at_work.set()
        may_go_on.wait(TIMEOUT)

    def begin(call: StreamCall) -> None:
        call.on_closed(closed.set)
        call.submit(step)

    with served(begin) as serving:
        asked = serving.begin()
        assert at_work.wait(TIMEOUT)
        asked.cancel()
        ended = threading.Event()
        serving.calls[0].on_end(ended.set)
        assert ended.wait(TIMEOUT)
        assert not closed.is_set()
        may_go_on.set()
        assert closed.wait(TIMEOUT)


def test_a_step_of_a_call_that_has_ended_is_not_taken() -> None:
    ended, settled = threading.Event(), threading.Event()
    taken: list[str] = []
    with ThreadPoolExecutor(1) as readers:
        first = readers.submit(ended.wait, TIMEOUT)

        def begin(call: StreamCall) -> None:
            call.on_end(ended.set)
            call.submit(lambda: taken.append("step"), settled.set)
            call.finish(NO)

        with served(begin, readers) as serving:
            assert serving.refusal().details() == NO.text
            assert first.result(TIMEOUT)
            assert settled.wait(TIMEOUT)
            assert taken == []
            # Nor is one that comes now, and `finally_` is called all the same.
            settled.clear()
            serving.calls[0].submit(lambda: taken.append("late"), settled.set)
            assert settled.is_set()
            assert taken == []


def test_a_call_that_gets_no_second_thread_fails_and_may_be_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    readers = ThreadPoolExecutor(1)
    readers.shutdown()
    with served(echo, readers) as serving:
        for _ in range(2 * MOST_CALLS):
            refusal = serving.refusal()
            assert (refusal.code(), refusal.details()) == (grpc.StatusCode.INTERNAL, FAILED.text)
            assert NOT_ACCEPTED in trailing(refusal)
        assert all(_closed(call) for call in serving.calls[:-1])
    assert "cannot schedule new futures after shutdown" in caplog.text


def test_nothing_is_left_for_the_garbage_collector() -> None:
    gc.disable()
    try:
        with served(echo) as serving:
            for _ in range(10):
                assert serving.ask(b"message") == b"message"
            left = [weakref.ref(serving.calls.pop()) for _ in range(10)]
            # grpc's threads may have the last one at hand until the next comes.
            until(lambda: sum(each() is not None for each in left) <= 1)
    finally:
        gc.enable()

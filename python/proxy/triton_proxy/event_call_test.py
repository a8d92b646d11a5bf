"""Unary calls without threads, of grpc's own server and with grpc's own client."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract import NOT_ACCEPTED
from proxy_testing.raw_call import unread_calls
from triton_proxy.event_call import FAILED, EventCall, handler

TIMEOUT = 30
MOST_CALLS = 8
METHOD = "/a.Service/Method"
# Of the servers so far.
PORTS: list[int] = []


class OneMethod(grpc.GenericRpcHandler):
    def __init__(self, begin: Callable[[EventCall], None]) -> None:
        self.handler = handler(begin)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self.handler


@contextmanager
def served(begin: Callable[[EventCall], None]) -> Iterator[tuple[grpc.Server, grpc.Channel]]:
    server = grpc.server(ThreadPoolExecutor(1), maximum_concurrent_rpcs=MOST_CALLS)
    server.add_generic_rpc_handlers((OneMethod(begin),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    PORTS.append(port)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, channel
    server.stop(None).wait()


def echo(call: EventCall) -> None:
    call.receive(lambda message: call.answer(b"none" if message is None else message))


def ask(channel: grpc.Channel, message: bytes = b"", *, timeout: float = TIMEOUT) -> bytes:
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    return method(message, timeout=timeout)


def refused_or_late(channel: grpc.Channel) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, timeout=0.1)
    return caught.value.code()


def refused(channel: grpc.Channel, message: bytes = b"") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, message)
    return caught.value.code(), caught.value.details() or ""


def test_messages_come_and_go() -> None:
    with served(echo) as (_, channel):

        @given(st.binary(max_size=100_000))
        def same(message: bytes) -> None:
            assert ask(channel, message) == message

        same()


def test_one_call_after_another_and_at_once_frees_its_place() -> None:
    with served(echo) as (_, channel), ThreadPoolExecutor(MOST_CALLS) as callers:
        messages = [str(number).encode() for number in range(50 * MOST_CALLS)]
        assert list(callers.map(lambda message: ask(channel, message), messages)) == messages


def test_an_answer_may_come_from_any_thread_and_the_first_counts() -> None:
    def begin(call: EventCall) -> None:
        def answer() -> None:
            call.answer(b"first")
            call.answer(b"second")
            call.abort(grpc.StatusCode.ABORTED, "third")

        call.receive(lambda _: threading.Thread(target=answer).start())

    with served(begin) as (_, channel):
        assert ask(channel) == b"first"


def test_a_call_is_aborted_in_words_before_its_message_is_read() -> None:
    calls: list[EventCall] = []

    def begin(call: EventCall) -> None:
        calls.append(call)
        call.abort(grpc.StatusCode.PERMISSION_DENIED, "not you: ünknown", (("why", "because"),))

    with served(begin) as (_, channel):
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you: ünknown")
        trailing = [(entry.key, str(entry.value)) for entry in caught.value.trailing_metadata() or ()]
        assert ("why", "because") in trailing
        assert calls[0].ending == (grpc.StatusCode.PERMISSION_DENIED, "not you: ünknown")
        # Nothing comes of it any more.
        calls[0].receive(lambda _: pytest.fail("received"))


@pytest.mark.parametrize("fails", ["begin", "receive"])
def test_a_mistake_ends_its_call_alone(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    def begin(call: EventCall) -> None:
        if "yes" not in [value for _, value in call.context.invocation_metadata() or ()]:
            echo(call)
        elif fails == "begin":
            fail(call)
        else:
            call.receive(fail)

    with served(begin) as (_, channel):
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for _ in range(2 * MOST_CALLS):
            with pytest.raises(grpc.RpcError) as caught:
                method(b"", metadata=(("wrong", "yes"),), timeout=TIMEOUT)
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert caught.value.details() == "the proxy failed on this call; its log says why"
            assert ask(channel, b"well") == b"well"
    assert "ZeroDivisionError" in caplog.text


def test_a_call_without_a_message_has_none() -> None:
    with served(echo) as (_, channel):
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
        assert list(method(iter(()), timeout=TIMEOUT)) == [b"none"]


def test_who_goes_away_is_cancelled_and_what_comes_then_is_not_sent() -> None:
    begun, over = threading.Event(), threading.Event()
    calls: list[EventCall] = []

    def begin(call: EventCall) -> None:
        calls.append(call)
        call.context.add_callback(over.set)
        call.receive(lambda _: begun.set())

    with served(begin) as (_, channel):
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for _ in range(2 * MOST_CALLS):
            begun.clear()
            over.clear()
            asked = method.future(b"", timeout=TIMEOUT)
            assert begun.wait(TIMEOUT)
            cancelled = [calls[-1].cancelled]
            asked.cancel()
            assert over.wait(TIMEOUT)
            assert [*cancelled, calls[-1].cancelled] == [False, True]
            calls[-1].answer(b"late")


def test_a_server_that_stops_ends_its_calls() -> None:
    begun, over = threading.Event(), threading.Event()

    def begin(call: EventCall) -> None:
        call.context.add_callback(over.set)
        call.receive(lambda _: begun.set())

    with served(begin) as (server, channel):
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        asked = method.future(b"", timeout=TIMEOUT)
        assert begun.wait(TIMEOUT)
        assert server.stop(None).wait(TIMEOUT)
        assert over.is_set()
        assert asked.exception() is not None


def test_more_calls_than_the_server_allows_are_refused() -> None:
    held: list[EventCall] = []
    all_there = threading.Event()

    def begin(call: EventCall) -> None:
        held.append(call)
        if len(held) == MOST_CALLS:
            all_there.set()

    with served(begin) as (_, channel):
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        asked = [method.future(b"", timeout=TIMEOUT) for _ in range(MOST_CALLS)]
        assert all_there.wait(TIMEOUT)
        assert refused(channel) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
        for call in held:
            call.answer(b"done")
        assert [one.result(TIMEOUT) for one in asked] == [b"done"] * MOST_CALLS


def test_who_reads_no_refusal_takes_no_place() -> None:
    def begin(call: EventCall) -> None:
        call.abort(grpc.StatusCode.PERMISSION_DENIED, "no" * 4000)

    # More than the kernel takes for somebody who does not read, and fewer than grpc cancels by lot.
    with served(begin) as (server, channel), unread_calls(PORTS[-1], METHOD, [], b"", 900):
        calls = server._state.rpc_states  # type: ignore[attr-defined]  # grpc's own
        deadline = time.monotonic() + TIMEOUT
        while len(calls) < 2 * MOST_CALLS:
            assert time.monotonic() < deadline
        assert refused(channel) == (grpc.StatusCode.PERMISSION_DENIED, "no" * 4000)


def test_a_call_has_its_place_until_no_thread_is_at_work_on_it() -> None:
    may_go_on = threading.Event()
    all_there = threading.Semaphore(0)

    def step() -> None:
        all_there.release()
        may_go_on.wait(TIMEOUT)

    with ThreadPoolExecutor(MOST_CALLS) as threads, served(lambda call: call.later(threads, step)) as (_, channel):
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        asked = [method.future(b"", timeout=TIMEOUT) for _ in range(MOST_CALLS)]
        for _ in asked:
            assert all_there.acquire(timeout=TIMEOUT)
        for one in asked:
            one.cancel()
        assert refused(channel) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
        may_go_on.set()
        deadline = time.monotonic() + TIMEOUT
        while refused_or_late(channel) is grpc.StatusCode.RESOURCE_EXHAUSTED:
            assert time.monotonic() < deadline


def test_a_step_of_a_call_that_has_ended_is_not_taken() -> None:
    over, gone = threading.Event(), threading.Event()
    taken: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(over.wait, TIMEOUT)

        def begin(call: EventCall) -> None:
            call.when_gone(gone.set)
            call.later(threads, taken.append, "step")
            call.abort(grpc.StatusCode.ABORTED, "ended")

        with served(begin) as (_, channel):
            assert refused(channel) == (grpc.StatusCode.ABORTED, "ended")
            assert not gone.is_set()
            over.set()
            assert first.result(TIMEOUT)
            assert gone.wait(TIMEOUT)
            assert taken == []


def test_a_call_that_gets_no_thread_fails_and_may_be_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with served(lambda call: call.later(threads, pytest.fail)) as (_, channel):
        for _ in range(2 * MOST_CALLS):
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel)
            assert (caught.value.code(), caught.value.details()) == FAILED
            assert NOT_ACCEPTED in [(entry.key, str(entry.value)) for entry in caught.value.trailing_metadata() or ()]
    assert "cannot schedule new futures after shutdown" in caplog.text


def test_nothing_is_left_for_the_garbage_collector() -> None:
    made: list[weakref.ref[EventCall]] = []

    def begin(call: EventCall) -> None:
        made.append(weakref.ref(call))
        call.fail = lambda: call.abort(*FAILED)
        call.when_gone(lambda: call.abort(*FAILED))
        if len(made) % 2:
            echo(call)
        else:
            call.later(threads, echo, call)

    gc.disable()
    try:
        with ThreadPoolExecutor(1) as threads, served(begin) as (_, channel):
            for _ in range(10):
                assert ask(channel, b"message") == b"message"
            deadline = time.monotonic() + TIMEOUT
            # The last one is what grpc has at hand until the next comes.
            while sum(each() is not None for each in made) > 1:
                assert time.monotonic() < deadline
    finally:
        gc.enable()

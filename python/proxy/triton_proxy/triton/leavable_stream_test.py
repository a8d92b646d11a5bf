"""A stream of answers that was left is read to its end, and cancelled only where that takes long."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy_testing.http2 import PATIENCE
from service_testing.waiting import until
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.leavable_stream import LeavableStream


class Call:
    """A call whose answers a test gives."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.cancelled = threading.Event()
        self.go_on = threading.Event()
        self.callbacks: list[Callable[[], None]] = []
        self.readers = 0
        self.over = False

    def __iter__(self) -> Iterator[bytes]:
        self.readers += 1
        for answer in (b"1", b"2", b"3"):
            self.read.append(answer)
            yield answer
        self.go_on.wait(PATIENCE)
        self.over = True
        for callback in self.callbacks:
            callback()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return True

    def cancel(self) -> bool:
        self.cancelled.set()
        self.go_on.set()
        return True


def slowly() -> Callable[[], float]:
    """A second goes by between two looks."""
    return itertools.count(1.0).__next__


@pytest.fixture
def clock() -> Iterator[LoopThread]:
    made = LoopThread("clock")
    yield made
    made.close()


@pytest.fixture
def drains() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def test_what_was_left_is_read_to_its_end_and_not_cancelled(clock: LoopThread, drains: ThreadPoolExecutor) -> None:
    call = Call()
    stream = LeavableStream(call, clock, drains, delay_secs=2 * PATIENCE, now=slowly())
    over = threading.Event()
    assert next(iter(stream)) == b"1"
    assert stream.add_callback(over.set)
    stream.leave()
    assert stream.left
    until(lambda: call.read[-1] == b"3")
    call.go_on.set()
    assert over.wait(PATIENCE)
    assert not call.cancelled.is_set()


def test_one_that_is_left_while_it_is_read_is_read_to_its_end_there(
    clock: LoopThread, drains: ThreadPoolExecutor
) -> None:
    call = Call()
    stream = LeavableStream(call, clock, drains, delay_secs=2 * PATIENCE, now=slowly())
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(lambda: list(stream))
        until(lambda: len(call.read) == 3)
        stream.leave()
        assert not reading.done()
        call.go_on.set()
        assert reading.result(PATIENCE) == [b"1", b"2", b"3"]
    assert not call.cancelled.is_set()


def test_nobody_reads_what_was_left_but_one(clock: LoopThread, drains: ThreadPoolExecutor) -> None:
    call = Call()
    stream = LeavableStream(call, clock, drains, delay_secs=2 * PATIENCE, now=slowly())
    answers = iter(stream)
    assert next(answers) == b"1"
    stream.leave()
    stream.leave()
    assert next(answers, None) is None
    call.go_on.set()
    until(lambda: call.over)
    assert call.readers == 2


def test_one_that_is_over_is_not_left(clock: LoopThread, drains: ThreadPoolExecutor) -> None:
    call = Call()
    call.go_on.set()
    stream = LeavableStream(call, clock, drains, delay_secs=2 * PATIENCE, now=slowly())
    assert list(stream) == [b"1", b"2", b"3"]
    stream.leave()
    assert not stream.left


def test_what_takes_long_is_cancelled_late(clock: LoopThread, drains: ThreadPoolExecutor) -> None:
    call = Call()
    stream = LeavableStream(call, clock, drains, delay_secs=0.01, now=slowly())
    assert next(iter(stream)) == b"1"
    stream.leave()
    assert stream.left
    assert call.cancelled.wait(PATIENCE)


def test_a_cancel_is_passed_on_at_once(clock: LoopThread, drains: ThreadPoolExecutor) -> None:
    call = Call()
    stream = LeavableStream(call, clock, drains, delay_secs=2 * PATIENCE, now=slowly())
    assert stream.cancel()
    assert call.cancelled.is_set()


def test_where_no_thread_is_left_to_read_it_is_cancelled(clock: LoopThread) -> None:
    call = Call()
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    stream = LeavableStream(call, clock, ended, delay_secs=2 * PATIENCE, now=slowly())
    assert next(iter(stream)) == b"1"
    stream.leave()
    assert stream.left
    assert call.cancelled.is_set()


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_one_whose_answers_come_densely_or_not_at_all_is_cancelled_at_once(
    answers: int, clock: LoopThread, drains: ThreadPoolExecutor
) -> None:
    call = Call()
    stream = LeavableStream(call, clock, drains, delay_secs=2 * PATIENCE, now=itertools.count(1.0, 0.004).__next__)
    for _ in itertools.islice(stream, answers):
        pass
    stream.leave()
    assert not stream.left
    assert call.cancelled.is_set()

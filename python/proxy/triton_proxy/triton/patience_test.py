"""A call ends here when its caller says so, and at Triton when it is answered or a random time later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from service_testing.waiting import until
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.direct.blocking_socket import CallFailed
from triton_proxy.triton.direct.calls import Call
from triton_proxy.triton.patience import PatientCall

FOR_EVER = 1000.0


class AtTriton(Call):
    """A call of which the test says what comes.

    Attributes:
        deadline_secs: what Triton was given.
        told: set once Triton was told that nobody waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deadline_secs = 0.0
        self.told = threading.Event()

    def begin(self, deadline_secs: float) -> AtTriton:
        self.deadline_secs = deadline_secs
        return self

    def answer(self, data: bytes) -> None:
        self._future.set_result(data)

    def cancel(self) -> None:
        self.told.set()
        super().cancel()


@pytest.fixture
def clock() -> Iterator[LoopThread]:
    thread = LoopThread("clock")
    yield thread
    thread.close()


def counted(add: Callable[[Callable[[], None]], None]) -> list[None]:
    """Grows by one each time it is called back."""
    calls: list[None] = []
    add(lambda: calls.append(None))
    return calls


def test_an_answer_is_the_outcome(clock: LoopThread) -> None:
    triton = AtTriton()
    call = PatientCall(clock, triton.begin, timeout_secs=FOR_EVER, delay_secs=FOR_EVER)
    done = counted(lambda add: call.add_done_callback(lambda _: add()))
    triton.answer(b"answer")
    assert call.result() == b"answer"
    assert call.exception() is None
    assert (call.cancelled(), call.left) == (False, False)
    assert len(done) == 1
    assert len(counted(call.add_left_callback)) == 1
    call.cancel()
    assert call.result() == b"answer"
    assert not triton.told.is_set()


def test_tritons_failure_is_the_outcome(clock: LoopThread) -> None:
    triton = AtTriton()
    call = PatientCall(clock, triton.begin, timeout_secs=FOR_EVER, delay_secs=FOR_EVER)
    triton.fail(CallFailed(grpc.StatusCode.NOT_FOUND, "no such model"))
    with pytest.raises(CallFailed, match="no such model"):
        call.result()
    assert not call.left


def test_a_cancelled_call_is_over_here_at_once_and_at_triton_when_it_has_answered(clock: LoopThread) -> None:
    triton = AtTriton()
    call = PatientCall(clock, triton.begin, timeout_secs=FOR_EVER, delay_secs=FOR_EVER)
    left = counted(call.add_left_callback)
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    assert (call.cancelled(), call.left, triton.done(), left) == (True, True, False, [])
    triton.answer(b"that nobody wants")
    assert len(left) == 1
    assert call.cancelled()
    assert not triton.told.is_set()


def test_triton_is_told_if_it_has_not_answered(clock: LoopThread) -> None:
    triton = AtTriton()
    call = PatientCall(clock, triton.begin, timeout_secs=FOR_EVER, delay_secs=0.02)
    left = counted(call.add_left_callback)
    call.cancel()
    assert triton.told.wait(30)
    until(lambda: len(left) == 1)


def test_a_deadline_is_an_outcome_here_and_reaches_triton_later(clock: LoopThread) -> None:
    triton = AtTriton()
    call = PatientCall(clock, triton.begin, timeout_secs=0.01, delay_secs=FOR_EVER)
    with pytest.raises(CallFailed) as caught:
        call.result()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    assert (call.cancelled(), call.left, triton.done()) == (False, True, False)
    assert FOR_EVER / 2 <= triton.deadline_secs <= FOR_EVER + 1


def test_no_two_calls_are_told_of_after_the_same_time(clock: LoopThread) -> None:
    calls = [AtTriton() for _ in range(20)]
    for triton in calls:
        PatientCall(clock, triton.begin, timeout_secs=1, delay_secs=FOR_EVER)
    assert len({triton.deadline_secs for triton in calls}) == len(calls)

"""A call that moves, against whatever Tritons do and whenever its caller goes: never twice where it may have begun."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_testing.given_call import GivenCall, ended
from service_testing.waiting import TIMEOUT
from triton_proxy.triton.direct.blocking_socket import CallFailed, unavailable
from triton_proxy.triton.moving_call import MovingCall, NamedStream, Triton, named
from triton_proxy.triton.picker import Member


class Does(Enum):
    """What a Triton does with a call that it gets."""

    ANSWER = auto()
    # Not begun: no connection, or refused before it was looked at.
    NOT_BEGIN = auto()
    # Maybe begun.
    BREAK = auto()
    # In Triton's or the model's own words.
    REFUSE = auto()
    NOT_START = auto()  # There is no thread for it.


class Tritons:
    """Stand in for the membership.

    Attributes:
        begun: at which the call was begun, in order.
        open: how many have it, as far as they know.
        several: whether there are others.
    """

    def __init__(self, count: int) -> None:
        self.members: list[Triton] = [Member(f"10.0.0.{number}:1", None) for number in range(count)]  # type: ignore[arg-type]  # nothing is asked of its endpoint
        self.begun: list[Triton] = []
        self.open = 0
        self.suspected: list[BaseException | None] = []
        self.several = count > 1

    def another(self, tried: list[Triton]) -> Triton | None:
        found = next((member for member in self.members if member not in tried), None)
        if found is not None:
            self.open += 1
        return found

    def first(self) -> Triton:
        """The first, as picked."""
        self.open += 1
        return self.members[0]

    def over(self, triton: Triton, error: BaseException | None) -> None:
        self.open -= 1
        self.suspect(triton, error)

    def suspect(self, triton: Triton, error: BaseException | None) -> None:
        self.suspected.append(error)


OUTCOMES: dict[Does, BaseException | bytes] = {
    Does.ANSWER: b"answer",
    Does.NOT_BEGIN: unavailable("refused", unprocessed=True),
    Does.BREAK: unavailable("broke"),
    Does.REFUSE: CallFailed(grpc.StatusCode.NOT_FOUND, "no such model"),
    Does.NOT_START: RuntimeError("can't start new thread"),
}


class Asked:
    """Tritons that do what the test says, once they are asked, or when the test ends the calls.

    Attributes:
        does: what each does.
        tritons: they.
        calls: those that were begun and that the test ends.
    """

    def __init__(self, does: list[Does], *, late: bool) -> None:
        self.does = dict(zip((tritons := Tritons(len(does))).members, does, strict=True))
        self.tritons = tritons
        self.calls: list[tuple[GivenCall, BaseException | bytes]] = []
        self._late = late

    def begin(self, triton: Triton, secs: float) -> GivenCall:
        assert secs >= 0
        # At no other now, and at this one never before.
        assert self.tritons.open == 1
        assert triton not in self.tritons.begun
        self.tritons.begun.append(triton)
        outcome = OUTCOMES[self.does[triton]]
        if isinstance(outcome, RuntimeError):
            raise outcome
        if not self._late:
            return ended(outcome)
        call = GivenCall()
        self.calls.append((call, outcome))
        return call

    def done(self) -> list[Does]:
        """What those did that were asked."""
        return [self.does[triton] for triton in self.tritons.begun]


def check_failure(asked: Asked, again: set[Does], error: BaseException | None, *, in_time: bool) -> None:
    last = asked.done()[-1]
    assert isinstance(error, CallFailed)
    if last in again and not in_time:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        assert sum(triton.address in error.details() for triton in asked.tritons.begun) == 1
    # It had nowhere else to go.
    assert last not in again or len(asked.done()) == len(asked.does)


@given(
    does=st.lists(st.sampled_from(Does), min_size=1, max_size=4).filter(lambda does: does[0] is not Does.NOT_START),
    cancelled_after=st.none() | st.integers(0, 3),
    harmless=st.booleans(),
    timeout_secs=st.sampled_from([TIMEOUT, -1.0]),
)
def test_it_is_never_at_two_nor_after_one_that_may_have_begun(
    does: list[Does], cancelled_after: int | None, harmless: bool, timeout_secs: float
) -> None:
    asked = Asked(does, late=cancelled_after is not None)
    moving = MovingCall(asked.tritons, asked.begin, timeout_secs=timeout_secs, harmless=harmless)
    heard: list[Any] = []
    moving.add_done_callback(heard.append)
    moving.start(asked.tritons.first())
    # The next is begun when the one before ends.
    for number, (call, outcome) in enumerate(asked.calls):
        if number == cancelled_after:
            moving.cancel()
        call.end(outcome)
    # What each but the last did, it certainly had not begun; or it was a question.
    again = {Does.NOT_BEGIN, Does.BREAK} if harmless else {Does.NOT_BEGIN}
    assert set(asked.done()[:-1]) <= again
    assert (asked.tritons.open, len(heard)) == (0, 1)
    if moving.cancelled():
        assert cancelled_after is not None
        with pytest.raises(grpc.FutureCancelledError):
            moving.result()
    elif asked.done()[-1] is Does.ANSWER:
        assert (moving.exception(), moving.result()) == (None, b"answer")
    else:
        check_failure(asked, again, moving.exception(), in_time=timeout_secs > 0)


def test_what_cannot_be_begun_at_all_is_the_callers_to_hear_of() -> None:
    asked = Asked([Does.NOT_START, Does.ANSWER], late=False)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        MovingCall(asked.tritons, asked.begin, timeout_secs=TIMEOUT).start(asked.tritons.first())
    assert asked.tritons.open == 0


class Broken:
    """A stream of answers that fails after the first."""

    def __init__(self, *, over: bool) -> None:
        self.over = over
        self.callbacks: list[Callable[[], None]] = []
        self.cancelled = False

    def __iter__(self) -> Any:
        yield b"first"
        raise unavailable("broke")

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if not self.over:
            self.callbacks.append(callback)
        return not self.over

    def cancel(self) -> bool:
        self.cancelled = True
        return True


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(("count", "text"), [(1, "broke"), (2, "broke (Triton at 10.0.0.0:1)")])
def test_a_stream_that_breaks_names_its_triton_where_there_are_several(over: bool, count: int, text: str) -> None:
    tritons = Tritons(count)
    triton = tritons.first()
    call = Broken(over=over)
    stream = NamedStream(call, tritons, triton)
    answers = iter(stream)
    assert next(answers) == b"first"
    with pytest.raises(CallFailed) as caught:
        next(answers)
    assert caught.value.details() == text
    assert isinstance(tritons.suspected[-1], CallFailed)
    for callback in call.callbacks:
        callback()
    assert tritons.open == 0
    assert stream.add_callback(lambda: None) is not over
    assert stream.cancel()
    assert call.cancelled


def test_a_failure_that_names_its_triton_is_as_it_was() -> None:
    for error in (
        unavailable("failed to connect to Triton at a:1: no"),
        CallFailed(grpc.StatusCode.NOT_FOUND, "no such model"),
        grpc.FutureCancelledError(),
    ):
        assert named(error, "a:1") is error

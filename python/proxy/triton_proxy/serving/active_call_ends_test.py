"""How a call ends, step by step: by its caller, by its rights, by mistakes of ours; and that it leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mm_service.status import OK, Code, Status
from multimodal_contract import pb
from proxy_testing.describing import DECOUPLED, PLAIN
from proxy_testing.memory_serving import (
    MB,
    MemoryServing,
    ending,
    error_of,
    note,
    one_answer,
    packet,
    stream,
    unary,
)
from triton_proxy.serving.call import FAILED

DRAIN = Status(Code.UNAVAILABLE, "the proxy is shutting down")
GONE = Status(Code.CANCELLED, "the caller went away")


# Rights.


def test_the_end_of_a_callers_rights_cuts_an_inference_that_may_go_on_for_ever() -> None:
    serving = stream(remembered=False)
    for cid, model in (("a", DECOUPLED), ("b", PLAIN), ("c", DECOUPLED)):
        serving.send(packet(cid, model))
    serving.triton.inferences["a"].give(one_answer(final=False))
    assert not serving.take().final
    serving.identity.knows_ann = False
    serving.active.confirm()
    assert serving.active.revoked
    assert serving.triton.inferences["a"].cancelled
    assert not serving.triton.inferences["b"].cancelled
    assert ending(serving) == (None, False)
    cut = serving.take()
    assert (cut.correlation_id, cut.status, cut.final) == ("a", pb.INTERNAL, True)
    assert error_of(cut) == "the inference was ended before its last answer: not any more"
    assert serving.call.make() is None
    # One that has one answer has it anyway.
    serving.finish("b")
    assert serving.take().status == pb.OK
    assert error_of(serving.take()) == "the inference was ended before its last answer: not any more"
    assert serving.call.make() is None
    assert ending(serving) == (Status(Code.UNAUTHENTICATED, "not any more"), True)
    serving.close()


def test_an_inference_that_is_being_begun_when_its_callers_rights_end_is_cut_in_its_turn() -> None:
    serving = stream(remembered=False)
    begin = serving.triton.infer

    def infer(*arguments: Any, **more: Any) -> Any:
        serving.identity.knows_ann = False
        serving.active.confirm()
        return begin(*arguments, **more)

    serving.triton.infer = infer  # type: ignore[method-assign]  # of the stand-in
    serving.send(packet("a", DECOUPLED))
    assert error_of(serving.take()) == "the inference was ended before its last answer: not any more"
    assert serving.call.make() is None
    assert ending(serving) == (Status(Code.UNAUTHENTICATED, "not any more"), True)
    serving.close()


def test_a_packet_that_comes_after_its_callers_rights_is_rejected() -> None:
    serving = stream(remembered=False)
    serving.send(packet("a"))
    serving.identity.knows_ann = False
    serving.send(packet("b"))
    serving.finish("a")
    assert serving.take().correlation_id == "a"
    assert serving.call.status == Status(Code.UNAUTHENTICATED, "not any more")
    serving.close()
    assert list(serving.triton.inferences) == ["a"]
    assert serving.observer.rejected == [Status(Code.UNAUTHENTICATED, "not any more")]


def test_rights_that_stand_are_confirmed_and_nothing_happens() -> None:
    serving = stream(remembered=False)
    serving.active.confirm()
    assert ending(serving) == (None, False)
    assert serving.call.is_receiving()
    serving.close()


def test_the_packet_of_a_unary_call_is_answered_whatever_becomes_of_its_callers_rights() -> None:
    serving = unary(remembered=False)
    serving.send(packet("a"))
    serving.identity.knows_ann = False
    serving.active.confirm()
    serving.finish("a")
    assert serving.take().status == pb.OK
    assert serving.call.status == OK
    serving.close()


# Mistakes of ours.


def test_an_answer_that_can_not_be_made_ends_the_call(caplog: pytest.LogCaptureFixture) -> None:
    serving = stream()
    for cid in "ab":
        serving.send(packet(cid))
    serving.finish("b")
    serving.finish("a", ZeroDivisionError("of the test"))
    assert serving.call.make() is None
    assert not serving.call.is_answering()
    assert ending(serving) == (FAILED, True)
    serving.close()
    assert serving.observer.ended == [FAILED]
    (line,) = [vars(record) for record in caplog.records if record.message == "a call failed"]
    assert "of the test" in line["exc_text"]
    assert (line["correlation_id"], line["trace_id"]) == ("a", "")


def test_the_answer_of_a_unary_call_that_can_not_be_made_is_not_asked_for_again() -> None:
    serving = unary()
    serving.send(packet("a"))
    serving.finish("a", ZeroDivisionError())
    assert serving.call.make() is None
    assert ending(serving) == (FAILED, False)
    serving.close()
    assert serving.observer.ended == [FAILED]


def test_an_inference_that_can_not_be_begun_ends_the_call_after_those_accepted_are_answered() -> None:
    serving = stream()
    serving.send(packet("a"))
    serving.triton.fails = ZeroDivisionError()
    serving.send(packet("b"))
    assert ending(serving) == (None, False)
    serving.finish("a")
    assert serving.take().correlation_id == "a"
    assert ending(serving) == (FAILED, True)
    serving.close()


def test_an_inference_of_a_unary_call_that_can_not_be_begun_ends_it() -> None:
    serving = unary()
    serving.triton.fails = ZeroDivisionError()
    serving.send(packet("a"))
    assert ending(serving) == (FAILED, False)
    serving.close()


@pytest.mark.parametrize("size", [4, 100_000])
@pytest.mark.parametrize("is_unary", [False, True])
def test_a_step_that_gets_no_thread_ends_the_call(size: int, is_unary: bool) -> None:
    serving = MemoryServing(unary=is_unary)
    serving.call.has_threads = False
    serving.send(packet("a", size=size))
    # A small packet was accepted before it was seen that its model is not known.
    assert serving.observer.admitted == (["a"] if size == 4 else [])
    assert serving.call.status == FAILED
    assert serving.call.resend is (not is_unary or size > 4)
    serving.close()


# Unary calls.


@pytest.mark.parametrize("size", [4, 100_000])
def test_a_unary_call_has_one_packet_and_ends_well(size: int) -> None:
    serving = unary()
    serving.send(packet("a", size=size))
    assert not serving.call.is_receiving()
    serving.finish("a")
    assert serving.take().correlation_id == "a"
    assert ending(serving) == (OK, False)
    serving.close()
    assert serving.observer.ended == [OK]
    assert serving.observer.answered == [("a", True)]


def test_a_unary_call_without_a_packet_is_invalid() -> None:
    serving = unary()
    serving.call.deliver(None)
    status = Status(Code.INVALID_ARGUMENT, "the call has no packet; SendUnary takes one")
    assert serving.call.status == status
    serving.close()
    assert serving.observer.ended == [status]


def test_a_unary_call_of_a_decoupled_model_is_rejected_in_its_one_answer() -> None:
    serving = unary()
    serving.send(packet("a", DECOUPLED))
    ack = serving.take()
    assert (ack.status, ack.final) == (pb.UNSUPPORTED, True)
    serving.close()


def test_a_rejected_unary_call_may_be_sent_again() -> None:
    serving = unary(max_message_bytes=MB)
    serving.send(packet("a", size=MB))
    assert serving.call.status is not None
    assert (serving.call.status.code, serving.call.resend) == (Code.RESOURCE_EXHAUSTED, True)
    serving.close()


# The end.


@pytest.mark.parametrize("make", [stream, unary])
def test_a_call_that_is_ended_before_its_packet_comes_accepts_it_no_more(make: Callable[[], MemoryServing]) -> None:
    serving = make()
    serving.active.end(DRAIN)
    assert ending(serving) == (DRAIN, True)
    serving.send(packet("late"))
    serving.close()
    assert serving.observer.admitted == []
    assert serving.triton.inferences == {}
    assert serving.observer.ended == [DRAIN]


def test_what_was_accepted_before_the_end_is_answered() -> None:
    serving = stream()
    serving.send(packet("a"))
    serving.active.end(DRAIN)
    serving.send(packet("late"))
    assert ending(serving) == (None, False)
    serving.finish("a")
    assert serving.take().correlation_id == "a"
    assert ending(serving) == (DRAIN, True)
    serving.close()
    assert serving.observer.admitted == ["a"]


def test_a_packet_that_is_being_begun_when_the_call_is_ended_is_answered() -> None:
    serving = MemoryServing()
    serving.send(packet("a"), steps=False)
    serving.active.end(DRAIN)
    assert ending(serving) == (None, False)
    serving.call.step()
    serving.finish("a")
    assert serving.take().correlation_id == "a"
    assert serving.call.status == DRAIN
    serving.close()


def test_a_packet_that_waits_for_memory_when_the_call_is_ended_is_not_accepted() -> None:
    serving = stream(budget_mb=1)
    others = serving.admission.budget.share("ben")
    others.reserve(MB)
    serving.send(packet("a"), steps=False)
    serving.active.end(DRAIN)
    assert serving.call.status == DRAIN
    serving.call.step()
    others.close()
    serving.close()
    assert serving.observer.admitted == []


def test_a_stream_that_sends_no_more_ends_well_whatever_ends_it_meanwhile() -> None:
    serving = stream()
    serving.send(packet("a"))
    serving.call.deliver(None)
    serving.active.end(DRAIN)
    serving.finish("a")
    serving.take()
    assert ending(serving) == (OK, False)
    serving.close()


def test_what_ends_a_call_first_is_what_it_ends_with() -> None:
    serving = stream()
    serving.send(packet("a"))
    serving.active.end(DRAIN)
    serving.active.end(Status(Code.RESOURCE_EXHAUSTED, "another"))
    serving.finish("a")
    serving.take()
    assert serving.call.status == DRAIN
    serving.close()


@pytest.mark.parametrize("make", [stream, unary])
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("made", [False, True])
def test_a_caller_that_goes_away_leaves_nothing_under_way(
    make: Callable[[], MemoryServing], finished: bool, made: bool
) -> None:
    serving = make()
    serving.send(packet("a"))
    if finished:
        serving.finish("a")
        if made:
            serving.call.make()
    serving.call.end()
    assert serving.triton.inferences["a"].cancelled
    serving.close()
    assert serving.observer.ended == [GONE]


def test_a_caller_that_goes_away_before_its_first_packet_leaves_nothing() -> None:
    serving = stream()
    serving.call.end()
    serving.close()
    assert serving.observer.ended == [GONE]


def test_a_caller_that_goes_away_while_its_packet_is_begun_leaves_nothing() -> None:
    serving = stream()
    begin = serving.triton.infer

    def infer(*arguments: Any, **more: Any) -> Any:
        serving.call.end()
        return begin(*arguments, **more)

    serving.triton.infer = infer  # type: ignore[method-assign]  # of the stand-in
    serving.send(packet("a"))
    assert serving.triton.inferences["a"].cancelled
    serving.close()


def test_a_call_that_is_dropped_is_cancelled_and_says_why() -> None:
    serving = stream()
    serving.send(packet("a"))
    serving.finish("a")
    serving.call.make()
    serving.active.drop("the caller took no Ack for 10 s")
    assert serving.call.cancelled
    serving.close()
    assert serving.observer.ended == [Status(Code.CANCELLED, "the caller took no Ack for 10 s")]


def test_a_call_is_unheard_until_its_first_message() -> None:
    serving = stream()
    before = serving.active.unheard_since
    serving.send(note("a"))
    assert (before is None, serving.active.unheard_since) == (False, None)
    serving.close()

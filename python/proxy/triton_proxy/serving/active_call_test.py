"""One call, step by step: what is read, what is answered when, and what is not let through."""

from __future__ import annotations

import pytest

from mm_service.status import OK, Code, Status
from multimodal_contract import pb
from proxy_testing.describing import DECOUPLED, STATEFUL, UNKNOWN
from proxy_testing.memory_serving import (
    MB,
    MemoryServing,
    ending,
    error_of,
    note,
    one_answer,
    packet,
    stream,
)
from triton_proxy.admission.budget import PACKET_COPIES
from triton_proxy.inference.answer import InferenceFailed

# Order, window, backpressure.


def test_answers_keep_the_order_of_their_packets_though_later_ones_are_ready_first() -> None:
    serving = stream()
    for cid in "abc":
        serving.send(packet(cid))
    serving.send(note("d"))
    serving.finish("c")
    serving.finish("b")
    assert not serving.call.is_answering()
    serving.finish("a")
    assert [serving.take().correlation_id for _ in range(4)] == ["a", "b", "c", "d"]
    assert not serving.call.is_answering()
    serving.call.deliver(None)
    assert ending(serving) == (OK, False)
    serving.close()
    assert serving.observer.answered == [("a", True), ("b", True), ("c", True), ("d", True)]
    assert serving.observer.ended == [OK]


def test_a_full_window_asks_for_no_message_until_an_answer_is_taken() -> None:
    serving = stream(window=2)
    serving.send(packet("a"))
    assert serving.call.is_receiving()
    serving.send(packet("b"))
    assert not serving.call.is_receiving()
    serving.finish("a")
    serving.call.make()
    assert not serving.call.is_receiving()
    serving.call.taken()
    assert serving.call.is_receiving()
    serving.close()


def test_nothing_more_is_made_until_the_answer_before_is_taken() -> None:
    serving = stream()
    for cid in "ab":
        serving.send(packet(cid))
        serving.finish(cid)
    assert serving.call.is_answering()
    serving.call.make()
    assert not serving.call.is_answering()
    assert serving.active.stalled_for(0)
    serving.call.taken()
    assert serving.active.stalled_for(0) is False
    assert serving.call.is_answering()
    assert serving.take().correlation_id == "b"
    serving.close()


def test_a_packet_has_memory_until_its_answer_is_taken() -> None:
    serving = stream()
    serving.send(packet("a", size=1000))
    size = packet("a", size=1000).ByteSize()
    assert serving.admission.budget.statistics().in_use == PACKET_COPIES * size
    serving.triton.inferences["a"].give(one_answer())
    serving.triton.inferences["a"].finish(500)
    assert serving.admission.budget.statistics().in_use == 500
    serving.call.make()
    assert serving.admission.budget.statistics().in_use == 500
    serving.call.taken()
    assert serving.admission.budget.statistics().in_use == 0
    # What the model is expected to answer is taken along from now on.
    serving.send(packet("b", size=1000))
    assert serving.admission.budget.statistics().in_use == PACKET_COPIES * size + 500
    serving.close()


def test_each_of_any_number_of_answers_has_memory_until_it_is_taken() -> None:
    serving = stream()
    serving.send(packet("a", DECOUPLED))
    begun = serving.admission.budget.statistics().in_use
    for final in (False, True):
        assert serving.call.heavy
        serving.triton.inferences["a"].give(one_answer(bytes(1000), final=final))
        made = serving.call.make()
        assert made is not None
        assert serving.admission.budget.statistics().in_use == begun + len(made)
        serving.call.taken()
        assert serving.admission.budget.statistics().in_use == begun
    assert serving.call.make() is None
    assert serving.admission.budget.statistics().in_use == 0
    serving.triton.inferences["a"].finish()
    serving.close()
    assert serving.observer.answered == [("a", True)]


# What may wait.


def test_a_packet_of_a_model_that_is_not_known_yet_waits_in_a_step() -> None:
    serving = MemoryServing()
    serving.send(packet("a"), steps=False)
    # It is accepted, and the next is not read before it has its place.
    assert serving.observer.admitted == ["a"]
    assert (serving.call.steps, serving.call.is_receiving(), serving.triton.inferences) == (1, False, {})
    serving.call.step()
    assert (serving.call.steps, serving.call.is_receiving(), list(serving.triton.inferences)) == (0, True, ["a"])
    serving.send(packet("b"), steps=False)
    assert (serving.call.steps, serving.call.is_receiving(), list(serving.triton.inferences)) == (0, True, ["a", "b"])
    serving.close()


def test_a_large_packet_is_read_in_a_step() -> None:
    serving = stream()
    serving.send(packet("a", size=64 * 1024), steps=False)
    assert (serving.call.steps, serving.observer.admitted) == (1, [])
    serving.call.step()
    assert serving.observer.admitted == ["a"]
    serving.finish("a")
    assert serving.call.heavy
    serving.close()


def test_a_small_packet_and_its_answer_take_no_step() -> None:
    serving = stream()
    serving.send(packet("a"), steps=False)
    serving.finish("a")
    assert (serving.call.steps, serving.call.heavy) == (0, False)
    serving.close()


def test_a_packet_waits_for_memory_in_a_step() -> None:
    serving = stream(budget_mb=1)
    others = serving.admission.budget.share("ben")
    held = others.reserve(MB)
    serving.send(packet("a"), steps=False)
    assert (serving.call.steps, serving.observer.admitted) == (1, [])
    held.close()
    serving.call.step()
    assert serving.observer.admitted == ["a"]
    others.close()
    serving.close()


def test_a_caller_is_found_out_about_in_a_step() -> None:
    serving = stream(remembered=False)
    serving.send(packet("a"), steps=False)
    assert (serving.call.steps, serving.observer.admitted) == (1, [])
    serving.call.step()
    assert serving.observer.admitted == ["a"]
    serving.close()


def test_a_step_of_a_call_that_has_ended_is_not_taken_and_asks_triton_for_nothing() -> None:
    serving = MemoryServing()
    serving.send(packet("a"), steps=False)
    serving.call.end()
    assert (serving.call.steps, serving.triton.inferences) == (0, {})
    serving.close()


# What is not let through.


@pytest.mark.parametrize("accepted", [0, 2])
def test_a_rejected_packet_ends_the_call_after_those_accepted_are_answered(accepted: int) -> None:
    serving = stream(max_message_bytes=MB)
    cids = "ab"[:accepted]
    for cid in cids:
        serving.send(packet(cid))
    large = packet("x", size=MB)
    serving.send(large)
    assert not serving.call.is_receiving()
    for cid in cids:
        assert ending(serving) == (None, False)
        serving.finish(cid)
        assert serving.take().correlation_id == cid
    text = (
        f"packet of {large.ByteSize()} bytes is over the limit of 1 MiB; "
        "the operator sets it with MAX_MESSAGE_MB=1, on the proxy and for clients alike"
    )
    assert serving.call.status == Status(Code.RESOURCE_EXHAUSTED, text)
    assert serving.call.resend
    serving.close()
    assert serving.observer.rejected == serving.observer.ended == [Status(Code.RESOURCE_EXHAUSTED, text)]
    assert serving.observer.admitted == list(cids)


def test_a_packet_over_a_quota_ends_the_call_and_says_when_to_try_again() -> None:
    serving = stream(in_flight=1)
    serving.send(packet("a"))
    serving.send(packet("b"))
    serving.finish("a")
    serving.take()
    assert serving.call.status is not None
    assert serving.call.status.code is Code.RESOURCE_EXHAUSTED
    assert serving.call.status.retry_after_secs == 1
    assert "MAX_IN_FLIGHT_PER_PRINCIPAL=1" in serving.call.status.text
    serving.close()


def test_a_packet_that_is_wrong_is_answered_and_ends_nothing() -> None:
    serving = stream()
    wrong = packet("a")
    wrong.tensor.data = b"too long for it"
    serving.send(wrong)
    serving.send(packet("b", size=0))
    serving.finish("b")
    acks = [serving.take(), serving.take()]
    assert [(ack.correlation_id, ack.status) for ack in acks] == [("a", pb.BAD_REQUEST), ("b", pb.OK)]
    assert error_of(acks[0]) == "size mismatch: got 15 bytes, expected 4"
    assert serving.call.is_receiving()
    serving.close()
    assert serving.observer.answered == [("a", False), ("b", True)]


def test_a_model_that_can_not_take_the_packet_is_not_asked() -> None:
    serving = stream()
    serving.send(packet("a", STATEFUL))
    assert error_of(serving.take()).startswith("missing SEV_START: model stateful")
    assert serving.triton.inferences == {}
    serving.close()


def test_what_triton_says_of_a_model_that_it_does_not_describe_is_passed_on() -> None:
    serving = stream()
    serving.send(packet("a", UNKNOWN))
    serving.finish("a", InferenceFailed("Request for unknown model", Code.NOT_FOUND))
    ack = serving.take()
    assert (ack.status, error_of(ack)) == (pb.INTERNAL, "Request for unknown model")
    serving.close()


def test_an_answer_that_is_too_large_says_so_and_ends_nothing() -> None:
    serving = stream(max_message_bytes=MB)
    serving.send(packet("a"))
    serving.finish("a", one_answer(bytes(MB)))
    assert "is over the limit of 1 MiB" in error_of(serving.take())
    assert serving.call.is_receiving()
    serving.close()

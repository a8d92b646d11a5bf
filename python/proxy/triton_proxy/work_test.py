"""The Acks of a packet, by what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from multimodal_contract import pb
from triton_proxy import packet as packets
from triton_proxy.budget import Budget
from triton_proxy.inference import Answer, Inference, TritonError
from triton_proxy.packet import Reason
from triton_proxy.reply import Output, Request
from triton_proxy.work import Work, too_large

MB = 1024 * 1024
PACKET = pb.DataPacket(
    meta=pb.Meta(correlation_id="c"), control=pb.Control(model="m", outputs=[pb.OutputSpec(name="y")])
)
FIRST = Answer("1", {"y": Output("UINT8", (2,), b"ab")}, final=False)
LAST = Answer("1", {"y": Output("UINT8", (2,), b"cd")})
LARGE = Output("UINT8", (MB,), bytes(MB))


class Told(Inference):
    """An inference whose answers the test gives; one that is an exception is raised."""

    decoupled = True
    milliseconds = 12.5

    def __init__(self, *answers: Answer | Exception) -> None:
        self._answers = answers
        self.cancelled = False

    def add_done_callback(self, callback: Callable[[int], None]) -> None:
        raise NotImplementedError

    def wait(self) -> None:
        raise NotImplementedError

    def cancel(self) -> None:
        self.cancelled = True

    def answers(self) -> Iterator[Answer]:
        for answer in self._answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer


def work_of(outcome: Inference | packets.Refused | packets.Noted, *, ago_secs: float = 0) -> Work:
    room = Budget(1, 1).share("ann").reserve(7)
    assert room is not None
    work = Work(Request(PACKET, 7), room, time.perf_counter() - ago_secs)
    work.outcome = outcome
    return work


def acks_of(work: Work, largest: int = MB) -> list[pb.Ack]:
    return [pb.Ack.FromString(reply.serialized()) for reply in work.replies(largest)]


def described(acks: list[pb.Ack]) -> list[tuple[pb.StatusCode.ValueType, bool, str | None]]:
    """Status, whether it is the last, and the error."""
    return [(ack.status, ack.final, json.loads(ack.message).get("error")) for ack in acks]


def test_an_event_is_noted() -> None:
    work = work_of(packets.Noted(PACKET), ago_secs=1)
    (ack,) = acks_of(work)
    assert (ack.status, ack.final, ack.message) == (pb.OK, True, '{"cid": "c", "model": "m"}')
    assert not work.failed
    assert ack.timing.total_ms >= ack.timing.recv_to_decode_ms >= 1000
    assert ack.timing.triton_infer_ms == ack.timing.postprocess_ms == 0


def test_a_refusal_has_its_status_and_text() -> None:
    work = work_of(packets.refused(PACKET, Reason.NO_SEQUENCE, model="m"))
    (ack,) = acks_of(work)
    assert described([ack]) == [(pb.BAD_REQUEST, True, Reason.NO_SEQUENCE.text.format(model="m"))]
    assert "backend" not in json.loads(ack.message)
    assert work.failed
    assert ack.HasField("timing")


def test_an_answer_becomes_an_ack_with_the_time_it_took() -> None:
    work = work_of(Told(LAST), ago_secs=1)
    (ack,) = acks_of(work)
    assert described([ack]) == [(pb.OK, True, None)]
    assert json.loads(ack.message)["outputs"] == {"y": {"dtype": "UINT8", "shape": [2], "b64": "Y2Q="}}
    assert not work.failed
    timing = ack.timing
    assert timing.triton_infer_ms == 12.5
    assert timing.total_ms >= timing.recv_to_decode_ms >= 1000
    assert 0 < timing.postprocess_ms < timing.total_ms


def test_each_answer_of_a_decoupled_model_has_its_ack() -> None:
    work = work_of(Told(FIRST, Answer("1", None, "no luck", final=False), Answer("1", None)))
    acks = acks_of(work)
    assert described(acks) == [(pb.OK, False, None), (pb.INTERNAL, False, "no luck"), (pb.OK, True, None)]
    assert [json.loads(ack.message).get("backend") for ack in acks] == ["triton"] * 3
    assert json.loads(acks[-1].message)["outputs"] == {}


def test_one_ack_that_is_an_error_makes_the_packet_failed() -> None:
    work = work_of(Told(FIRST, Answer("1", None, "no luck", final=False), LAST))
    failed = [(reply.ok, work.failed) for reply in work.replies(MB)]
    assert failed == [(True, False), (False, True), (True, True)]


def test_what_triton_said_instead_is_passed_on() -> None:
    error = TritonError("no such model", grpc.StatusCode.NOT_FOUND)
    work = work_of(Told(FIRST, error))
    heard: list[TritonError] = []
    work.on_error = heard.append
    acks = acks_of(work)
    assert described(acks) == [(pb.OK, False, None), (pb.INTERNAL, True, "no such model")]
    assert json.loads(acks[1].message)["backend"] == "triton"
    assert acks[1].timing.triton_infer_ms == 12.5
    assert heard == [error]
    assert work.failed


def test_errors_in_the_middle_contradict_nothing() -> None:
    work = work_of(Told(Answer("1", None, "no luck", final=False), LAST))
    heard: list[TritonError] = []
    work.on_error = heard.append
    acks_of(work)
    assert heard == []


@pytest.mark.parametrize("final", [False, True])
def test_an_ack_that_is_too_large_becomes_one_that_says_so(final: bool) -> None:
    work = work_of(Told(Answer("1", {"y": LARGE}, final=final), LAST))
    acks = acks_of(work)
    status, last, error = described(acks)[0]
    assert (status, last) == (pb.INTERNAL, final)
    assert error is not None
    assert error.startswith("answer of 1398")
    assert "is over the limit of 1 MiB; the operator sets it with MAX_MESSAGE_MB=1" in error
    assert json.loads(acks[0].message)["backend"] == "triton"
    assert acks[0].timing.triton_infer_ms == 12.5
    # The others are as they are.
    assert described(acks[1:]) == [(pb.OK, True, None)]


def test_an_ack_may_have_just_as_many_bytes_as_are_allowed() -> None:
    timed = next(work_of(Told(LAST)).replies(MB))
    assert described(acks_of(work_of(Told(LAST)), timed.size)) == [(pb.OK, True, None)]
    assert described(acks_of(work_of(Told(LAST)), timed.size - 1))[0][0] == pb.INTERNAL


def test_a_cancelled_one_has_no_ack() -> None:
    work = work_of(Told(FIRST, grpc.FutureCancelledError()))
    replies = work.replies(MB)
    next(replies)
    with pytest.raises(grpc.FutureCancelledError):
        next(replies)


def test_cancelling_reaches_the_inference() -> None:
    inference = Told()
    work_of(inference).cancel()
    assert inference.cancelled
    work_of(packets.Noted(PACKET)).cancel()


def test_nothing_is_to_be_cancelled_before_anything_has_begun() -> None:
    work = work_of(packets.Noted(PACKET))
    work.outcome = None
    work.cancel()


def test_what_is_too_large_says_what_may_be_done() -> None:
    assert too_large("packet", 34 * MB, 32 * MB) == (
        f"packet of {34 * MB} bytes is over the limit of 32 MiB; "
        "the operator sets it with MAX_MESSAGE_MB=32, on the proxy and for clients alike"
    )

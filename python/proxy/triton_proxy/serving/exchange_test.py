"""The answers of a packet, by what became of it."""

from __future__ import annotations

import json
import time

import pytest

from mm_service.status import Code
from multimodal_contract import pb
from proxy_testing.describing import cached
from proxy_testing.given_inference import GivenInference
from triton_proxy.admission.budget import Budget
from triton_proxy.inference.answer import Answer, InferenceCancelled, InferenceFailed, OutputTensor
from triton_proxy.inference.rejection import Rejection, Unfit
from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.models.model_cache import Models
from triton_proxy.models.planner import Plan, Planner
from triton_proxy.protocols.multimodal.protocol import MultimodalProtocol
from triton_proxy.protocols.multimodal.reasons import Reason
from triton_proxy.protocols.openai.completions import TextProtocol
from triton_proxy.protocols.openai.reply import OpenAiWriter
from triton_proxy.protocols.openai.templates import render
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.serving.exchange import Exchange, too_large

MB = 1024 * 1024
SHAPE = pb.Shape(dims=[2])
PACKET = pb.DataPacket(
    meta=pb.Meta(correlation_id="c"),
    control=pb.Control(
        model="m",
        inputs=[pb.InputSpec(name="x", shape=SHAPE, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
        outputs=[pb.OutputSpec(name="y")],
    ),
    tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=SHAPE, data=b"ab"),
)
EVENT = pb.DataPacket(meta=PACKET.meta, control=PACKET.control, event=pb.SEV_START)
FIRST = Answer("1", {"y": OutputTensor("UINT8", (2,), b"ab")}, final=False)
LAST = Answer("1", {"y": OutputTensor("UINT8", (2,), b"cd")})
ERROR = Answer("1", None, "no luck", final=False)
LARGE = OutputTensor("UINT8", (MB,), bytes(MB))
PROTOCOL = MultimodalProtocol(require_model_version=False)


def exchange_of(packet: pb.DataPacket, *, ago_secs: float = 0) -> Exchange:
    """A packet that came so many seconds ago."""
    raw = packet.SerializeToString()
    reservation = Budget(1, 1).share("ann").reserve(len(raw))
    message = PROTOCOL.read(raw)
    return Exchange(message, message.info, reservation, time.perf_counter() - ago_secs)


def asked(*given: Answer | Exception, ago_secs: float = 0, models: Models | None = None) -> Exchange:
    """A packet whose inference is under way; with what is known of models, planned by that."""
    exchange = exchange_of(PACKET, ago_secs=ago_secs)
    inference = GivenInference(*given)
    if models is None:
        with cached() as (nothing_known, _):
            exchange.asked(inference, Plan(), Planner(nothing_known, unary=False))
    else:
        exchange.asked(inference, Plan(models.get("m", "1", timeout_secs=30)), Planner(models, unary=False))
    return exchange


def acks_of(exchange: Exchange, largest: int = MB) -> list[pb.Ack]:
    return [pb.Ack.FromString(b"".join(reply.parts)) for reply in exchange.replies(largest)]


def described(acks: list[pb.Ack]) -> list[tuple[pb.StatusCode.ValueType, bool, str | None]]:
    """Status, whether it is the last, and the error."""
    return [(ack.status, ack.final, json.loads(ack.message).get("error")) for ack in acks]


def test_an_event_is_noted() -> None:
    exchange = exchange_of(EVENT, ago_secs=1)
    (ack,) = acks_of(exchange)
    assert (ack.status, ack.final, ack.message) == (pb.OK, True, '{"cid": "c", "model": "m"}')
    assert not exchange.failed
    assert ack.timing.total_ms >= ack.timing.recv_to_decode_ms >= 1000
    assert ack.timing.triton_infer_ms == ack.timing.postprocess_ms == 0


def test_a_refusal_has_its_status_and_text() -> None:
    exchange = exchange_of(PACKET)
    exchange.rejected(Rejection(Unfit.NO_SEQUENCE, "m"))
    (ack,) = acks_of(exchange)
    assert described([ack]) == [(pb.BAD_REQUEST, True, Reason.NO_SEQUENCE.text.format(model="m"))]
    assert "backend" not in json.loads(ack.message)
    assert (exchange.failed, exchange.failure) == (True, "no_sequence")
    assert ack.HasField("timing")


def test_an_answer_becomes_an_ack_with_the_time_it_took() -> None:
    exchange = asked(LAST, ago_secs=1)
    (ack,) = acks_of(exchange)
    assert described([ack]) == [(pb.OK, True, None)]
    assert json.loads(ack.message)["outputs"] == {"y": {"dtype": "UINT8", "shape": [2], "b64": "Y2Q="}}
    assert not exchange.failed
    timing = ack.timing
    assert timing.triton_infer_ms == 12.5
    assert timing.total_ms >= timing.recv_to_decode_ms >= 1000
    assert 0 < timing.postprocess_ms < timing.total_ms


def test_each_answer_of_a_decoupled_model_has_its_ack() -> None:
    exchange = asked(FIRST, ERROR, Answer("1", None))
    acks = acks_of(exchange)
    assert described(acks) == [(pb.OK, False, None), (pb.INTERNAL, False, "no luck"), (pb.OK, True, None)]
    assert [json.loads(ack.message).get("backend") for ack in acks] == ["triton"] * 3
    assert json.loads(acks[-1].message)["outputs"] == {}


def test_one_ack_that_is_an_error_makes_the_packet_failed() -> None:
    exchange = asked(FIRST, ERROR, LAST)
    failed = [(reply.ok, exchange.failed) for reply in exchange.replies(MB)]
    assert failed == [(True, False), (False, True), (True, True)]
    assert exchange.failure == "model_error"


def test_what_triton_said_instead_is_passed_on() -> None:
    with cached() as (models, triton):
        exchange = asked(FIRST, InferenceFailed("no such model", Code.NOT_FOUND), models=models)
        triton.now += 2
        acks = acks_of(exchange)
        # What was known of the model may be wrong by now.
        assert models.recall("m", "1") is None
    assert described(acks) == [(pb.OK, False, None), (pb.INTERNAL, True, "no such model")]
    assert json.loads(acks[1].message)["backend"] == "triton"
    assert acks[1].timing.triton_infer_ms == 12.5
    assert (exchange.failed, exchange.failure) == (True, "not_found")


def test_what_went_wrong_first_is_what_observers_hear() -> None:
    for exchange, failure in (
        (exchange_of(pb.DataPacket()), "invalid"),
        (exchange_of(EVENT), ""),
        (asked(LAST), ""),
        (asked(ERROR, InferenceFailed("too late", Code.DEADLINE_EXCEEDED)), "model_error"),
        (asked(Answer("1", {"y": LARGE})), "answer_too_large"),
    ):
        acks_of(exchange)
        assert (exchange.failed, exchange.failure) == (failure != "", failure)


def test_of_the_time_until_a_packet_is_read_observers_hear_what_was_waited() -> None:
    raw = PACKET.SerializeToString()
    reservation = Budget(1, 1).share("ann").reserve(len(raw))
    arrived = time.perf_counter() - 2
    message = PROTOCOL.read(raw)
    exchange = Exchange(message, message.info, reservation, arrived, auth_secs=0.5, queue_secs=1.25)
    exchange.rejected(Rejection(Unfit.NO_SEQUENCE, "m"))
    acks_of(exchange)
    assert exchange.timing is not None
    assert (exchange.timing.auth_ms, exchange.timing.queue_ms) == (500, 1250)
    assert exchange.timing.decode_ms >= 2000


def test_errors_in_the_middle_contradict_nothing() -> None:
    with cached() as (models, triton):
        exchange = asked(ERROR, LAST, models=models)
        triton.now += 2
        acks_of(exchange)
        assert models.recall("m", "1") is not None


@pytest.mark.parametrize("final", [False, True])
def test_an_ack_that_is_too_large_becomes_one_that_says_so(final: bool) -> None:
    exchange = asked(Answer("1", {"y": LARGE}, final=final), LAST)
    acks = acks_of(exchange)
    status, last, error = described(acks)[0]
    assert (status, last) == (pb.INTERNAL, final)
    assert error is not None
    assert error.startswith("answer of 1398")
    assert "is over the limit of 1 MiB; the operator sets it with MAX_MESSAGE_MB=1" in error
    assert json.loads(acks[0].message)["backend"] == "triton"
    assert acks[0].timing.triton_infer_ms == 12.5
    # The others are as they are.
    assert described(acks[1:]) == ([] if final else [(pb.OK, True, None)])


def test_an_ack_may_have_just_as_many_bytes_as_are_allowed() -> None:
    timed = next(asked(LAST).replies(MB))
    assert described(acks_of(asked(LAST), timed.size)) == [(pb.OK, True, None)]
    assert described(acks_of(asked(LAST), timed.size - 1))[0][0] == pb.INTERNAL


def test_a_cancelled_one_has_no_ack() -> None:
    exchange = asked(FIRST, InferenceCancelled())
    replies = exchange.replies(MB)
    next(replies)
    with pytest.raises(InferenceCancelled):
        next(replies)


def test_cancelling_reaches_the_inference() -> None:
    exchange = asked()
    exchange.cancel()
    assert isinstance(exchange.inference, GivenInference)
    assert exchange.inference.cancelled


@pytest.mark.parametrize("packet", [PACKET, EVENT])
def test_nothing_is_to_be_cancelled_where_triton_was_not_asked(packet: pb.DataPacket) -> None:
    exchange_of(packet).cancel()


def test_an_inference_that_is_cut_ends_with_an_answer_that_says_why() -> None:
    exchange = asked(FIRST)
    replies = exchange.replies(MB)
    acks = [pb.Ack.FromString(b"".join(next(replies).parts))]
    exchange.cut("not any more")
    acks += [pb.Ack.FromString(b"".join(reply.parts)) for reply in replies]
    assert described(acks) == [(pb.OK, False, None), (pb.INTERNAL, True, "not any more")]
    assert "backend" not in json.loads(acks[1].message)
    assert acks[1].timing.triton_infer_ms == 12.5
    assert exchange.failed


def test_an_inference_with_one_answer_is_not_cut() -> None:
    inference = GivenInference(LAST, decoupled=False)
    exchange = exchange_of(PACKET)
    with cached() as (models, _):
        exchange.asked(inference, Plan(), Planner(models, unary=False))
    exchange.cut("not any more")
    assert described(acks_of(exchange)) == [(pb.OK, True, None)]


@pytest.mark.parametrize(("size", "heavy"), [(0, False), (64 * 1024, False), (64 * 1024 + 1, True)])
def test_an_answer_is_heavy_where_it_is_large(size: int, heavy: bool) -> None:
    exchange = exchange_of(PACKET)
    assert not exchange.heavy
    exchange.inferred(size)
    assert exchange.heavy is heavy
    assert exchange.reservation.size == size


def test_what_may_have_any_number_of_answers_is_heavy() -> None:
    assert asked().heavy


def test_the_size_of_an_answer_is_remembered_of_its_model() -> None:
    with cached() as (models, _):
        entry = models.get("m", "1", timeout_secs=30)
        assert entry is not None
        asked(models=models).inferred(123)
        assert models.answer_size(entry) == 123


def test_what_is_too_large_says_what_may_be_done() -> None:
    assert too_large("packet", 34 * MB, 32 * MB) == (
        f"packet of {34 * MB} bytes is over the limit of 32 MiB; "
        "the operator sets it with MAX_MESSAGE_MB=32, on the proxy and for clients alike"
    )


@pytest.mark.parametrize("final", [False, True])
def test_a_message_that_has_all_it_wants_leaves_its_inference_before_the_caller_does(*, final: bool) -> None:
    body = b'{"model": "m", "prompt": "x", "stop": "b"}'
    message = TextProtocol(OpenAiWriter(), JsonHere(), render, chat=False).read(body)
    texts = ("text_output",)
    spec = TensorSpec("prompt", "BYTES", (1,))
    assert message.fit is not None
    message.fit(Signature("m", {"prompt": spec}, texts, 0, True, False, ("1",), text_outputs=frozenset(texts)))
    exchange = Exchange(message, message.info, Budget(1, 1).share("ann").reserve(len(body)), time.perf_counter())
    text = {"text_output": OutputTensor("BYTES", (1,), b"\2\0\0\0ab")}
    inference = GivenInference(Answer("1", text, final=final), Answer("1", text))
    with cached() as (models, _):
        exchange.asked(inference, Plan(), Planner(models, unary=False))
    replies = exchange.replies(MB)
    choice = json.loads(b"".join(next(replies).parts))["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("a", "stop")
    assert inference.cancelled is not final
    assert next(replies, None) is None

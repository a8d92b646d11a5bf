from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from mm_service.status import Code, Status
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.rejection import Rejection, Unfit
from triton_proxy.protocols.kserve.protocol import InferMessage, InferProtocol
from triton_proxy.protocols.kserve.reply import Reply

STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])


def request(**parameters: bool) -> Any:
    message = service_pb2.ModelInferRequest(model_name="m", model_version="2", id="i", raw_input_contents=[b"1234"])
    message.inputs.add(name="x", datatype="INT32", shape=[1])
    for name, value in parameters.items():
        message.parameters[name].bool_param = value
    return message


def read(message: Any, *, streamed: bool) -> InferMessage:
    return InferProtocol(streamed=streamed).read(message.SerializeToString())


def error_of(reply: Reply, *, streamed: bool) -> tuple[Code | None, str]:
    """Status and text; in a stream there is no status."""
    assert not reply.ok
    if not streamed:
        assert not reply.parts
        assert reply.status is not None
        return reply.status.code, reply.status.text
    assert reply.status is None
    message = service_pb2.ModelStreamInferResponse.FromString(b"".join(reply.parts))
    assert message.infer_response.id == "i"
    return None, message.error_message


@STREAMED
def test_what_is_well_formed_asks_for_an_inference(streamed: bool) -> None:
    raw = request()
    message = read(raw, streamed=streamed)
    assert message.inferable
    info = message.info
    assert (info.size, info.model, info.model_version, info.correlation_id) == (raw.ByteSize(), "m", "2", "i")
    assert message.request.model == "m"
    message.forget_tensors()
    with pytest.raises(AssertionError):
        _ = message.request


@STREAMED
def test_a_mistake_is_answered_without_an_inference(streamed: bool) -> None:
    raw = request()
    raw.raw_input_contents.append(b"")
    message = read(raw, streamed=streamed)
    assert not message.inferable
    assert (message.info.model, message.info.correlation_id) == ("m", "i")
    code, text = error_of(message.reply(), streamed=streamed)
    assert code is (None if streamed else Code.INVALID_ARGUMENT)
    assert text.startswith("raw_input_contents has 2 entries; expected 1")


@STREAMED
def test_what_the_model_can_not_take_is_refused(streamed: bool) -> None:
    reply = read(request(), streamed=streamed).rejected(Rejection(Unfit.MODEL_MISMATCH, "m", "shape mismatch: …"))
    assert error_of(reply, streamed=streamed) == (
        None if streamed else Code.INVALID_ARGUMENT,
        "shape mismatch: …; ModelMetadata describes the model",
    )


@STREAMED
def test_triton_says_why_in_its_own_words(streamed: bool) -> None:
    reply = read(request(), streamed=streamed).failed("not here", by_triton=True, code=Code.NOT_FOUND)
    assert error_of(reply, streamed=streamed) == (None if streamed else Code.NOT_FOUND, "not here")


def test_an_empty_last_answer_comes_where_it_is_asked_for() -> None:
    empty, full = Answer("1", None), Answer("1", {"y": OutputTensor("UINT8", (1,), b"a")})
    silent = read(request(), streamed=True)
    assert silent.answered(empty) is None
    assert silent.answered(full) is not None
    assert read(request(triton_enable_empty_final_response=False), streamed=True).answered(empty) is None
    reply = read(request(triton_enable_empty_final_response=True), streamed=True).answered(empty)
    assert reply is not None
    message = service_pb2.ModelStreamInferResponse.FromString(b"".join(reply.parts))
    assert message.infer_response.parameters["triton_final_response"].bool_param


def test_a_unary_refusal_is_a_status() -> None:
    assert read(request(), streamed=False).failed("no", by_triton=False).status == Status(Code.INTERNAL, "no")

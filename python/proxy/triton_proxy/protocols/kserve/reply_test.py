from __future__ import annotations

from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from triton_proxy.inference.answer import Answer, OutputTensor, Timing
from triton_proxy.inference.parameters import Parameter, ParameterKind
from triton_proxy.protocols.kserve import reply as replies
from triton_proxy.protocols.kserve.reply import Reply

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
PARAMETERS = st.dictionaries(NAMES.filter(lambda name: not name.startswith("triton_")), st.text(max_size=4), max_size=2)
OUTPUTS = st.builds(
    OutputTensor,
    datatype=st.sampled_from(["FP32", "BYTES"]),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    data=st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: memoryview(data)),
    parameters=PARAMETERS.map(
        lambda some: tuple(Parameter(name, ParameterKind.STRING, value) for name, value in some.items())
    ),
)
ANSWERS = st.builds(
    Answer,
    model_version=st.sampled_from(["1", "7"]),
    outputs=st.dictionaries(NAMES, OUTPUTS, max_size=3),
    final=st.booleans(),
    parameters=PARAMETERS.map(
        lambda some: tuple(Parameter(name, ParameterKind.STRING, value) for name, value in some.items())
    ),
)


def texts(parameters: Any) -> dict[str, str]:
    return {name: value.string_param for name, value in parameters.items() if value.HasField("string_param")}


def given_texts(parameters: tuple[Parameter, ...]) -> dict[str, object]:
    return {each.name: each.value for each in parameters}


def joined(reply: Reply) -> bytes:
    raw = b"".join(reply.parts)
    assert reply.size == len(raw)
    assert reply.status is None
    return raw


@given(answer=ANSWERS, model=NAMES, request_id=st.text(max_size=4))
def test_an_answer_is_what_the_model_said(answer: Answer, model: str, request_id: str) -> None:
    reply = replies.inferred(model, request_id, answer, streamed=False)
    message = service_pb2.ModelInferResponse.FromString(joined(reply))
    assert reply.ok
    assert not len(UnknownFieldSet(message))
    assert (message.model_name, message.model_version, message.id) == (model, answer.model_version, request_id)
    assert texts(message.parameters) == given_texts(answer.parameters)
    assert "triton_final_response" not in message.parameters
    assert answer.outputs is not None
    assert [
        (output.name, output.datatype, tuple(output.shape), content, texts(output.parameters))
        for output, content in zip(message.outputs, message.raw_output_contents, strict=True)
    ] == [
        (name, output.datatype, output.shape, bytes(output.data), given_texts(output.parameters))
        for name, output in answer.outputs.items()
    ]


@given(answer=ANSWERS, request_id=st.text(max_size=4))
def test_in_a_stream_it_also_says_whether_it_is_the_last(answer: Answer, request_id: str) -> None:
    message = service_pb2.ModelStreamInferResponse.FromString(
        joined(replies.inferred("m", request_id, answer, streamed=True))
    )
    alone = service_pb2.ModelInferResponse.FromString(joined(replies.inferred("m", request_id, answer, streamed=False)))
    alone.parameters["triton_final_response"].bool_param = answer.final
    assert message.error_message == ""
    assert message.infer_response == alone


def test_an_empty_last_answer_names_no_version() -> None:
    message = service_pb2.ModelStreamInferResponse.FromString(
        joined(replies.inferred("m", "i", Answer("1", None), streamed=True))
    )
    expected = service_pb2.ModelInferResponse(model_name="m", id="i")
    expected.parameters["triton_final_response"].bool_param = True
    assert message.infer_response == expected


def test_an_error_in_a_stream_has_the_id_of_its_request() -> None:
    for final in (True, False):
        reply = replies.failed("i", "no such model", final=final)
        message = service_pb2.ModelStreamInferResponse.FromString(joined(reply))
        assert not reply.ok
        assert (message.error_message, message.infer_response.id) == ("no such model", "i")
        # Of the last one nothing says so, as of Triton's own.
        assert ("triton_final_response" in message.infer_response.parameters) is not final


def test_outputs_are_not_copied_before_they_are_joined() -> None:
    data = memoryview(bytes(1_000_000))
    answer = Answer("1", {"y": OutputTensor("UINT8", (1_000_000,), data)})
    for streamed in (False, True):
        reply = replies.inferred("m", "i", answer, streamed=streamed)
        assert any(part is data for part in reply.timed(Timing(0, 0, 0, 0)).parts)

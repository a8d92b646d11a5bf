from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.errors import AckError, InvalidRequest, ModelError, ProtocolError
from mm_client_api.result import InferenceResult, read_answer
from multimodal_contract import pb, wire


def ack(message: Any, **fields: Any) -> pb.Ack:
    text = message if isinstance(message, str) else json.dumps(message)
    return pb.Ack(correlation_id="cid-1", message=text, **fields)


PUBLISHED = {
    "backend": "triton",
    "cid": "cid-1",
    "model": "m",
    "model_version": "3",
    "outputs": {
        "y": {"dtype": "FP32", "shape": [2], "b64": base64.b64encode(np.array([1, 2], "<f4").tobytes()).decode()},
        "z": {"error": "missing"},
    },
}


def test_a_result_shows_itself_in_a_notebook() -> None:
    ack = pb.Ack(message=json.dumps({"model": "<m>", "model_version": "1", "outputs": {"y": {"error": "missing"}}}))
    ack.outputs.add(name="x", datatype="FP32", shape=pb.Shape(dims=[2]), data=np.array([1, 2], "<f4").tobytes())
    shown = InferenceResult(ack)._repr_html_()
    for text in ("&lt;m&gt; version 1: 0.0 ms in Triton", "FP32", "[2]", "1, 2", "min 1, mean 1.5, max 2"):
        assert text in shown
    failed = pb.Ack(status=pb.BAD_REQUEST, correlation_id="c", message=json.dumps({"error": "size mismatch: <b>"}))
    shown = InferenceResult(failed)._repr_html_()
    for text in ("InvalidRequest: size mismatch: &lt;b&gt;", "expected", "Correct what the text names", "BAD_REQUEST"):
        assert text in shown


def test_a_published_answer_is_read() -> None:
    result = InferenceResult(ack(PUBLISHED, bytes_seen=9, timing=pb.Timing(triton_infer_ms=1.5, total_ms=2.5)))
    assert result.raise_for_status() is result
    assert (result.status, result.model, result.model_version, result.bytes_seen) == ("OK", "m", "3", 9)
    assert result.outputs["y"].tolist() == [1, 2]
    assert result.missing == ("z",)
    assert list(result.outputs) == ["y"]
    assert (result.timing.triton_infer_ms, result.timing.total_ms, result.timing.preprocess_ms) == (1.5, 2.5, 0)
    assert result.final
    assert result.message == PUBLISHED
    assert result.message is result.message


def test_raw_outputs_are_read() -> None:
    message = {**PUBLISHED, "outputs": {"y": {"dtype": "FP32", "shape": [2]}, "z": {"error": "missing"}}}
    output = pb.OutputTensor(name="y", datatype="FP32", shape=pb.Shape(dims=[2]), data=bytes(8))
    result = InferenceResult(ack(message, outputs=[output], final=True))
    assert result.outputs["y"].tolist() == [0, 0]
    assert result.tensors["y"].datatype == "FP32"
    assert result.missing == ("z",)
    assert result.final
    assert not InferenceResult(ack(message, outputs=[output])).final


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (pb.BAD_REQUEST, InvalidRequest),
        (pb.INTERNAL, ModelError),
        (pb.TIMEOUT, ModelError),
        (99, AckError),
    ],
)
def test_a_failure_is_an_error_that_waits(status: pb.StatusCode.ValueType, kind: type[AckError]) -> None:
    result = InferenceResult(ack({"error": "why", "cid": "cid-1", "model": "m"}, status=status))
    assert type(result.error) is kind
    assert result.outputs == {}
    with pytest.raises(kind, match=r"why .*cid-1"):
        result.raise_for_status()


def test_a_failure_without_json_keeps_its_words() -> None:
    result = InferenceResult(ack("plain words", status=pb.INTERNAL))
    assert result.error is not None
    assert result.error.detail == "plain words"


@pytest.mark.parametrize("message", ["no json", "[1]", '"text"'])
def test_a_success_without_json_is_refused(message: str) -> None:
    with pytest.raises(ProtocolError, match="not a JSON object"):
        _ = InferenceResult(ack(message)).message


@pytest.mark.parametrize(
    "reported",
    [
        {"dtype": "FP32", "shape": [2]},
        {"dtype": "FP32", "shape": [2], "b64": "AAAA"},
        {"dtype": "FP32", "shape": [2], "b64": "%%%"},
        {"dtype": "FP32", "shape": None, "b64": ""},
        {"dtype": "FP32", "shape": [2], "b64": 7},
        {"dtype": "what", "shape": [0], "b64": ""},
    ],
)
def test_an_unreadable_output_is_named(reported: dict[str, Any]) -> None:
    result = InferenceResult(ack({"outputs": {"y": reported}}))
    with pytest.raises(ProtocolError, match="output 'y' cannot be read"):
        _ = result.outputs


outputs = st.lists(
    st.builds(
        pb.OutputTensor,
        name=st.uuids().map(str),
        datatype=st.sampled_from(["FP32", "BYTES"]),
        shape=st.builds(pb.Shape, dims=st.lists(st.integers(0, 9), max_size=3)),
        data=st.sampled_from([b"", b"abc", bytes(10), bytes(range(256)) * 100]),
    ),
    max_size=4,
)


@given(outputs, st.booleans())
def test_large_and_small_answers_are_read_alike(reported: list[pb.OutputTensor], final: bool) -> None:
    answer = ack(PUBLISHED, outputs=reported, final=final, timing=pb.Timing(total_ms=1.5))
    result = read_answer(answer.SerializeToString())
    assert (result.correlation_id, result.final, result.timing.total_ms) == ("cid-1", final or not reported, 1.5)
    if reported:
        found = [(name, one.datatype, one.shape, bytes(one.data)) for name, one in result.tensors.items()]
        assert found == [(one.name, one.datatype, tuple(one.shape.dims), one.data) for one in reported]


def test_large_outputs_are_views_on_the_received_message() -> None:
    data = np.arange(2 * wire.WORTHWHILE_BYTES, dtype="<f4").tobytes()
    output = pb.OutputTensor(name="y", datatype="FP32", shape=pb.Shape(dims=[2 * wire.WORTHWHILE_BYTES]), data=data)
    raw = ack(PUBLISHED, outputs=[output], final=True).SerializeToString()
    array = read_answer(raw).outputs["y"]
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))
    assert not array.flags.writeable
    assert array.tobytes() == data


@pytest.mark.parametrize("raw", [b"\xff", b"\xff" * 40_000, b"\x3a\xff\xff\x7f" + bytes(40_000)])
def test_what_is_no_ack_is_said(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"{len(raw)} bytes came that are no Ack"):
        read_answer(raw)


@given(st.binary(max_size=60), st.integers(0, 40_000))
def test_no_bytes_do_more_than_raise_a_protocol_error(head: bytes, zeros: int) -> None:
    try:
        result = read_answer(head + bytes(zeros))
        _ = result.outputs, result.missing, repr(result)
    except ProtocolError:
        pass


def test_json_that_nobody_asks_for_is_not_parsed() -> None:
    output = pb.OutputTensor(name="y", datatype="FP32", shape=pb.Shape(dims=[1]), data=bytes(4))
    result = InferenceResult(ack("no json", outputs=[output], final=True))
    assert result.outputs["y"].tolist() == [0]
    with pytest.raises(ProtocolError, match="not a JSON object"):
        _ = result.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "b64", "error", "y", "outputs", "model"]), inner, max_size=4
        )
    ),
)


@given(json_values, st.integers(0, 6))
def test_no_answer_does_more_than_raise_a_protocol_error(message: Any, status: Any) -> None:
    try:
        result = InferenceResult(ack({"outputs": message}, status=status))
        _ = result.outputs, result.missing, repr(result)
    except ProtocolError:
        pass

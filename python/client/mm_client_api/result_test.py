from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.errors import AckError, InvalidRequest, ModelError, ProtocolError
from mm_client_api.result import InferenceResult
from multimodal_contract import pb


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
        InferenceResult(ack(message))


@pytest.mark.parametrize(
    "told",
    [
        {"dtype": "FP32", "shape": [2]},
        {"dtype": "FP32", "shape": [2], "b64": "AAAA"},
        {"dtype": "FP32", "shape": [2], "b64": "%%%"},
        {"dtype": "FP32", "shape": None, "b64": ""},
        {"dtype": "FP32", "shape": [2], "b64": 7},
        {"dtype": "what", "shape": [0], "b64": ""},
    ],
)
def test_an_unreadable_output_is_named(told: dict[str, Any]) -> None:
    result = InferenceResult(ack({"outputs": {"y": told}}))
    with pytest.raises(ProtocolError, match="output 'y' cannot be read"):
        _ = result.outputs


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

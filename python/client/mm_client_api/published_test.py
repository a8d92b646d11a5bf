from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.published import PublishedOutput, published_message
from mm_client_api.result import InferenceResult, read_answer
from mm_client_api.tensors import Tensor
from multimodal_contract import pb

DATA = np.arange(4, dtype="<f4").tobytes()
PUBLISHED = {"dtype": "FP32", "shape": [1, 4], "b64": base64.b64encode(DATA).decode()}


class Counted:
    """Gives a tensor, and counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Tensor:
        self.asked += 1
        return Tensor("FP32", (1, 4), memoryview(DATA))


def lazy() -> PublishedOutput:
    return PublishedOutput({"dtype": "FP32", "shape": [1, 4]}, lambda: Tensor("FP32", (1, 4), memoryview(DATA)))


LOOKS: list[Callable[[PublishedOutput], Any]] = [
    lambda output: output == PUBLISHED,
    lambda output: PUBLISHED == output,  # noqa: SIM300 - asked of the other side
    lambda output: {"outputs": {"y": output}} == {"outputs": {"y": PUBLISHED}},
    lambda output: not (output != PUBLISHED or PUBLISHED != output),  # noqa: SIM300
    lambda output: json.dumps(output) == json.dumps(PUBLISHED),
    lambda output: json.dumps([output], indent=1) == json.dumps([PUBLISHED], indent=1),
    lambda output: json.dumps(output, sort_keys=True) == json.dumps(PUBLISHED, sort_keys=True),
    lambda output: output["b64"] == PUBLISHED["b64"],
    lambda output: output.get("b64") == PUBLISHED["b64"],
    lambda output: output.pop("b64") == PUBLISHED["b64"] and list(output) == ["dtype", "shape"],
    lambda output: output.popitem() == ("b64", PUBLISHED["b64"]),
    lambda output: output.setdefault("b64", "") == PUBLISHED["b64"],
    lambda output: list(output.items()) == list(PUBLISHED.items()),
    lambda output: list(output.values()) == list(PUBLISHED.values()),
    lambda output: repr(output) == repr(PUBLISHED),
    lambda output: f"{output}" == f"{PUBLISHED}",
    lambda output: {**output} == PUBLISHED,
    lambda output: dict(output) == PUBLISHED and type(dict(output)) is dict,
    lambda output: dict(output.items()) == PUBLISHED,
    lambda output: output.copy() == PUBLISHED and type(output.copy()) is dict,
    lambda output: copy.copy(output) == PUBLISHED,
    lambda output: copy.deepcopy({"y": output}) == {"y": PUBLISHED},
    lambda output: pickle.loads(pickle.dumps(output)) == PUBLISHED,  # noqa: S301
    lambda output: output | {"more": 1} == PUBLISHED | {"more": 1},
    lambda output: {"more": 1} | output == {"more": 1} | PUBLISHED,
    lambda output: [*output] == [*PUBLISHED],
]


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_at_it_shows_the_published_form(look: Callable[[PublishedOutput], Any]) -> None:
    assert look(lazy())


def test_a_dict_that_is_filled_from_it_has_the_published_form() -> None:
    target: dict[str, Any] = {}
    target.update(lazy())
    assert type(target["b64"]) is str
    assert target == PUBLISHED


def test_what_is_not_looked_at_is_not_made() -> None:
    tensor = Counted()
    output = PublishedOutput({"dtype": "FP32", "shape": [1, 4]}, tensor)
    assert (output["dtype"], output.get("shape"), len(output), list(output)) == ("FP32", [1, 4], 3, [*PUBLISHED])
    assert "b64" in output
    assert output.keys() == PUBLISHED.keys()
    assert output.get("more", 7) == 7
    with pytest.raises(KeyError):
        _ = output["more"]
    assert tensor.asked == 0
    np.testing.assert_array_equal(output.numpy(), np.arange(4, dtype="<f4").reshape(1, 4))
    assert np.shares_memory(output.numpy(), np.frombuffer(DATA, np.uint8))
    asked = tensor.asked
    assert output["b64"] == output["b64"] == PUBLISHED["b64"]
    assert tensor.asked == asked + 1


def test_it_can_be_changed() -> None:
    output = lazy()
    output["b64"] = "mine"
    assert output == {**PUBLISHED, "b64": "mine"}
    del output["b64"]
    assert output == {"dtype": "FP32", "shape": [1, 4]}
    with pytest.raises(TypeError):
        hash(output)


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.tuples(st.sampled_from(["UINT8", "BYTES"]), st.sampled_from([b"", b"\0\xff", bytes(40_000)])),
        max_size=3,
    )
)
def test_raw_and_published_answers_give_the_same_message(reported: dict[str, tuple[str, bytes]]) -> None:
    raw, published = pb.Ack(correlation_id="c", final=True), pb.Ack(correlation_id="c")
    raw_outputs: dict[str, Any] = {}
    published_outputs: dict[str, Any] = {}
    for name, (datatype, data) in reported.items():
        raw.outputs.add(name=name, datatype=datatype, shape=pb.Shape(dims=[len(data)]), data=data)
        raw_outputs[name] = {"dtype": datatype, "shape": [len(data)]}
        published_outputs[name] = {**raw_outputs[name], "b64": base64.b64encode(data).decode()}
    raw_outputs["nope"] = published_outputs["nope"] = {"error": "missing"}
    raw.message = json.dumps({"backend": "triton", "outputs": raw_outputs})
    published.message = json.dumps({"backend": "triton", "outputs": published_outputs})
    for ack in (raw, published):
        message = published_message(read_answer(ack.SerializeToString()))
        assert json.dumps(message) == published.message
        assert message == json.loads(published.message)


def test_published_answers_have_arrays_too() -> None:
    ack = pb.Ack(message=json.dumps({"outputs": {"y": PUBLISHED, "odd": 7}}))
    outputs = published_message(InferenceResult(ack))["outputs"]
    assert outputs["y"].numpy().tolist() == [[0, 1, 2, 3]]
    assert outputs["odd"] == 7


def test_a_failure_has_its_reason() -> None:
    ack = pb.Ack(status=pb.INTERNAL, message="plain words")
    assert published_message(InferenceResult(ack)) == {"error": "plain words"}

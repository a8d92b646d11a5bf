"""Lists and Python's own values as inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.errors import InvalidRequest
from mm_client_api.tensors import decode, encode

INT64 = st.integers(-(2**63), 2**63 - 1)
LEAVES = {
    "BOOL": st.booleans(),
    "INT64": INT64,
    "BYTES": st.one_of(st.binary(max_size=5), st.text(max_size=5)),
}


@st.composite
def nested(draw: st.DrawFn) -> tuple[str, tuple[int, ...], Any]:
    datatype = draw(st.sampled_from(sorted(LEAVES)))
    shape = draw(st.lists(st.integers(1, 3), max_size=3).map(tuple))
    kind = draw(st.sampled_from([list, tuple]))

    def build(dims: tuple[int, ...]) -> Any:
        return kind(build(dims[1:]) for _ in range(dims[0])) if dims else draw(LEAVES[datatype])

    return datatype, shape, build(shape)


def flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, (list, tuple)) else [value]


@given(nested())
def test_plain_values_come_back_in_their_shape(case: tuple[str, tuple[int, ...], Any]) -> None:
    datatype, shape, value = case
    tensor = encode(value)
    assert (tensor.datatype, tensor.shape) == (datatype, shape)
    sent = [leaf.encode() if isinstance(leaf, str) else leaf for leaf in flat(value)]
    assert decode(tensor).ravel().tolist() == sent


@given(st.lists(st.one_of(INT64, st.floats(width=32)), min_size=1), st.sampled_from(["FP32", "FP64"]))
def test_floats_are_sent_as_the_named_type(numbers: list[float], datatype: str) -> None:
    dtype = {"FP32": np.float32, "FP64": np.float64}[datatype]
    assert encode(numbers, datatype) == encode(np.array(numbers, np.float64), datatype)
    assert decode(encode(numbers, datatype)).dtype == dtype


@given(st.lists(st.integers(-200, 300), min_size=1))
def test_whole_numbers_fit_the_named_type_or_are_refused(numbers: list[int]) -> None:
    for datatype, low, high in (("INT8", -128, 127), ("UINT8", 0, 255)):
        if low <= min(numbers) and max(numbers) <= high:
            assert decode(encode(numbers, datatype)).tolist() == numbers
            continue
        with pytest.raises(InvalidRequest) as caught:
            encode(numbers, datatype)
        assert caught.value.detail == (
            f"not sent: elements from {min(numbers)} to {max(numbers)} cannot become {datatype}; expected {low} to "
            f"{high}; send a larger element type, if the model has one"
        )


@pytest.mark.parametrize(
    ("value", "datatype", "shape"),
    [
        ([np.float32(1), np.float32(2)], "FP32", (2,)),
        ([np.zeros((2, 3), np.float16)] * 4, "FP16", (4, 2, 3)),
        ([[np.zeros(3, np.int32)], [np.ones(3, np.int32)]], "INT32", (2, 1, 3)),
        (2**63, "UINT64", ()),
        ("text", "BYTES", ()),
        (True, "BOOL", ()),
        ([["a"], [b"b\0"]], "BYTES", (2, 1)),
    ],
)
def test_what_is_plain_has_a_type(value: Any, datatype: str, shape: tuple[int, ...]) -> None:
    tensor = encode(value)
    assert (tensor.datatype, tensor.shape) == (datatype, shape)


FLOATS = (
    "an input is made of Python's float; expected an element type beside it, since models take FP32 more often than "
    "Python's FP64; write np.array(value, np.float32) or encode(value, 'FP32')"
)
MADE_OF = (
    "an input is made of {}; expected one of bool, int, float, or str and bytes; write np.array(value, dtype) with "
    "the element type of the model"
)
UNLIKE = "an input is a list of {}; expected arrays of one element type and shape; write np.stack(…) of such"
NO_INPUT = "an input is a dict; expected a numpy array, a list or a Tensor; np.asarray(…) makes an array of most things"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.5, FLOATS),
        ([1, 2.5], FLOATS),
        ([], "an empty list has no element type; expected elements, or an array; write np.empty(shape, dtype)"),
        (
            [[1], [1, 2]],
            "an input is a list whose parts are not of one length; expected an array's shape; pad what is shorter",
        ),
        ([1, "a"], MADE_OF.format("int, str")),
        ([1, True], MADE_OF.format("bool, int")),
        ([None], MADE_OF.format("NoneType")),
        ([np.float32(1), 2], MADE_OF.format("float32, int")),
        (
            [2**64],
            "an input has a whole number that 64 bits cannot hold; expected INT64 or UINT64; send a smaller one",
        ),
        ([np.zeros(2, "f4"), np.zeros(3, "f4")], UNLIKE.format("float32 (2,) and float32 (3,)")),
        ([np.zeros(2), [1, 2]], UNLIKE.format("float64 (2,) and int64 (2,)")),
        ([np.zeros(()), True], UNLIKE.format("bool and float64 ()")),
        ({1: 2}, NO_INPUT),
    ],
)
def test_what_leaves_doubt_is_refused(value: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(value)
    assert caught.value.detail == f"not sent: {words}"

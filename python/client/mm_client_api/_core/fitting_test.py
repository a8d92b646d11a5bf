from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api._core.fitting import fitted, shape_for
from mm_client_api.descriptions import TensorSpec
from mm_client_api.errors import InvalidRequest
from mm_client_api.tensors import Array, Tensor, Value

SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)


@st.composite
def specs_and_shapes(draw: st.DrawFn) -> tuple[TensorSpec, tuple[int, ...]]:
    """An input, and a shape that it takes as it is."""
    shape = draw(SHAPES)
    free = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    return TensorSpec("x", "FP32", tuple(-1 if any_ else dim for any_, dim in zip(free, shape))), shape


@given(specs_and_shapes(), st.integers(0, 4))
def test_dimensions_of_one_may_be_left_out_in_front(both: tuple[TensorSpec, tuple[int, ...]], count: int) -> None:
    spec, shape = both
    assert shape_for(shape, spec) == shape
    ones = next((index for index, dim in enumerate(shape) if dim != 1), len(shape))
    assert shape_for(shape[min(count, ones) :], spec) == shape


@given(specs_and_shapes(), SHAPES)
def test_a_shape_that_is_found_fits_and_holds_as_many(
    both: tuple[TensorSpec, tuple[int, ...]], shape: tuple[int, ...]
) -> None:
    spec, _ = both
    try:
        found = shape_for(shape, spec)
    except InvalidRequest as error:
        assert f"its shape is {list(shape)}; expected FP32 {list(spec.shape)}" in error.detail  # noqa: PT017 - or none
        return
    assert math.prod(found) == math.prod(shape)
    assert all(wanted in (-1, dim) for wanted, dim in zip(spec.shape, found))


def test_a_list_of_texts_is_a_batch() -> None:
    texts = TensorSpec("t", "BYTES", (-1, 1))
    assert fitted(["a", "b", "c"], texts).shape == (3, 1)
    assert fitted("a", texts).shape == (1, 1)
    assert fitted(["a", "b"], TensorSpec("t", "BYTES", (-1, -1))).shape == (1, 2)


@pytest.mark.parametrize(
    ("value", "datatype", "expected"),
    [
        (np.array([1.5, 2.0], np.float64), "FP32", np.array([1.5, 2.0], np.float32)),
        ([1, 2], "FP16", np.array([1, 2], np.float16)),
        (np.array([1, 255], np.int64), "UINT8", np.array([1, 255], np.uint8)),
        ([True, False], "BOOL", np.array([True, False])),
        ([1, 2], "BF16", np.array([0x3F80, 0x4000], np.uint16)),
    ],
)
def test_numbers_take_the_models_type(value: Value, datatype: str, expected: Array) -> None:
    tensor = fitted(value, TensorSpec("x", datatype, (2,)))
    assert (tensor.datatype, b"".join(tensor.parts)) == (datatype, expected.tobytes())


@pytest.mark.parametrize(
    ("value", "text"), [(np.array([1, -1]), "cannot become UINT8"), ([1, 256], "expected 0 to 255")]
)
def test_numbers_that_do_not_fit_are_refused(value: Value, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        fitted(value, TensorSpec("x", "UINT8", (2,)))


def test_a_tensor_stays_as_it_is() -> None:
    tensor = Tensor("INT8", (7,), bytes(7))
    assert fitted(tensor, TensorSpec("x", "FP32", (1, 2))) is tensor

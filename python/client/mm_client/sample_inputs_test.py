from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client import sample_inputs
from mm_client_api import TensorSpec
from mm_client_api.tensors import Value, encode
from multimodal_contract.dtypes import BY_NAME

SPECS = st.builds(
    TensorSpec,
    st.sampled_from(["x", "mask", "params"]),
    st.sampled_from(sorted(BY_NAME)),
    st.lists(st.integers(-1, 3), max_size=4).map(tuple),
)


def sample(spec: TensorSpec, *, batches: bool = False) -> Value:
    return sample_inputs.sample(spec, np.random.default_rng(0), batches=batches, shape=None)


@given(SPECS, st.booleans())
def test_what_is_made_up_fits_the_input(spec: TensorSpec, batches: bool) -> None:
    array = np.asarray(sample(spec, batches=batches))
    assert len(array.shape) == len(spec.shape)
    assert all(wanted in (-1, dim) for wanted, dim in zip(spec.shape, array.shape))
    assert encode(array, spec.datatype).shape == array.shape


@pytest.mark.parametrize(
    ("datatype", "shape", "batches", "expected"),
    [
        ("FP32", (1, 3, 640, 640), False, (1, 3, 640, 640)),
        ("FP32", (-1, 3, -1, -1), False, (1, 3, 64, 64)),
        ("FP32", (-1,), False, (64,)),
        ("FP32", (-1,), True, (1,)),
        ("INT64", (-1, -1), True, (1, 64)),
        ("BYTES", (-1, -1), True, (1, 1)),
        ("BYTES", (-1,), False, (1,)),
    ],
)
def test_dimensions_of_any_size_get_a_usual_one(
    datatype: str, shape: tuple[int, ...], batches: bool, expected: tuple[int, ...]
) -> None:
    assert np.asarray(sample(TensorSpec("x", datatype, shape), batches=batches)).shape == expected


def test_values_are_what_models_mostly_take() -> None:
    floats = np.asarray(sample(TensorSpec("images", "FP32", (1000,))))
    assert (floats.min() >= 0, floats.max() < 1, floats.std() > 0.2) == (True, True, True)
    assert np.asarray(sample(TensorSpec("pixels", "UINT8", (1000,)))).max() > 200
    assert np.asarray(sample(TensorSpec("input_ids", "INT64", (1000,)))).max() < 10
    assert np.asarray(sample(TensorSpec("attention_mask", "INT64", (9,)))).tolist() == [1] * 9
    assert np.asarray(sample(TensorSpec("sampling_parameters", "BYTES", (1,)))).tolist() == ["{}"]


@pytest.mark.parametrize(
    ("datatype", "texts", "expected"),
    [
        ("BYTES", ["a,b", "c"], ["a,b", "c"]),
        ("BYTES", ["text:1"], ["1"]),
        ("BOOL", ["true,0"], [True, False]),
        ("UINT64", ["18446744073709551615"], [2**64 - 1]),
        ("FP16", ["1, 2.5"], [1.0, 2.5]),
    ],
)
def test_values_are_read_as_what_the_model_takes(datatype: str, texts: list[str], expected: list[object]) -> None:
    read = sample_inputs.given(TensorSpec("x", datatype, (-1,)), texts, None)
    assert (read if isinstance(read, list) else read.tolist()) == expected

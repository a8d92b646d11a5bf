"""Each rule with its words; that they are Triton's own rules is shown in tests/integration/signature_test.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract.dtypes import BY_NAME, DType
from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.models.signature import problem, wanted_outputs


@dataclass(frozen=True)
class Sent:
    name: str
    dtype: DType
    shape: tuple[int, ...]


def sent(name: str, *shape: int, dtype: str = "FP32") -> Sent:
    return Sent(name, BY_NAME[dtype], shape)


def signature(*inputs: TensorSpec, max_batch_size: int = 0, outputs: tuple[str, ...] = ("y",)) -> Signature:
    return Signature("m", {spec.name: spec for spec in inputs}, outputs, max_batch_size, False, False, ("1",))


IMAGE = TensorSpec("images", "FP32", (1, 3, 640, 640))
DETECTOR = replace(signature(IMAGE), model="yolov8n")
BATCHED = signature(TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "INT32", (-1, -1)), max_batch_size=8)
OPTIONAL = signature(TensorSpec("a", "FP32", (3,)), TensorSpec("b", "FP32", (-1,), optional=True))
OWN_RULES = signature(TensorSpec("a", "FP32", (-1, 3)), TensorSpec("s", "INT32", None), max_batch_size=8)


@pytest.mark.parametrize(
    ("model", "inputs", "text"),
    [
        (
            DETECTOR,
            [sent("images", 2, 3, 640, 640)],
            "shape mismatch: model yolov8n takes [1, 3, 640, 640] for 'images', control says [2, 3, 640, 640]",
        ),
        (
            DETECTOR,
            [sent("images", 1, 3, 640)],
            "shape mismatch: model yolov8n takes [1, 3, 640, 640] for 'images', control says [1, 3, 640]",
        ),
        (
            DETECTOR,
            [sent("images")],
            "shape mismatch: model yolov8n takes [1, 3, 640, 640] for 'images', control says []",
        ),
        (
            DETECTOR,
            [sent("images", 1, 3, 640, 640, dtype="UINT8")],
            "dtype mismatch: model yolov8n takes FP32 for 'images', control says UINT8",
        ),
        (
            DETECTOR,
            [sent("image", 1, 3, 640, 640)],
            "unknown input: model yolov8n takes ['images'], control names 'image'",
        ),
        (BATCHED, [sent("a", 1, 3)], "missing input: model m takes ['a', 'b'], control lacks ['b']"),
        (BATCHED, [], "missing input: model m takes ['a', 'b'], control lacks ['a', 'b']"),
        (OPTIONAL, [], "missing input: model m takes ['a', 'b'], control lacks ['a']"),
        (
            BATCHED,
            [sent("a", 3), sent("b", 1, 1, dtype="INT32")],
            "shape mismatch: model m takes [-1, 3] for 'a', the first dimension being the batch, control says [3]",
        ),
        (
            BATCHED,
            [sent("a", 9, 3), sent("b", 9, 1, dtype="INT32")],
            "batch size mismatch: model m takes a batch of 1 to 8, control says [9, 3] for 'a'",
        ),
        (
            BATCHED,
            [sent("a", 0, 3), sent("b", 0, 1, dtype="INT32")],
            "batch size mismatch: model m takes a batch of 1 to 8, control says [0, 3] for 'a'",
        ),
        (
            BATCHED,
            [sent("a", 2, 3), sent("b", 1, 1, dtype="INT32")],
            "batch size mismatch: model m takes the same batch for all inputs, control says 2 for 'a' and 1 for 'b'",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_both_sides(model: Signature, inputs: list[Sent], text: str) -> None:
    assert problem(model, inputs) == text


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (DETECTOR, [sent("images", 1, 3, 640, 640)]),
        (BATCHED, [sent("b", 8, 0, dtype="INT32"), sent("a", 8, 3)]),
        (OPTIONAL, [sent("a", 3)]),
        (OPTIONAL, [sent("a", 3), sent("b", 0)]),
        # Triton takes it; what the model makes of it is the model's business.
        (OPTIONAL, [sent("b", 7)]),
        (OWN_RULES, [sent("s", 5, dtype="INT32"), sent("a", 2, 3)]),
        (OWN_RULES, [sent("a", 2, 3), sent("s", dtype="INT32")]),
        (signature(), [sent("whatever", 1, 2)]),
        (signature(TensorSpec("t", "BYTES", (-1,))), [sent("t", 0, dtype="BYTES")]),
    ],
)
def test_what_fits_has_no_problem(model: Signature, inputs: list[Sent]) -> None:
    assert problem(model, inputs) is None


SIZES = st.integers(0, 5)


@given(st.lists(st.one_of(SIZES, st.just(-1)), max_size=4), st.lists(SIZES, max_size=4))
def test_a_shape_fits_exactly_where_each_dimension_does(takes: list[int], got: list[int]) -> None:
    fits = len(takes) == len(got) and not any(t not in (-1, g) for t, g in zip(takes, got, strict=True))
    assert (problem(signature(TensorSpec("x", "FP32", tuple(takes))), [sent("x", *got)]) is None) == fits


@given(st.lists(SIZES, min_size=1, max_size=3), st.integers(1, 4))
def test_batches_are_equal_and_from_one_to_the_largest(batches: Sequence[int], largest: int) -> None:
    specs = [TensorSpec(f"x{index}", "FP32", (-1, -1)) for index in range(len(batches))]
    inputs = [sent(f"x{index}", batch, 1) for index, batch in enumerate(batches)]
    fits = len(set(batches)) == 1 and 1 <= batches[0] <= largest
    assert (problem(signature(*specs, max_batch_size=largest), inputs) is None) == fits


def test_a_callers_long_name_is_cut_in_the_text() -> None:
    text = problem(DETECTOR, [sent("n" * 1_000_000, 1)])
    assert text is not None
    assert len(text) < 300


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["b"], ("b",)),
        (["c", "a"], ("c", "a")),
        (["b", "nothing"], ("b",)),
        (["c", "b", "a"], None),
        (["a", "b", "c", "nothing"], None),
        (["nothing"], None),
    ],
)
def test_outputs_are_named_where_only_some_are_wanted(names: list[str], wanted: tuple[str, ...] | None) -> None:
    assert wanted_outputs(signature(IMAGE, outputs=("a", "b", "c")), names) == wanted


def test_nothing_is_named_where_the_outputs_are_not_known() -> None:
    assert wanted_outputs(signature(IMAGE, outputs=()), ["a"]) is None

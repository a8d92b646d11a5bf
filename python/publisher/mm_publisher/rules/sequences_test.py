from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_publisher.config import ModelConfig
from mm_publisher.rules import core

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\\n'), min_size=1, max_size=4)
_STATE = 'state {{ input_name: "{}" output_name: "{}" data_type: TYPE_FP32 dims: [ 1, -1 ] {} }}'
_INITIAL = 'initial_state {{ data_type: TYPE_{} dims: [ {} ] {} name: "{}" }}'
_ZERO = "zero_data: true"
_FIT = "expected numbers that fit the state's dims [1, -1]; correct them"
_FROM_A_FILE = (
    "is read from the file h.bin, which all versions would share; expected zero_data: true; let the model take its "
    "first state from CONTROL_SEQUENCE_START"
)


def _problems(*states: str) -> list[str]:
    return core.problems(ModelConfig.parse(f'backend: "ours" sequence_batching {{ {" ".join(states)} }}'))


@pytest.mark.parametrize(
    ("initial", "problem"),
    [
        (_INITIAL.format("FP16", "1, 5", _ZERO, "i"),
         "has another data_type than the state; expected TYPE_FP32; correct it"),
        (_INITIAL.format("FP32", "1, 5", _ZERO, ""), "has no name; expected any; add one"),
        (_INITIAL.format("FP32", "1", _ZERO, "i"), f"has dims [1]; {_FIT}"),
        (_INITIAL.format("FP32", "1, -1", _ZERO, "i"), f"has dims [1, -1]; {_FIT}"),
        (_INITIAL.format("FP32", "2, 5", _ZERO, "i"), f"has dims [2, 5]; {_FIT}"),
        (_INITIAL.format("FP32", "1, 5", "", "i"), "has no data; expected zero_data: true; add it"),
        (_INITIAL.format("FP32", "1, 5", 'data_file: "h.bin"', "i"), _FROM_A_FILE),
        (2 * _INITIAL.format("FP32", "1, 5", _ZERO, "i"), "is there 2 times; expected once at most; remove the others"),
    ],
)  # fmt: skip
def test_what_a_sequence_cannot_begin_with(initial: str, problem: str) -> None:
    assert _problems(_STATE.format("h", "hn", initial)) == [f"the initial_state of 'h' {problem}"]


def test_what_a_sequence_can_begin_with() -> None:
    assert _problems(_STATE.format("h", "hn", _INITIAL.format("FP32", "1, 5", _ZERO, "i"))) == []


def test_states_that_triton_would_mix_up_are_refused() -> None:
    (problem,) = _problems(_STATE.format("h", "out_1", ""), _STATE.format("c", "out_2", ""))
    assert problem == (
        "Triton would mix up the states h from out_1, c from out_2: it pairs sorted input names with sorted output "
        "names; expected both in the same order; rename the model's inputs or outputs, such as by a common prefix"
    )


@given(
    st.lists(st.tuples(_NAMES, _NAMES), min_size=1, max_size=4, unique_by=(lambda pair: pair[0], lambda pair: pair[1]))
)
def test_states_pass_where_sorting_by_bytes_keeps_them_together(pairs: list[tuple[str, str]]) -> None:
    # As std::map sorts them: by their bytes.
    paired = zip(
        sorted(pairs, key=lambda pair: pair[0].encode()), sorted(pairs, key=lambda pair: pair[1].encode()), strict=True
    )
    mixed_up = any(one != other for one, other in paired)
    problems = _problems(*itertools.starmap(lambda before, after: _STATE.format(before, after, ""), pairs))
    assert bool(problems) == mixed_up

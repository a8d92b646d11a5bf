"""Sequences that their callers name: whose they are, what Triton knows them by, and in what order they are asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_service.waiting import WouldBlock
from multimodal_contract.dtypes import BY_NAME
from proxy_testing.describing import PLAIN, STATEFUL, UNKNOWN, Described
from proxy_testing.given_inference import GivenInference
from triton_proxy.inference.request import InferenceRequest, InputTensor
from triton_proxy.models.planner import Plan, Planner
from triton_proxy.models.sequence_ids import SequenceIds
from triton_proxy.triton.client import Step

named = SequenceIds[object]().named
IDS = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)
INPUT = InputTensor("x", BY_NAME["UINT8"], (1,), b"a")


@given(principal=st.text(max_size=5), model=st.text(max_size=5), sequence_id=IDS)
def test_the_same_name_is_the_same_sequence(principal: str, model: str, sequence_id: int | str) -> None:
    for datatype, longest in (("UINT64", 2**63), ("INT64", 2**63), ("UINT32", 2**32), ("INT32", 2**31)):
        made = named(principal, model, sequence_id, datatype)
        assert made == named(principal, model, sequence_id, datatype)
        assert isinstance(made, int)
        assert 0 < made < longest
    text = named(principal, model, sequence_id, "STRING")
    assert isinstance(text, str)
    assert len(text) == 128


@given(
    one=st.tuples(st.text(max_size=3), st.text(max_size=3), IDS),
    other=st.tuples(st.text(max_size=3), st.text(max_size=3), IDS),
)
def test_another_caller_or_name_is_another_sequence(
    one: tuple[str, str, int | str], other: tuple[str, str, int | str]
) -> None:
    assert (named(*one, "UINT64") == named(*other, "UINT64")) == (one == other)
    assert (named(*one, "STRING") == named(*other, "STRING")) == (one == other)


def request(
    model: str = STATEFUL,
    sequence_id: int | str | None = 7,
    *,
    sequence_start: bool = False,
    sequence_end: bool = False,
) -> InferenceRequest:
    return InferenceRequest(
        model,
        "1",
        (INPUT,),
        (),
        sequence_start=sequence_start,
        sequence_end=sequence_end,
        verbatim=True,
        sequence_id=sequence_id,
    )


def planner(described: Described, principal: str = "ann", *, unary: bool = False) -> Planner:
    for model in (STATEFUL, PLAIN):
        described.models.get(model, "1", timeout_secs=30)
    return Planner(described.models, unary=unary, principal=principal)


def planned(planner: Planner, request: InferenceRequest) -> Plan:
    plan = planner.plan(request, timeout_secs=30)
    assert isinstance(plan, Plan)
    return plan


@pytest.mark.parametrize("unary", [False, True])
@pytest.mark.parametrize("model", [STATEFUL, PLAIN, UNKNOWN])
def test_no_caller_chooses_what_triton_knows_a_sequence_by(model: str, unary: bool) -> None:
    described = Described()
    ann, bob = planner(described, "ann", unary=unary), planner(described, "bob", unary=unary)
    steps = [planned(each, request(model, sequence_start=True)).step for each in (ann, bob, ann)]
    assert all(step is not None and step.start and not step.end for step in steps)
    first, other, again = (step.sequence_id for step in steps if step is not None)
    assert first == again
    assert first != other
    assert 7 not in (first, other)
    described.models.close()


def test_flags_are_passed_on_as_they_are() -> None:
    described = Described()
    ann = planner(described)
    last = planned(ann, request(sequence_end=True)).step
    assert last is not None
    assert (last.start, last.end) == (False, True)
    # Which sequence it is for Triton to miss, in its own words.
    assert planned(ann, request(sequence_id=None)).step is None
    assert planned(ann, request(sequence_id=None, sequence_start=True)).step == Step(0, True, False)
    assert planned(ann, request(sequence_id="")).step == Step(0, False, False)
    described.models.close()


def test_requests_of_a_sequence_are_asked_one_after_the_other() -> None:
    described = Described()
    ann = planner(described)
    first = ann.plan_nowait(request(sequence_start=True))
    assert first.sequence is not None
    first.sequence.latest = GivenInference(decoupled=False)
    with pytest.raises(WouldBlock):
        ann.plan_nowait(request())
    assert planned(ann, request()).sequence is first.sequence
    assert ann.plan_nowait(request(sequence_id=8)).sequence is not first.sequence
    described.models.close()


def test_what_a_call_keeps_of_sequences_has_a_bound() -> None:
    described = Described()
    ann = planner(described)
    kept = [ann.plan_nowait(request(sequence_id=number, sequence_start=True)).sequence for number in range(1, 1026)]
    assert ann.plan_nowait(request(sequence_id=1)).sequence is not kept[0]
    with pytest.raises(WouldBlock):
        ann.plan_nowait(request(sequence_id=1025))
    described.models.close()


def test_what_a_model_lacks_is_for_triton_to_say() -> None:
    described = Described()
    plan = planned(planner(described), replace(request(PLAIN, None), outputs=("nope",)))
    assert plan.outputs == ("nope",)
    described.models.close()

"""What is planned for packets, with the real cache of models and a Triton that describes them as the test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_service.status import Code
from mm_service.waiting import WouldBlock
from multimodal_contract.dtypes import BY_NAME
from proxy_testing.describing import DECOUPLED, PLAIN, STATEFUL, UNKNOWN, Described
from triton_proxy.inference.answer import InferenceFailed
from triton_proxy.inference.rejection import Rejection, Unfit
from triton_proxy.inference.request import InferenceRequest, InputTensor, SequenceEvent
from triton_proxy.models.planner import Plan, Planner
from triton_proxy.triton.client import Step

TIMEOUT = 30
START, END = SequenceEvent.START, SequenceEvent.END


@pytest.fixture
def described() -> Iterator[Described]:
    one = Described()
    yield one
    one.models.close()


def request(
    model: str,
    event: SequenceEvent | None = None,
    *,
    version: str = "1",
    elements: int = 2,
    outputs: Sequence[str] = ("y",),
) -> InferenceRequest:
    return InferenceRequest(
        model=model,
        model_version=version,
        inputs=(InputTensor("x", BY_NAME["UINT8"], (elements,), bytes(elements)),),
        outputs=tuple(outputs),
        sequence_start=event is START,
        sequence_end=event is END,
    )


def planned(planner: Planner, asked: InferenceRequest) -> Plan:
    plan = planner.plan(asked, timeout_secs=TIMEOUT)
    assert isinstance(plan, Plan), plan
    return plan


def stepped(planner: Planner, asked: InferenceRequest) -> Step:
    """The place in a sequence; of a plan that has one."""
    plan = planned(planner, asked)
    assert plan.step is not None
    assert plan.sequence is not None
    assert plan.sequence.sequence_id == plan.step.sequence_id
    return plan.step


def rejected(planner: Planner, asked: InferenceRequest) -> Rejection:
    rejection = planner.plan(asked, timeout_secs=TIMEOUT)
    assert isinstance(rejection, Rejection)
    assert rejection.model == asked.model
    return rejection


def test_a_plain_model(described: Described) -> None:
    plan = planned(Planner(described.models, unary=False), request(PLAIN, START))
    assert plan.entry is not None
    assert (plan.entry.model, plan.sequence, plan.step, plan.decoupled) == (PLAIN, None, None, False)


@given(
    model=st.sampled_from([PLAIN, STATEFUL, DECOUPLED, UNKNOWN]),
    elements=st.sampled_from([2, 3]),
    outputs=st.sampled_from([["y"], ["z", "y"], ["other"]]),
    event=st.none() | st.sampled_from(SequenceEvent),
    known=st.booleans(),
)
def test_a_plan_nowait_is_the_plan_and_asks_nobody(
    model: str, elements: int, outputs: list[str], event: SequenceEvent | None, known: bool
) -> None:
    described = Described()
    described.dims = [2]
    if known:
        described.models.get(model, "1", timeout_secs=TIMEOUT)
    asked = described.asked
    one = request(model, event, elements=elements, outputs=outputs)
    nowait: Plan | None
    try:
        nowait = Planner(described.models, unary=True).plan_nowait(one)
    except WouldBlock:
        nowait = None
    assert described.asked == asked
    plan = Planner(described.models, unary=True).plan(one, timeout_secs=TIMEOUT)
    if not known or outputs == ["other"] or isinstance(plan, Rejection) or plan.entry is None:
        assert nowait is None
    else:
        assert nowait is not None
        assert (nowait.entry, nowait.outputs) == (plan.entry, plan.outputs)
        assert (nowait.step is None) == (plan.step is None)
    described.models.close()


def test_of_what_triton_does_not_describe_nothing_is_known(described: Described) -> None:
    planner = Planner(described.models, unary=True)
    plan = planned(planner, request(UNKNOWN, outputs=["y"]))
    assert plan == Plan()
    assert not plan.decoupled
    planner.contradicted(plan, InferenceFailed("not found", Code.NOT_FOUND))


@pytest.mark.parametrize(
    ("wanted", "named"),
    [(["z"], ("z",)), (["z", "y"], None), (["z", "other"], ("z",)), (["other"], None)],
)
def test_outputs_are_named_where_not_all_are_wanted(
    described: Described, wanted: list[str], named: tuple[str, ...] | None
) -> None:
    assert planned(Planner(described.models, unary=False), request(PLAIN, outputs=wanted)).outputs == named


def test_what_does_not_fit_the_model_is_refused_in_the_words_of_its_signature(described: Described) -> None:
    described.dims = [3]
    rejection = rejected(Planner(described.models, unary=False), request(PLAIN))
    problem = "shape mismatch: model plain takes [3] for 'x', control says [2]"
    assert rejection == Rejection(Unfit.MODEL_MISMATCH, PLAIN, problem)


def test_before_a_refusal_the_model_is_looked_at_again(described: Described) -> None:
    described.dims = [3]
    planner = Planner(described.models, unary=False)
    planned(planner, request(PLAIN, elements=3))
    described.dims = [2]
    # Within the second it stays refused, so that nobody can make the proxy ask for ever.
    rejected(planner, request(PLAIN))
    assert described.asked == 1
    described.now += 1.1
    plan = planned(planner, request(PLAIN))
    assert plan.entry is not None
    assert plan.entry.signature.inputs["x"].shape == (2,)
    assert described.asked == 2
    rejected(planner, request(PLAIN, elements=3))


def test_a_new_output_is_seen_when_somebody_wants_it(described: Described) -> None:
    planner = Planner(described.models, unary=False)
    planned(planner, request(PLAIN))
    described.outputs = ["y", "z", "new"]
    described.now += 1.1
    assert planned(planner, request(PLAIN, outputs=["y", "new"])).outputs == ("y", "new")


def test_a_decoupled_model_has_no_unary_call(described: Described) -> None:
    assert planned(Planner(described.models, unary=False), request(DECOUPLED)).decoupled
    rejection = rejected(Planner(described.models, unary=True), request(DECOUPLED))
    assert rejection == Rejection(Unfit.DECOUPLED_UNARY, DECOUPLED)


@pytest.mark.parametrize("event", [None, END])
@pytest.mark.parametrize("unary", [False, True])
def test_nothing_follows_what_has_not_begun(described: Described, event: SequenceEvent | None, unary: bool) -> None:
    rejection = rejected(Planner(described.models, unary=unary), request(STATEFUL, event))
    assert rejection == Rejection(Unfit.NO_SEQUENCE, STATEFUL)


def test_a_sequence(described: Described) -> None:
    planner = Planner(described.models, unary=False)
    first = planned(planner, request(STATEFUL, START))
    second = planned(planner, request(STATEFUL))
    third = planned(planner, request(STATEFUL, END))
    assert first.sequence is not None
    assert first.sequence is second.sequence is third.sequence
    own = first.sequence.sequence_id
    assert [plan.step for plan in (first, second, third)] == [
        Step(own, start=True, end=False),
        Step(own, start=False, end=False),
        Step(own, start=False, end=True),
    ]
    assert rejected(planner, request(STATEFUL)).unfit is Unfit.NO_SEQUENCE


@pytest.mark.parametrize("before_it", [False, True])
def test_a_sequence_begins_anew(described: Described, before_it: bool) -> None:
    planner = Planner(described.models, unary=False)
    before = planned(planner, request(STATEFUL, START))
    if before_it:
        planner.begin_sequence()
    after = planned(planner, request(STATEFUL, None if before_it else START))
    assert after.step is not None
    assert after.step.start
    # What came before it need not be waited for.
    assert after.sequence is not before.sequence
    assert not stepped(planner, request(STATEFUL)).start


def test_a_start_without_data_is_for_the_next_packet_that_can_begin_one(described: Described) -> None:
    described.dims = [2]
    planner = Planner(described.models, unary=False)
    planner.begin_sequence()
    planned(planner, request(PLAIN))
    rejected(planner, request(STATEFUL, elements=3))
    assert stepped(planner, request(STATEFUL)).start
    rejected(planner, request(STATEFUL + "2"))


def test_an_end_without_data_is_for_all(described: Described) -> None:
    planner = Planner(described.models, unary=False)
    for model in (STATEFUL, STATEFUL + "2"):
        assert stepped(planner, request(model, START)).start
    planner.begin_sequence()
    planner.end_sequences()
    for model in (STATEFUL, STATEFUL + "2"):
        assert rejected(planner, request(model)).unfit is Unfit.NO_SEQUENCE


def test_a_refused_start_begins_nothing(described: Described) -> None:
    described.dims = [2]
    planner = Planner(described.models, unary=False)
    rejected(planner, request(STATEFUL, START, elements=3))
    assert rejected(planner, request(STATEFUL)).unfit is Unfit.NO_SEQUENCE


def test_the_packet_of_a_unary_call_is_a_sequence_of_its_own(described: Described) -> None:
    step = stepped(Planner(described.models, unary=True), request(STATEFUL, START))
    assert (step.start, step.end) == (True, True)


def test_streams_have_sequences_of_their_own(described: Described) -> None:
    one, other = (Planner(described.models, unary=False) for _ in range(2))
    mine = stepped(one, request(STATEFUL, START))
    assert rejected(other, request(STATEFUL)).unfit is Unfit.NO_SEQUENCE
    theirs = stepped(other, request(STATEFUL, START))
    assert mine.sequence_id != theirs.sequence_id


@pytest.mark.parametrize(
    ("datatype", "kind"), [("UINT64", int), ("INT64", int), ("UINT32", int), ("INT32", int), ("STRING", str), ("", int)]
)
def test_an_id_is_what_the_model_asks_for(described: Described, datatype: str, kind: type) -> None:
    described.sequence_id_datatype = datatype
    planner = Planner(described.models, unary=False)
    step = stepped(planner, request(STATEFUL, START))
    assert type(step.sequence_id) is kind
    assert stepped(planner, request(STATEFUL)).sequence_id == step.sequence_id


@pytest.mark.parametrize("code", list(Code))
def test_what_triton_contradicts_is_forgotten(described: Described, code: Code) -> None:
    planner = Planner(described.models, unary=False)
    plan = planned(planner, request(PLAIN))
    described.now += 1.1
    planner.contradicted(plan, InferenceFailed("no", code))
    planned(planner, request(PLAIN))
    contradictions = {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.UNAVAILABLE,
        Code.UNIMPLEMENTED,
    }
    assert described.asked == (2 if code in contradictions else 1)


EVENTS = st.none() | st.sampled_from(SequenceEvent)
KEYS = st.sampled_from([(STATEFUL, "1"), (STATEFUL, "2"), (STATEFUL + "2", "1")])
ALONE = st.sampled_from(SequenceEvent).map(lambda event: (event, None))


@given(st.lists(ALONE | st.tuples(EVENTS, KEYS), max_size=20))
def test_triton_sees_whole_sequences(sent: list[tuple[SequenceEvent | None, tuple[str, str] | None]]) -> None:
    """Whatever is sent: nothing before a start or after an end, and every packet in the sequence begun last."""
    described = Described()
    planner = Planner(described.models, unary=False)
    open_ids: dict[tuple[str, str], int | str] = {}
    all_ids: set[int | str] = set()
    begins = False
    for event, key in sent:
        if key is None:
            begins = event is START
            if begins:
                planner.begin_sequence()
            else:
                planner.end_sequences()
            open_ids = open_ids if begins else {}
            continue
        one = request(key[0], event, version=key[1])
        starts = begins or event is START
        if not starts and key not in open_ids:
            assert rejected(planner, one).unfit is Unfit.NO_SEQUENCE
            continue
        step = stepped(planner, one)
        assert (step.start, step.end) == (starts, event is END)
        if starts:
            assert step.sequence_id not in all_ids
        else:
            assert step.sequence_id == open_ids[key]
        begins = False
        open_ids[key] = step.sequence_id
        all_ids.add(step.sequence_id)
        if step.end:
            del open_ids[key]
    described.models.close()

"""What is planned for packets, with the real cache of models and a Triton that describes them as the test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2, service_pb2

from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NUMBER
from proxy_testing.describing import Failed
from triton_proxy.inference import TritonError
from triton_proxy.model_cache import Models
from triton_proxy.packet import Accepted, Input, Reason, Refused
from triton_proxy.plan import Plan, Planner
from triton_proxy.triton import Step

TIMEOUT = 30
# By their names, so that one stream can have several of each kind.
STATEFUL, DECOUPLED, PLAIN, UNKNOWN = "stateful", "decoupled", "plain", "unknown"


class Described:
    """A Triton that only describes: each model takes x, FP32, and gives y and z.

    Attributes:
        models: what is known of them, asking this.
        now: the clock of it.
        dims: shape of x.
        outputs: what models give.
        sequence_id_datatype: as what stateful models get the id of a sequence; "" where they do not ask for it.
        asked: how often a model was asked for.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.dims = [-1]
        self.outputs = ["y", "z"]
        self.sequence_id_datatype = ""
        self.asked = 0
        self.models = Models(self.describe, clock=lambda: self.now)

    def describe(
        self, model: str, model_version: str, *, timeout_secs: float
    ) -> tuple[service_pb2.ModelMetadataResponse, service_pb2.ModelConfigResponse]:
        """As `link.Link.describe`."""
        self.asked += 1
        if model == UNKNOWN:
            raise Failed(grpc.StatusCode.NOT_FOUND)
        metadata = service_pb2.ModelMetadataResponse(name=model, versions=["1"])
        metadata.inputs.add(name="x", datatype="FP32", shape=self.dims)
        for name in self.outputs:
            metadata.outputs.add(name=name)
        config = model_config_pb2.ModelConfig(name=model)
        if model.startswith(STATEFUL):
            config.sequence_batching.SetInParent()
            if self.sequence_id_datatype:
                control = config.sequence_batching.control_input.add(name="ID").control.add()
                control.kind = model_config_pb2.ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID
                control.data_type = model_config_pb2.DataType.Value(f"TYPE_{self.sequence_id_datatype}")
        config.model_transaction_policy.decoupled = model.startswith(DECOUPLED)
        return metadata, service_pb2.ModelConfigResponse(config=config)


@pytest.fixture
def described() -> Iterator[Described]:
    one = Described()
    yield one
    one.models.close()


def accepted(
    model: str,
    event: pb.StreamEvent.ValueType = pb.SEV_DATA,
    *,
    version: str = "1",
    elements: int = 2,
    outputs: Sequence[str] = ("y",),
) -> Accepted:
    shape, dtype = (elements,), BY_NUMBER[pb.DT_FP32]
    wanted = [pb.OutputSpec(name=name) for name in outputs]
    control = pb.Control(model=model, model_version=version, outputs=wanted)
    packet = pb.DataPacket(meta=pb.Meta(correlation_id="c"), control=control, event=event)
    return Accepted(packet, (Input("x", dtype, shape, bytes(4 * elements)),))


def planned(planner: Planner, packet: Accepted) -> Plan:
    plan = planner.plan(packet, timeout_secs=TIMEOUT)
    assert isinstance(plan, Plan), plan.text
    return plan


def stepped(planner: Planner, packet: Accepted) -> Step:
    """The place in a sequence; of a plan that has one."""
    plan = planned(planner, packet)
    assert plan.step is not None
    assert plan.sequence is not None
    assert plan.sequence.sequence_id == plan.step.sequence_id
    return plan.step


def refused(planner: Planner, packet: Accepted) -> Refused:
    reason = planner.plan(packet, timeout_secs=TIMEOUT)
    assert isinstance(reason, Refused)
    assert reason.packet is packet.packet
    return reason


def test_a_plain_model(described: Described) -> None:
    plan = planned(Planner(described.models, unary=False), accepted(PLAIN, pb.SEV_START))
    assert plan.entry is not None
    assert (plan.entry.model, plan.sequence, plan.step, plan.decoupled) == (PLAIN, None, None, False)


@given(
    model=st.sampled_from([PLAIN, STATEFUL, DECOUPLED, UNKNOWN]),
    elements=st.sampled_from([2, 3]),
    outputs=st.sampled_from([["y"], ["z", "y"], ["other"]]),
    event=st.sampled_from(sorted(pb.StreamEvent.values())),
    known=st.booleans(),
)
def test_a_plan_at_once_is_the_plan_and_asks_nobody(
    model: str, elements: int, outputs: list[str], event: pb.StreamEvent.ValueType, known: bool
) -> None:
    described = Described()
    described.dims = [2]
    if known:
        described.models.get(model, "1", timeout_secs=TIMEOUT)
    asked = described.asked
    packet = accepted(model, event, elements=elements, outputs=outputs)
    at_once = Planner(described.models, unary=True).plan_at_once(packet)
    assert described.asked == asked
    plan = Planner(described.models, unary=True).plan(packet, timeout_secs=TIMEOUT)
    if not known or outputs == ["other"] or isinstance(plan, Refused) or plan.entry is None:
        assert at_once is None
    else:
        assert at_once is not None
        assert (at_once.entry, at_once.outputs) == (plan.entry, plan.outputs)
        assert (at_once.step is None) == (plan.step is None)
    described.models.close()


def test_of_what_triton_does_not_describe_nothing_is_known(described: Described) -> None:
    planner = Planner(described.models, unary=True)
    plan = planned(planner, accepted(UNKNOWN, outputs=["y"]))
    assert plan == Plan()
    assert not plan.decoupled
    planner.contradicted(plan, TritonError("not found", grpc.StatusCode.NOT_FOUND))


@pytest.mark.parametrize(
    ("wanted", "named"),
    [(["z"], ("z",)), (["z", "y"], None), (["z", "other"], ("z",)), (["other"], None)],
)
def test_outputs_are_named_where_not_all_are_wanted(
    described: Described, wanted: list[str], named: tuple[str, ...] | None
) -> None:
    assert planned(Planner(described.models, unary=False), accepted(PLAIN, outputs=wanted)).outputs == named


def test_what_does_not_fit_the_model_is_refused_in_the_words_of_its_signature(described: Described) -> None:
    described.dims = [3]
    reason = refused(Planner(described.models, unary=False), accepted(PLAIN))
    assert reason.reason is Reason.MODEL_MISMATCH
    assert reason.text == "shape mismatch: model plain takes [3] for 'x', control says [2]"


def test_before_a_refusal_the_model_is_looked_at_again(described: Described) -> None:
    described.dims = [3]
    planner = Planner(described.models, unary=False)
    planned(planner, accepted(PLAIN, elements=3))
    described.dims = [2]
    # Within the second it stays refused, so that nobody can make the proxy ask for ever.
    refused(planner, accepted(PLAIN))
    assert described.asked == 1
    described.now += 1.1
    plan = planned(planner, accepted(PLAIN))
    assert plan.entry is not None
    assert plan.entry.signature.inputs["x"].shape == (2,)
    assert described.asked == 2
    refused(planner, accepted(PLAIN, elements=3))


def test_a_new_output_is_seen_when_somebody_wants_it(described: Described) -> None:
    planner = Planner(described.models, unary=False)
    planned(planner, accepted(PLAIN))
    described.outputs = ["y", "z", "new"]
    described.now += 1.1
    assert planned(planner, accepted(PLAIN, outputs=["y", "new"])).outputs == ("y", "new")


def test_a_decoupled_model_has_no_unary_call(described: Described) -> None:
    assert planned(Planner(described.models, unary=False), accepted(DECOUPLED)).decoupled
    reason = refused(Planner(described.models, unary=True), accepted(DECOUPLED))
    assert (reason.reason, reason.reason.status) == (Reason.DECOUPLED_UNARY, pb.UNSUPPORTED)
    assert reason.text == (
        "model decoupled is decoupled: it answers any number of times, for which SendUnary has no room; use Chat"
    )


@pytest.mark.parametrize("event", [pb.SEV_UNSPECIFIED, pb.SEV_DATA, pb.SEV_END])
@pytest.mark.parametrize("unary", [False, True])
def test_nothing_follows_what_has_not_begun(described: Described, event: pb.StreamEvent.ValueType, unary: bool) -> None:
    reason = refused(Planner(described.models, unary=unary), accepted(STATEFUL, event))
    assert (reason.reason, reason.reason.status) == (Reason.NO_SEQUENCE, pb.BAD_REQUEST)
    assert reason.text == (
        "missing SEV_START: model stateful keeps state from packet to packet; begin a sequence of it on this stream"
    )


def test_a_sequence(described: Described) -> None:
    planner = Planner(described.models, unary=False)
    first = planned(planner, accepted(STATEFUL, pb.SEV_START))
    second = planned(planner, accepted(STATEFUL))
    third = planned(planner, accepted(STATEFUL, pb.SEV_END))
    assert first.sequence is not None
    assert first.sequence is second.sequence is third.sequence
    own = first.sequence.sequence_id
    assert [plan.step for plan in (first, second, third)] == [
        Step(own, start=True, end=False),
        Step(own, start=False, end=False),
        Step(own, start=False, end=True),
    ]
    assert refused(planner, accepted(STATEFUL)).reason is Reason.NO_SEQUENCE


@pytest.mark.parametrize("noted", [False, True])
def test_a_sequence_begins_anew(described: Described, noted: bool) -> None:
    planner = Planner(described.models, unary=False)
    before = planned(planner, accepted(STATEFUL, pb.SEV_START))
    if noted:
        planner.noted(pb.SEV_START)
    after = planned(planner, accepted(STATEFUL, pb.SEV_DATA if noted else pb.SEV_START))
    assert after.step is not None
    assert after.step.start
    # What came before it need not be waited for.
    assert after.sequence is not before.sequence
    assert not stepped(planner, accepted(STATEFUL)).start


def test_a_start_without_data_is_for_the_next_packet_that_can_begin_one(described: Described) -> None:
    described.dims = [2]
    planner = Planner(described.models, unary=False)
    planner.noted(pb.SEV_START)
    planned(planner, accepted(PLAIN))
    refused(planner, accepted(STATEFUL, elements=3))
    assert stepped(planner, accepted(STATEFUL)).start
    refused(planner, accepted(STATEFUL + "2"))


def test_an_end_without_data_is_for_all(described: Described) -> None:
    planner = Planner(described.models, unary=False)
    for model in (STATEFUL, STATEFUL + "2"):
        assert stepped(planner, accepted(model, pb.SEV_START)).start
    planner.noted(pb.SEV_START)
    planner.noted(pb.SEV_END)
    for model in (STATEFUL, STATEFUL + "2"):
        assert refused(planner, accepted(model)).reason is Reason.NO_SEQUENCE


def test_a_refused_start_begins_nothing(described: Described) -> None:
    described.dims = [2]
    planner = Planner(described.models, unary=False)
    refused(planner, accepted(STATEFUL, pb.SEV_START, elements=3))
    assert refused(planner, accepted(STATEFUL)).reason is Reason.NO_SEQUENCE


def test_the_packet_of_a_unary_call_is_a_sequence_of_its_own(described: Described) -> None:
    step = stepped(Planner(described.models, unary=True), accepted(STATEFUL, pb.SEV_START))
    assert (step.start, step.end) == (True, True)


def test_streams_have_sequences_of_their_own(described: Described) -> None:
    one, other = (Planner(described.models, unary=False) for _ in range(2))
    mine = stepped(one, accepted(STATEFUL, pb.SEV_START))
    assert refused(other, accepted(STATEFUL)).reason is Reason.NO_SEQUENCE
    theirs = stepped(other, accepted(STATEFUL, pb.SEV_START))
    assert mine.sequence_id != theirs.sequence_id


@pytest.mark.parametrize(
    ("datatype", "kind"), [("UINT64", int), ("INT64", int), ("UINT32", int), ("INT32", int), ("STRING", str), ("", int)]
)
def test_an_id_is_what_the_model_asks_for(described: Described, datatype: str, kind: type) -> None:
    described.sequence_id_datatype = datatype
    planner = Planner(described.models, unary=False)
    step = stepped(planner, accepted(STATEFUL, pb.SEV_START))
    assert type(step.sequence_id) is kind
    assert stepped(planner, accepted(STATEFUL)).sequence_id == step.sequence_id


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_what_triton_contradicts_is_forgotten(described: Described, code: grpc.StatusCode) -> None:
    planner = Planner(described.models, unary=False)
    plan = planned(planner, accepted(PLAIN))
    described.now += 1.1
    planner.contradicted(plan, TritonError("no", code))
    planned(planner, accepted(PLAIN))
    contradictions = {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNIMPLEMENTED,
    }
    assert described.asked == (2 if code in contradictions else 1)


EVENTS = st.sampled_from([pb.SEV_UNSPECIFIED, pb.SEV_START, pb.SEV_END, pb.SEV_DATA])
KEYS = st.sampled_from([(STATEFUL, "1"), (STATEFUL, "2"), (STATEFUL + "2", "1")])
NOTED = st.sampled_from([pb.SEV_START, pb.SEV_END]).map(lambda event: (event, None))


@given(st.lists(NOTED | st.tuples(EVENTS, KEYS), max_size=20))
def test_triton_sees_whole_sequences(sent: list[tuple[pb.StreamEvent.ValueType, tuple[str, str] | None]]) -> None:
    """Whatever is sent: nothing before a start or after an end, and every packet in the sequence begun last."""
    described = Described()
    planner = Planner(described.models, unary=False)
    open_ids: dict[tuple[str, str], int | str] = {}
    all_ids: set[int | str] = set()
    begins = False
    for event, key in sent:
        if key is None:
            planner.noted(event)
            begins = event == pb.SEV_START
            open_ids = open_ids if begins else {}
            continue
        packet = accepted(key[0], event, version=key[1])
        starts = begins or event == pb.SEV_START
        if not starts and key not in open_ids:
            assert refused(planner, packet).reason is Reason.NO_SEQUENCE
            continue
        step = stepped(planner, packet)
        assert (step.start, step.end) == (starts, event == pb.SEV_END)
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

"""Whatever comes, `packet` answers with what contract.md says, and lets nothing inconsistent through."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multimodal_contract import pb, wire
from packet_strategies import DEFECTS, SIZES, Defect, Expected, bad_packets, good_packets, unreadable
from triton_proxy.protocols.multimodal import packet as packets


@pytest.fixture(autouse=True, scope="module", params=[False, True], ids=["parsed at once", "lifted"])
def lifting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small packets in the way of large ones too."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param:
            patched.setattr(wire, "WORTHWHILE_BYTES", 0)
        yield


def read(raw: bytes) -> packets.Accepted | packets.Noted | packets.Refused:
    return packets.read(raw, require_model_version=True)


@given(good_packets())
def test_every_well_formed_packet_is_accepted_as_it_is(packet: pb.DataPacket) -> None:
    outcome = read(packet.SerializeToString())
    assert isinstance(outcome, packets.Accepted), outcome
    sent = {named.name: named.tensor for named in packet.tensors} or {packet.control.inputs[0].name: packet.tensor}
    assert [item.name for item in outcome.inputs] == [spec.name for spec in packet.control.inputs]
    for item in outcome.inputs:
        assert item.data == sent[item.name].data
        assert list(item.shape) == list(sent[item.name].shape.dims)
        assert item.dtype.number == sent[item.name].dtype


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@given(data=st.data())
def test_every_defect_gets_its_own_answer(defect: Defect, data: st.DataObject) -> None:
    check_refused(*data.draw(bad_packets(good_packets(), [defect])))


@given(unreadable())
def test_what_is_no_packet_gets_its_answer(drawn: tuple[bytes, Expected]) -> None:
    check_refused(*drawn)


def check_refused(raw: bytes, expected: Expected) -> None:
    outcome = read(raw)
    assert isinstance(outcome, packets.Refused), outcome
    assert (outcome.reason.status, outcome.text[: len(expected.error)]) == (expected.status, expected.error)
    assert len(outcome.text) < 2000


@st.composite
def tampered(draw: st.DrawFn) -> bytes:
    """A well-formed packet with a few bytes changed, dropped or put in."""
    raw = bytearray(draw(good_packets()).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(raw)))
        raw[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(raw)


@st.composite
def merged(draw: st.DrawFn) -> bytes:
    """Two packets in one, which protobuf reads as one that has the fields of both; there may be bytes between them."""
    first, second = (draw(good_packets()) for _ in range(2))
    kind = draw(st.sampled_from(["packet", "tensors", "data"]))
    if kind == "tensors":
        second = pb.DataPacket(tensor=second.tensor, tensors=second.tensors)
    if kind == "data":
        size = len(first.tensor.data)
        second = pb.DataPacket(tensor=pb.Tensor(data=draw(st.binary(min_size=size, max_size=size))))
    return first.SerializeToString() + draw(st.just(b"") | st.binary(max_size=3)) + second.SerializeToString()


@given(st.one_of(st.binary(max_size=200), tampered()))
@example(b"")
def test_nothing_inconsistent_ever_passes(raw: bytes) -> None:
    outcome = read(raw)
    if not isinstance(outcome, packets.Accepted):
        return
    control = outcome.packet.control
    assert control.model
    assert control.model_version
    assert control.outputs
    assert len({item.name for item in outcome.inputs}) == len(control.inputs) > 0
    for item in outcome.inputs:
        assert all(dimension >= 0 for dimension in item.shape)
        if item.dtype.number == pb.DT_BYTES:
            assert len(elements(bytes(item.data))) == math.prod(item.shape)
        else:
            assert len(item.data) == math.prod(item.shape) * SIZES[item.dtype.number]


def elements(data: bytes) -> list[bytes]:
    """The elements of BYTES data, in the plainest way; raises where the data ends within one."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 + size:
            raise ValueError(data)
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


@given(st.one_of(good_packets().map(pb.DataPacket.SerializeToString), tampered(), merged()))
def test_a_large_packet_is_read_as_a_small_one(raw: bytes) -> None:
    """Once protobuf parses all of it, and once all of it but its data."""
    outcomes = []
    for threshold in (len(raw) + 1, 0):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(wire, "WORTHWHILE_BYTES", threshold)
            outcomes.append(read(raw))
    parsed, lifted = outcomes
    assert type(parsed) is type(lifted)
    assert without_data(parsed.packet) == without_data(lifted.packet)
    if isinstance(parsed, packets.Refused) and isinstance(lifted, packets.Refused):
        assert (parsed.reason, parsed.text) == (lifted.reason, lifted.text)
    if isinstance(parsed, packets.Accepted) and isinstance(lifted, packets.Accepted):
        assert parsed.inputs == lifted.inputs


def without_data(packet: pb.DataPacket) -> bytes:
    """The packet without the tensors' bytes; not for `==` itself, since a timeout may be not a number."""
    rest = pb.DataPacket.FromString(packet.SerializeToString())
    for tensor in [rest.tensor] * rest.HasField("tensor") + [named.tensor for named in rest.tensors]:
        tensor.ClearField("data")
    return rest.SerializeToString(deterministic=True)

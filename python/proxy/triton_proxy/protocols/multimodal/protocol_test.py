"""What serving sees of a DataPacket, and the Acks that it has made of it."""

from __future__ import annotations

import json

import pytest

from multimodal_contract import pb
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.rejection import Rejection, Unfit
from triton_proxy.inference.request import SequenceEvent
from triton_proxy.protocols.multimodal.protocol import MultimodalMessage, MultimodalProtocol
from triton_proxy.protocols.multimodal.reasons import MAX_ENVELOPE_BYTES
from triton_proxy.protocols.multimodal.reply import Reply
from triton_proxy.telemetry.observer import PacketInfo

SHAPE = pb.Shape(dims=[2])
PACKET = pb.DataPacket(
    meta=pb.Meta(correlation_id="c"),
    control=pb.Control(
        model="m",
        model_version="3",
        inputs=[pb.InputSpec(name="x", shape=SHAPE, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
        outputs=[pb.OutputSpec(name="y"), pb.OutputSpec(name="z")],
        timeout_secs=1.5,
    ),
    tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=SHAPE, data=b"ab"),
)


def read(packet: pb.DataPacket = PACKET, *, require_model_version: bool = True) -> MultimodalMessage:
    return MultimodalProtocol(require_model_version=require_model_version).read(packet.SerializeToString())


def changed(**fields: object) -> pb.DataPacket:
    packet = pb.DataPacket()
    packet.CopyFrom(PACKET)
    packet.MergeFrom(pb.DataPacket(**fields))  # type: ignore[arg-type]  # protobuf checks them
    return packet


def ack_of(reply: Reply) -> tuple[pb.StatusCode.ValueType, bool, dict[str, object]]:
    """Status, whether it is the last, and the message."""
    ack = pb.Ack.FromString(reply.serialized())
    assert reply.ok is (ack.status == pb.OK)
    return ack.status, ack.final, json.loads(ack.message)


def test_a_packet_asks_for_what_its_control_and_tensors_say() -> None:
    message = read()
    assert message.inferable
    assert message.event is None
    assert message.info == PacketInfo(PACKET.ByteSize(), "m", "3", "c")
    request = message.request
    assert (request.model, request.model_version, request.timeout_secs) == ("m", "3", 1.5)
    assert request.outputs == ("y", "z")
    (tensor,) = request.inputs
    assert (tensor.name, tensor.dtype.name, tensor.shape, bytes(tensor.data)) == ("x", "UINT8", (2,), b"ab")


@pytest.mark.parametrize(
    ("event", "start", "end"),
    [
        (pb.SEV_UNSPECIFIED, False, False),
        (pb.SEV_DATA, False, False),
        (pb.SEV_START, True, False),
        (pb.SEV_END, False, True),
    ],
)
def test_the_event_of_a_packet_with_data_is_its_place_in_a_sequence(
    event: pb.StreamEvent.ValueType, start: bool, end: bool
) -> None:
    message = read(changed(event=event))
    assert message.event is None
    assert (message.request.sequence_start, message.request.sequence_end) == (start, end)


@pytest.mark.parametrize(("event", "expected"), [(pb.SEV_START, SequenceEvent.START), (pb.SEV_END, SequenceEvent.END)])
def test_an_event_without_data_asks_for_no_inference(event: pb.StreamEvent.ValueType, expected: SequenceEvent) -> None:
    message = read(pb.DataPacket(meta=PACKET.meta, control=pb.Control(model="m"), event=event))
    assert (message.inferable, message.event) == (False, expected)
    assert ack_of(message.reply()) == (pb.OK, True, {"cid": "c", "model": "m"})


def test_a_packet_that_is_not_well_formed_is_answered_with_what_is_wrong() -> None:
    broken = changed()
    broken.tensor.data = b"abc"
    message = read(broken)
    assert (message.inferable, message.event) == (False, None)
    expected = {"error": "size mismatch: got 3 bytes, expected 2", "cid": "c", "model": "m"}
    assert ack_of(message.reply()) == (pb.BAD_REQUEST, True, expected)
    assert message.info == PacketInfo(broken.ByteSize(), "m", "3", "c")


def test_a_version_may_be_required() -> None:
    packet = changed()
    packet.control.model_version = ""
    assert read(packet, require_model_version=False).request.model_version == ""
    status, _, message = ack_of(read(packet).reply())
    assert status == pb.BAD_REQUEST
    assert str(message["error"]).startswith("missing control.model_version: ")


@pytest.mark.parametrize(
    ("unfit", "problem", "status", "error"),
    [
        (
            Unfit.MODEL_MISMATCH,
            "shape mismatch: model m takes [3] for 'x', control says [2]",
            pb.BAD_REQUEST,
            "shape mismatch: model m takes [3] for 'x', control says [2]",
        ),
        (
            Unfit.NO_SEQUENCE,
            "",
            pb.BAD_REQUEST,
            "missing SEV_START: model m keeps state from packet to packet; begin a sequence of it on this stream",
        ),
        (
            Unfit.DECOUPLED_UNARY,
            "",
            pb.UNSUPPORTED,
            "model m is decoupled: it answers any number of times, for which SendUnary has no room; use Chat",
        ),
    ],
)
def test_a_rejection_has_the_status_and_text_of_the_contract(
    unfit: Unfit, problem: str, status: pb.StatusCode.ValueType, error: str
) -> None:
    message = read()
    message.forget_tensors()
    expected = (status, True, {"error": error, "cid": "c", "model": "m"})
    assert ack_of(message.rejected(Rejection(unfit, "m", problem))) == expected


def test_every_way_not_to_fit_a_model_has_its_text() -> None:
    for unfit in Unfit:
        _, _, message = ack_of(read().rejected(Rejection(unfit, "m", "a problem")))
        assert message["error"]


def test_braces_in_names_and_problems_are_only_text() -> None:
    _, _, message = ack_of(read().rejected(Rejection(Unfit.MODEL_MISMATCH, "{m}", "{problem} {0}")))
    assert message["error"] == "{problem} {0}"


def test_an_answer_is_an_ack_with_its_outputs() -> None:
    answer = Answer("3", {"y": OutputTensor("UINT8", (2,), b"cd")}, final=False)
    outputs = {"y": {"dtype": "UINT8", "shape": [2], "b64": "Y2Q="}, "z": {"error": "missing"}}
    expected = {"backend": "triton", "cid": "c", "model": "m", "model_version": "3", "outputs": outputs}
    assert ack_of(read().answered(answer)) == (pb.OK, False, expected)


@pytest.mark.parametrize("by_triton", [False, True])
def test_a_failure_says_whether_it_is_tritons(by_triton: bool) -> None:
    status, final, message = ack_of(read().failed("no luck", by_triton=by_triton))
    assert (status, final, message["error"]) == (pb.INTERNAL, True, "no luck")
    assert message.get("backend") == ("triton" if by_triton else None)


def test_the_tensors_can_be_forgotten_and_the_rest_stays() -> None:
    message = read()
    message.forget_tensors()
    assert message.inferable
    with pytest.raises(AssertionError):
        _ = message.request
    assert message.info.correlation_id == "c"


def test_what_is_kept_of_a_packet_is_bounded() -> None:
    assert read().kept_bytes == 5 * PACKET.ByteSize()
    large = changed()
    large.tensor.shape.dims[:] = [1_000_000]
    large.tensor.data = bytes(1_000_000)
    assert read(large).kept_bytes == 5 * MAX_ENVELOPE_BYTES

from __future__ import annotations

import base64
import json

from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract import pb
from triton_proxy.inference.answer import OutputTensor, Timing
from triton_proxy.protocols.multimodal.reply import Acks, Reply

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
OUTPUTS = st.builds(
    OutputTensor,
    datatype=st.sampled_from(["FP32", "BYTES"]),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    data=st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: memoryview(data)),
)
WANTED = st.lists(NAMES, unique=True, max_size=4)
# Some of these are wanted ones.
ANSWERED = st.dictionaries(NAMES, OUTPUTS, max_size=4)


def acks(names: list[str], encoding: pb.OutputEncoding.ValueType = pb.OE_BASE64_JSON, cid: str = "c") -> Acks:
    control = pb.Control(model="m", outputs=[pb.OutputSpec(name=name) for name in names], output_encoding=encoding)
    return Acks(pb.DataPacket(meta=pb.Meta(correlation_id=cid), control=control), 123)


def read(reply: Reply) -> pb.Ack:
    """The Ack; of a reply that is right in itself."""
    ack = pb.Ack.FromString(reply.serialized())
    assert reply.size == len(reply.serialized())
    assert reply.ok == (ack.status == pb.OK)
    assert not len(UnknownFieldSet(ack))
    return ack


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[str], dict[str, OutputTensor]]:
    """What is wanted, and what the model gave."""
    wanted = draw(WANTED)
    given_by_model = draw(ANSWERED)
    return wanted, given_by_model | {name: draw(OUTPUTS) for name in wanted if draw(st.booleans())}


@given(answer=answers(), cid=NAMES, final=st.booleans())
def test_published_clients_read_json(answer: tuple[list[str], dict[str, OutputTensor]], cid: str, final: bool) -> None:
    wanted, outputs = answer
    ack = read(acks(wanted, cid=cid).success("7", outputs, final=final))
    expected = {
        name: {
            "dtype": outputs[name].datatype,
            "shape": list(outputs[name].shape),
            "b64": base64.b64encode(outputs[name].data).decode(),
        }
        if name in outputs
        else {"error": "missing"}
        for name in wanted
    }
    message = {"backend": "triton", "cid": cid, "model": "m", "model_version": "7", "outputs": expected}
    # To the letter: the order of what is in it, too, is what scripts have seen.
    assert ack.message == json.dumps(message)
    assert (ack.correlation_id, ack.status, ack.bytes_seen, ack.final) == (cid, pb.OK, 123, final)
    assert ack.resolved_control.model_version == "7"
    assert not ack.outputs


@given(answer=answers(), final=st.booleans())
def test_new_clients_get_raw_bytes(answer: tuple[list[str], dict[str, OutputTensor]], final: bool) -> None:
    wanted, outputs = answer
    ack = read(acks(wanted, pb.OE_RAW).success("7", outputs, final=final))
    described = {
        name: {"dtype": outputs[name].datatype, "shape": list(outputs[name].shape)}
        if name in outputs
        else {"error": "missing"}
        for name in wanted
    }
    assert ack.message == json.dumps(
        {"backend": "triton", "cid": "c", "model": "m", "model_version": "7", "outputs": described}
    )
    assert [(o.name, o.datatype, tuple(o.shape.dims), o.data) for o in ack.outputs] == [
        (name, outputs[name].datatype, outputs[name].shape, outputs[name].data) for name in wanted if name in outputs
    ]
    assert (ack.status, ack.final) == (pb.OK, final)


def test_an_empty_last_answer_lacks_nothing() -> None:
    for encoding in (pb.OE_RAW, pb.OE_BASE64_JSON):
        ack = read(acks(["y"], encoding).success("7", None))
        assert json.loads(ack.message)["outputs"] == {}
        assert (ack.status, ack.final, len(ack.outputs)) == (pb.OK, True, 0)
        # Not the same as an answer without outputs.
        assert json.loads(read(acks(["y"], encoding).success("7", {})).message)["outputs"] == {
            "y": {"error": "missing"}
        }


def test_failures_say_whose_they_are() -> None:
    ack = read(acks(["y"]).failure(pb.BAD_REQUEST, "size mismatch"))
    assert ack.message == json.dumps({"error": "size mismatch", "cid": "c", "model": "m"})
    assert (ack.correlation_id, ack.status, ack.bytes_seen, ack.final) == ("c", pb.BAD_REQUEST, 123, True)
    ack = read(acks(["y"]).failure(pb.INTERNAL, "no such model", backend=True, final=False))
    assert ack.message == json.dumps({"backend": "triton", "error": "no such model", "cid": "c", "model": "m"})
    assert (ack.status, ack.final) == (pb.INTERNAL, False)


def test_events_are_noted() -> None:
    ack = read(acks([]).noted())
    assert ack.message == json.dumps({"cid": "c", "model": "m"})
    assert (ack.correlation_id, ack.status, ack.bytes_seen, ack.final) == ("c", pb.OK, 123, True)


@given(times=st.tuples(*[st.floats(0, 1e6)] * 4))
def test_the_time_it_took_comes_last(times: tuple[float, float, float, float]) -> None:
    timing = pb.Timing(recv_to_decode_ms=times[0], triton_infer_ms=times[1], postprocess_ms=times[2], total_ms=times[3])
    measured = Timing(decode_ms=times[0], infer_ms=times[1], encode_ms=times[2], total_ms=times[3])
    untimed = acks(["y"], pb.OE_RAW).success("7", {"y": OutputTensor("FP32", (1,), b"1234")})
    failed = acks(["y"]).failure(pb.INTERNAL, "no such model")
    for reply in (untimed, failed):
        expected = read(reply)
        assert not expected.HasField("timing")
        expected.timing.CopyFrom(timing)
        assert read(reply.timed(measured)) == expected


def test_each_answer_of_a_decoupled_model_has_its_version() -> None:
    one = acks(["y"])
    first, second = one.success("1", {}, final=False), one.success("2", None)
    assert [read(reply).resolved_control.model_version for reply in (first, second)] == ["1", "2"]


def test_the_outputs_are_not_copied_before_they_are_joined() -> None:
    data = memoryview(bytes(1_000_000))
    reply = acks(["y"], pb.OE_RAW).success("7", {"y": OutputTensor("UINT8", (1_000_000,), data)})
    assert any(part is data for part in reply.timed(Timing(0, 0, 0, 0)).parts)


def test_nothing_of_the_tensor_is_kept() -> None:
    packet = pb.DataPacket(tensor=pb.Tensor(data=b"x" * 1000), control=pb.Control(model="m"))
    kept = Acks(packet, 1)
    assert kept.control == packet.control
    assert b"xxx" not in kept.noted().serialized()

"""One example for every reason; tests/property draws the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract import pb, wire
from triton_proxy.protocols.multimodal import packet as packets
from triton_proxy.protocols.multimodal.reasons import MAX_CORRELATION_ID_BYTES, MAX_ENVELOPE_BYTES, Reason

Change = Callable[[pb.DataPacket], object]


@pytest.fixture(autouse=True, scope="module", params=[False, True], ids=["parsed", "lifted"])
def lifting(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small packets in the way of large ones too."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param:
            patched.setattr(wire, "WORTHWHILE_BYTES", 0)
        yield


def good() -> pb.DataPacket:
    return pb.DataPacket(
        meta=pb.Meta(correlation_id="c-1"),
        control=pb.Control(
            model="m",
            model_version="1",
            inputs=[
                pb.InputSpec(name="x", shape=pb.Shape(dims=[2, 3]), dtype=pb.DT_FP32, **{"from": pb.SRC_TENSOR}),
            ],
            outputs=[pb.OutputSpec(name="y")],
        ),
        event=pb.SEV_DATA,
        tensor=pb.Tensor(dtype=pb.DT_FP32, shape=pb.Shape(dims=[2, 3]), data=bytes(24)),
    )


def several() -> pb.DataPacket:
    packet = good()
    packet.ClearField("tensor")
    packet.control.inputs.add(name="z", shape=pb.Shape(), dtype=pb.DT_BYTES, **{"from": pb.SRC_TENSOR})
    packet.tensors.add(name="z", tensor=pb.Tensor(dtype=pb.DT_BYTES, shape=pb.Shape(), data=b"\x02\x00\x00\x00hi"))
    packet.tensors.add(name="x", tensor=pb.Tensor(dtype=pb.DT_FP32, shape=pb.Shape(dims=[2, 3]), data=b"\x00" * 24))
    return packet


def changed(change: Change, base: Callable[[], pb.DataPacket] = good) -> bytes:
    packet = base()
    change(packet)
    return packet.SerializeToString()


def read(raw: bytes, *, require_model_version: bool = True) -> packets.Accepted | packets.Noted | packets.Refused:
    return packets.read(raw, require_model_version=require_model_version)


def set_tensor(packet: pb.DataPacket, dtype: pb.DataType.ValueType, dims: list[int], data: bytes) -> None:
    packet.control.inputs[0].dtype = dtype
    packet.control.inputs[0].shape.dims[:] = dims
    packet.tensor.CopyFrom(pb.Tensor(dtype=dtype, shape=pb.Shape(dims=dims), data=data))


def with_bytes(data: bytes, elements: int) -> bytes:
    return changed(lambda p: set_tensor(p, pb.DT_BYTES, [elements], data))


def set_source(packet: pb.DataPacket, source: int) -> None:
    packet.control.inputs[0].MergeFromString(b"\x20" + bytes([source]))


BAD = pb.BAD_REQUEST
CASES: list[tuple[Reason, bytes, str]] = [
    (Reason.NOT_A_PACKET, b"\xff\xff", "packet does not parse as multimodal.DataPacket"),
    (Reason.NOT_A_PACKET, good().SerializeToString().replace(b"c-1", b"c-\xff"), "strings being UTF-8"),
    (
        Reason.TOO_MANY,
        changed(lambda p: p.control.outputs.extend(pb.OutputSpec(name=f"y{n}") for n in range(256))),
        "control.outputs has 257 entries; expected at most 256",
    ),
    (
        Reason.TOO_MANY,
        changed(lambda p: p.control.inputs.extend(pb.InputSpec() for _ in range(4600))),
        "control.inputs has 4601 entries; expected at most 256",
    ),
    (
        Reason.TOO_MANY,
        changed(lambda p: p.control.extra.update({f"k{n}": "" for n in range(257)})),
        "control.extra has 257 entries; expected at most 256",
    ),
    (
        Reason.TOO_MANY,
        changed(lambda p: p.tensors.extend(pb.NamedTensor() for _ in range(257))),
        "tensors has 257 entries; expected at most 256",
    ),
    (
        Reason.TOO_LONG,
        changed(lambda p: setattr(p.meta, "correlation_id", "\x01" * 1025)),
        "meta.correlation_id has 1025 bytes; expected at most 1024",
    ),
    (
        Reason.TOO_LONG,
        changed(lambda p: setattr(p.control, "model", "é" * 128)),
        "control.model has 256 bytes; expected at most 255",
    ),
    (
        Reason.TOO_LONG,
        changed(lambda p: setattr(p.control, "model_version", "1" * 256)),
        "control.model_version has 256 bytes; expected at most 255",
    ),
    (
        Reason.TOO_LONG,
        changed(lambda p: setattr(p.control.inputs[0], "name", "x" * 256)),
        "control.inputs[0].name has 256 bytes; expected at most 255",
    ),
    (
        Reason.TOO_LONG,
        changed(lambda p: setattr(p.control.outputs[0], "name", "y" * 256)),
        "control.outputs[0].name has 256 bytes; expected at most 255",
    ),
    (Reason.MISSING_CONTROL, b"", "missing control: every packet needs a Control"),
    (Reason.MISSING_CONTROL, changed(lambda p: p.ClearField("control")), "missing control"),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.ClearField("model")), "missing control.model: name the model"),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.ClearField("model_version")), "missing control.model_version: "),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.ClearField("inputs")), "missing control.inputs: "),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.ClearField("outputs")), "missing control.outputs: "),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.inputs[0].ClearField("name")), "missing control.inputs[0].name"),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.inputs[0].ClearField("shape")), "control.inputs[0].shape"),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.inputs[0].ClearField("dtype")), "control.inputs[0].dtype"),
    (Reason.MISSING_FIELD, changed(lambda p: p.control.outputs[0].ClearField("name")), "control.outputs[0].name"),
    (Reason.UNKNOWN_VALUE, changed(lambda p: p.MergeFromString(b"\x18\x4d")), "event has the unknown value 77"),
    (
        Reason.UNKNOWN_VALUE,
        changed(lambda p: p.control.inputs[0].MergeFromString(b"\x18\x63")),
        "control.inputs[0].dtype has the unknown value 99; expected one of DT_INVALID, DT_FP32",
    ),
    (
        Reason.UNKNOWN_VALUE,
        changed(lambda p: p.control.MergeFromString(b"\x58\x05")),
        "control.output_encoding has the unknown value 5; expected one of OE_BASE64_JSON, OE_RAW",
    ),
    (
        Reason.REPEATED_NAME,
        changed(lambda p: p.control.inputs.append(p.control.inputs[0])),
        "control.inputs repeats the name 'x'",
    ),
    (
        Reason.REPEATED_NAME,
        changed(lambda p: p.control.outputs.append(p.control.outputs[0])),
        "control.outputs repeats the name 'y'",
    ),
    (
        Reason.REPEATED_NAME,
        changed(lambda p: p.tensors.append(p.tensors[0]), several),
        "tensors repeats the name 'z'",
    ),
    (
        Reason.BAD_TIMEOUT,
        changed(lambda p: setattr(p.control, "timeout_secs", -1.0)),
        "control.timeout_secs is -1.0; expected 0 or more seconds",
    ),
    (Reason.BAD_TIMEOUT, changed(lambda p: setattr(p.control, "timeout_secs", float("nan"))), "timeout_secs is nan"),
    (Reason.BAD_TIMEOUT, changed(lambda p: setattr(p.control, "timeout_secs", float("inf"))), "timeout_secs is inf"),
    (
        Reason.NEGATIVE_DIMENSION,
        changed(lambda p: set_tensor(p, pb.DT_FP32, [-1, 3], bytes(24))),
        "control.inputs[0].shape [-1, 3] has a negative dimension",
    ),
    (
        Reason.TOO_MANY_DIMENSIONS,
        changed(lambda p: set_tensor(p, pb.DT_FP32, [1] * 33, bytes(4))),
        "control.inputs[0].shape has 33 dimensions; expected at most 32",
    ),
    (
        Reason.UNSUPPORTED_SOURCE,
        changed(lambda p: set_source(p, pb.SRC_IMAGE)),
        "control.inputs[0].from is SRC_IMAGE; only SRC_TENSOR is served",
    ),
    (Reason.UNSUPPORTED_SOURCE, changed(lambda p: set_source(p, pb.SRC_UNSPECIFIED)), "from is SRC_UNSPECIFIED"),
    (Reason.UNSUPPORTED_SOURCE, changed(lambda p: set_source(p, 9)), "control.inputs[0].from is 9"),
    (
        Reason.UNSUPPORTED_PAYLOAD,
        changed(lambda p: p.image.SetInParent()),
        "payload image is not served; send the decoded data as a tensor",
    ),
    (Reason.UNSUPPORTED_PAYLOAD, changed(lambda p: p.text.SetInParent()), "payload text is not served"),
    (Reason.MISSING_TENSOR, changed(lambda p: p.ClearField("tensor")), "missing tensor: the packet brings no data"),
    (
        Reason.TENSOR_TWICE,
        changed(lambda p: p.tensors.add(name="x")),
        "packet has both tensor and tensors; expected one of them",
    ),
    (
        Reason.TENSOR_COUNT,
        changed(lambda p: p.control.inputs.add(name="z", shape=pb.Shape(), dtype=1, **{"from": pb.SRC_TENSOR})),
        "packet has one tensor for 2 inputs; send them by name in tensors",
    ),
    (
        Reason.TENSOR_MISSING,
        changed(lambda p: p.tensors.pop(0), several),
        "missing tensor: tensors has none for control.inputs 'z'",
    ),
    (
        Reason.TENSOR_UNKNOWN,
        changed(lambda p: p.tensors.add(name="w"), several),
        "tensors names 'w', which control.inputs does not",
    ),
    (
        Reason.DTYPE_MISMATCH,
        changed(lambda p: setattr(p.tensor, "dtype", pb.DT_FP16)),
        "dtype mismatch: tensor for 'x' has FP16, control says FP32",
    ),
    (Reason.DTYPE_MISMATCH, changed(lambda p: p.tensor.ClearField("dtype")), "tensor for 'x' has DataType 0"),
    (
        Reason.SHAPE_MISMATCH,
        changed(lambda p: p.tensor.shape.dims.append(1)),
        "shape mismatch: tensor for 'x' has [2, 3, 1], control says [2, 3]",
    ),
    (Reason.SHAPE_MISMATCH, changed(lambda p: p.tensor.ClearField("shape")), "has [], control says [2, 3]"),
    (
        Reason.SIZE_MISMATCH,
        changed(lambda p: setattr(p.tensor, "data", bytes(23))),
        "size mismatch: got 23 bytes, expected 24",
    ),
    (Reason.SIZE_MISMATCH, changed(lambda p: setattr(p.tensor, "data", b"")), "got 0 bytes, expected 24"),
    (
        Reason.SIZE_MISMATCH,
        changed(lambda p: set_tensor(p, pb.DT_FP32, [2**62, 2**62, 4], bytes(4))),
        f"size mismatch: got 4 bytes, expected {2**128}",
    ),
    (Reason.SIZE_MISMATCH, with_bytes(b"", 1), "size mismatch: got 0 bytes, expected 1 BYTES elements"),
    (Reason.SIZE_MISMATCH, with_bytes(b"", 2**62), f"expected {2**62} BYTES elements"),
    (Reason.SIZE_MISMATCH, with_bytes(b"\x05\x00\x00\x00four", 1), "element 0 reaches to byte 9"),
    (Reason.SIZE_MISMATCH, with_bytes(b"\x02\x00\x00\x00hi\x00\x00", 2), "ends before element 1"),
    (Reason.SIZE_MISMATCH, with_bytes(b"\x02\x00\x00\x00hi!", 1), "they end at byte 6"),
]


@pytest.mark.parametrize(("reason", "raw", "text"), CASES)
def test_refusals(reason: Reason, raw: bytes, text: str) -> None:
    outcome = read(raw)
    assert isinstance(outcome, packets.Refused)
    assert outcome.reason is reason
    assert text in outcome.text
    assert outcome.text.startswith(reason.text.split("{")[0])


# What only the model can tell; plan_test has them.
OF_THE_MODEL = {Reason.MODEL_MISMATCH, Reason.NO_SEQUENCE, Reason.DECOUPLED_UNARY}


def test_every_reason_has_an_example() -> None:
    # The example of what is too large would be too large for the name of a test.
    assert {reason for reason, _, _ in CASES} == set(Reason) - OF_THE_MODEL - {Reason.ENVELOPE_TOO_LARGE}


def test_unsupported_is_for_what_is_never_served() -> None:
    unsupported = {reason for reason in Reason if reason.status == pb.UNSUPPORTED}
    assert unsupported == {Reason.UNSUPPORTED_PAYLOAD, Reason.UNSUPPORTED_SOURCE, Reason.DECOUPLED_UNARY}
    assert {reason.status for reason in set(Reason) - unsupported} == {BAD}


def test_accepts_one_tensor() -> None:
    outcome = read(good().SerializeToString())
    assert isinstance(outcome, packets.Accepted)
    assert [(i.name, i.dtype.name, i.shape, i.data) for i in outcome.inputs] == [("x", "FP32", (2, 3), bytes(24))]


def test_accepts_several_in_the_controls_order() -> None:
    outcome = read(several().SerializeToString())
    assert isinstance(outcome, packets.Accepted)
    described = [(i.name, i.dtype.name, i.shape, bytes(i.data)) for i in outcome.inputs]
    assert described == [("x", "FP32", (2, 3), bytes(24)), ("z", "BYTES", (), b"\x02\x00\x00\x00hi")]


def test_accepts_scalars_and_empty_tensors() -> None:
    assert isinstance(read(changed(lambda p: set_tensor(p, pb.DT_INT64, [], bytes(8)))), packets.Accepted)
    assert isinstance(read(changed(lambda p: set_tensor(p, pb.DT_FP32, [0, 7], b""))), packets.Accepted)
    assert isinstance(read(with_bytes(b"", 0)), packets.Accepted)


def test_version_may_be_left_out_where_the_operator_says_so() -> None:
    raw = changed(lambda p: p.control.ClearField("model_version"))
    assert isinstance(read(raw, require_model_version=False), packets.Accepted)


@pytest.mark.parametrize("event", [pb.SEV_START, pb.SEV_END])
def test_events_without_payload_are_noted(event: pb.StreamEvent.ValueType) -> None:
    assert isinstance(read(pb.DataPacket(event=event).SerializeToString()), packets.Noted)
    with_payload = read(changed(lambda p: setattr(p, "event", event)))
    assert isinstance(with_payload, packets.Accepted)


def test_a_long_name_is_cut_in_the_text() -> None:
    def repeat(packet: pb.DataPacket) -> None:
        packet.control.outputs[0].name = "n" * 255
        packet.control.outputs.append(packet.control.outputs[0])

    outcome = read(changed(repeat))
    assert isinstance(outcome, packets.Refused)
    assert len(outcome.text) < 300


@pytest.mark.parametrize("named", [False, True])
def test_megabytes_are_not_copied(named: bool) -> None:
    content = bytes(range(256)) * 4096

    def enlarge(packet: pb.DataPacket) -> None:
        set_tensor(packet, pb.DT_UINT8, [len(content)], content)
        if named:
            packet.tensors.add(name="x", tensor=packet.tensor)
            packet.ClearField("tensor")

    raw = changed(enlarge)
    outcome = read(raw)
    assert isinstance(outcome, packets.Accepted)
    (item,) = outcome.inputs
    assert isinstance(item.data, memoryview)
    assert item.data.obj is raw
    assert item.data == content
    assert outcome.packet.ByteSize() < 100


def test_a_packet_that_repeats_itself_is_read_as_protobuf_does_and_refused_where_it_is_large() -> None:
    raw = changed(lambda p: set_tensor(p, pb.DT_UINT8, [20_000], bytes(20_000)))
    again = pb.DataPacket(tensor=pb.Tensor(data=b"\x01" * 20_000)).SerializeToString()
    outcome = read(raw + again)
    assert isinstance(outcome, packets.Accepted)
    assert outcome.inputs[0].data == b"\x01" * 20_000
    # No serializer writes this, and to merge it protobuf would have to parse all of it.
    outcome = read(raw + again * 4)
    assert isinstance(outcome, packets.Refused)
    assert outcome.reason is Reason.NOT_A_PACKET


@pytest.mark.parametrize("raw", [b"\x12\x80\x80\x80\x08" + b"\x1a\x00" * (8 << 20), b"\x18\x00" * 40_000], ids=len)
def test_a_packet_of_nothing_but_fields_is_never_parsed(raw: bytes) -> None:
    outcome = read(raw)
    assert isinstance(outcome, packets.Refused)
    assert outcome.text == (
        "packet has more than 65536 bytes, or too many fields, beside its tensors' data; send shorter names and fewer "
        "inputs, outputs and extras"
    )


@given(st.sampled_from(["note", "extra", "outputs", "cid"]), st.integers(0, 3 * MAX_ENVELOPE_BYTES), st.booleans())
def test_what_stands_beside_the_tensors_is_bounded_wherever_it_is(where: str, size: int, large: bool) -> None:
    packet = good()
    if large:
        set_tensor(packet, pb.DT_UINT8, [1_000_000], bytes(1_000_000))
    if where == "note":
        packet.meta.note = "n" * size
    elif where == "cid":
        packet.meta.correlation_id = "c" * size
    elif where == "extra":
        packet.control.extra["k"] = "v" * size
    else:
        packet.control.outputs.extend(
            pb.OutputSpec(name=f"y{index}".ljust(min(size // 255, 255), "y")) for index in range(254)
        )
    beside = packet.ByteSize() - len(packet.tensor.data)
    outcome = read(packet.SerializeToString())
    # Small packets are bounded as they are.
    too_large = (beside > MAX_ENVELOPE_BYTES + 32) if large else (packet.ByteSize() > MAX_ENVELOPE_BYTES)
    if too_large:
        assert isinstance(outcome, packets.Refused)
        assert outcome.reason is Reason.ENVELOPE_TOO_LARGE
        assert outcome.packet == pb.DataPacket()
    elif beside < MAX_ENVELOPE_BYTES - 32 and not (where == "cid" and size > MAX_CORRELATION_ID_BYTES):
        assert isinstance(outcome, packets.Accepted)


@pytest.mark.parametrize("payload", ["text", "image", "audio", "video", "video_chunk", "frame"])
def test_what_is_not_served_is_refused_as_such_however_large_it_is(payload: str) -> None:
    packet = good()
    message = getattr(packet, payload)
    if payload == "text":
        message.text = "t" * 1_000_000
    else:
        message.data = bytes(1_000_000)
    outcome = read(packet.SerializeToString())
    assert isinstance(outcome, packets.Refused)
    assert outcome.text == f"payload {payload} is not served; send the decoded data as a tensor"
    assert outcome.packet.meta.correlation_id == good().meta.correlation_id


def test_large_bytes_tensors_are_counted_by_one_thread_at_a_time() -> None:
    elements = b"\x01\x00\x00\x00e" * 100_000
    raw = with_bytes(elements, 100_000)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(read, [raw] * 8))
    assert all(isinstance(outcome, packets.Accepted) for outcome in outcomes)
    outcome = read(with_bytes(elements + b"!", 100_000))
    assert isinstance(outcome, packets.Refused)
    assert outcome.text.endswith("they end at byte 500000")

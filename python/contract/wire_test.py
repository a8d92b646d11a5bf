"""What is lifted out of a message and put back is what protobuf itself reads, whatever the bytes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from multimodal_contract import pb
from multimodal_contract.wire import Lifted, Lifter, field, tag, varint

Data = Sequence[Sequence[memoryview]]


def put_tensors(packet: Any, data: Data) -> None:
    if packet.HasField("tensor"):
        (packet.tensor.data,) = map(bytes, data[0])
    for named, content in zip(packet.tensors, data[1], strict=True):
        if named.HasField("tensor"):
            named.tensor.data = bytes(content)
        else:
            assert not content


def put_outputs(ack: Any, data: Data) -> None:
    for output, content in zip(ack.outputs, data[0], strict=True):
        output.data = bytes(content)


def put_contents(response: Any, data: Data) -> None:
    response.raw_output_contents.extend(map(bytes, data[0]))


def put_streamed(message: Any, data: Data) -> None:
    if data[0]:
        put_contents(message.infer_response, data)


@dataclass(frozen=True)
class Kind:
    """A kind of message, what of it is lifted, and how that is put back."""

    message: Any
    paths: tuple[str, ...]
    put_back: Callable[[Any, Data], None]

    def lift(self, raw: bytes) -> Lifted | None:
        return Lifter(self.message.DESCRIPTOR, *self.paths).lift(raw)

    def parsed(self, raw: bytes) -> Message | None:
        message: Message = self.message()
        try:
            message.ParseFromString(raw)
        except DecodeError:
            return None
        return message


KINDS = [
    Kind(pb.DataPacket, ("tensor.data", "tensors.tensor.data"), put_tensors),
    Kind(pb.Ack, ("outputs.data",), put_outputs),
    Kind(service_pb2.ModelInferResponse, ("raw_output_contents",), put_contents),
    Kind(service_pb2.ModelStreamInferResponse, ("infer_response.raw_output_contents",), put_streamed),
]
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.message.DESCRIPTOR.name)
DELIMITED = (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
# Of all other types of fields it is 0 or 2.
WIRE_TYPES = {FieldDescriptor.TYPE_FLOAT: 5, FieldDescriptor.TYPE_DOUBLE: 1}


def padded(value: int, padding: int) -> bytes:
    """A number in more bytes than it needs, which protobuf also reads."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


@st.composite
def numbers(draw: st.DrawFn, value: int | None = None) -> bytes:
    value = draw(st.integers(0, 2**64 - 1)) if value is None else value
    return padded(value, draw(st.sampled_from([0] * 40 + [1, 3, 4, 5, 9])))


@st.composite
def fields(draw: st.DrawFn, number: int, wire_type: int, descriptor: Descriptor | None = None) -> bytes:
    """A field of that number, with what is in messages of that type where it holds one."""
    start = draw(numbers(number << 3 | wire_type))
    if wire_type == 0:
        return start + draw(numbers())
    if wire_type in (1, 5):
        size = 8 if wire_type == 1 else 4
        return start + draw(st.binary(min_size=size, max_size=size))
    if wire_type == 3:
        return start + draw(messages(descriptor)) + draw(numbers(number << 3 | 4))
    content = draw(st.binary(max_size=6) if descriptor is None else messages(descriptor))
    return start + draw(numbers(len(content))) + content


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor | None) -> bytes:
    """What may be a message of a type: its fields in any order and number, and others between."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        known = list(descriptor.fields) if descriptor is not None else []
        # Those that lead to what is lifted, more often than the others.
        known += 3 * [one for one in known if one.message_type or one.type == FieldDescriptor.TYPE_BYTES]
        if known and draw(st.integers(0, 9)) < 8:
            one = draw(st.sampled_from(known))
            wire_type = 2 if one.type in DELIMITED else WIRE_TYPES.get(one.type, 0)
            parts.append(draw(fields(one.number, wire_type, one.message_type)))
            continue
        number = draw(st.one_of(st.sampled_from([one.number for one in known] or [1]), st.integers(1, 2**29 - 1)))
        wire_type = draw(st.sampled_from([0, 0, 1, 2, 2, 5, 5, 3]))
        parts.append(draw(fields(number, wire_type)))
    return b"".join(parts)


@st.composite
def tampered(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which a few were changed, dropped or put in, or the end cut off."""
    raw = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 2))):
        position = draw(st.integers(0, len(raw)))
        raw[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


def check(kind: Kind, raw: bytes) -> None:
    lifted = kind.lift(raw)
    if lifted is None:
        return
    whole, rest = kind.parsed(raw), kind.parsed(lifted.rest)
    assert (whole is None) == (rest is None)
    if whole is None or rest is None:
        return
    kind.put_back(rest, lifted.data)
    # Not by ==: a number that is not a number is not itself.
    assert rest.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)
    assert all(view.obj is raw for views in lifted.data for view in views if len(view))


@EACH_KIND
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_rest_and_data_are_the_message(kind: Kind, data: st.DataObject) -> None:
    check(kind, data.draw(messages(kind.message.DESCRIPTOR)))


@EACH_KIND
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_what_protobuf_refuses_is_refused_still(kind: Kind, data: st.DataObject) -> None:
    check(kind, data.draw(tampered(messages(kind.message.DESCRIPTOR))))


@EACH_KIND
@given(raw=st.binary(max_size=60))
@example(raw=b"")
def test_any_bytes_read_as_protobuf_reads_them(kind: Kind, raw: bytes) -> None:
    check(kind, raw)


@pytest.mark.parametrize("padding", range(10))
def test_numbers_longer_than_they_need_to_be(padding: int) -> None:
    for raw in (padded(16 << 3 | 2, padding) + b"\0", b"\x82\x01" + padded(0, padding), padded(8, padding) + b"\1"):
        check(KINDS[0], raw)


CONTENT = st.binary(max_size=9)


@given(data=CONTENT, names=st.lists(st.tuples(st.text(max_size=3), st.none() | CONTENT), max_size=4), one=st.booleans())
def test_whatever_protobuf_writes_of_a_packet_is_lifted(
    data: bytes, names: list[tuple[str, bytes | None]], one: bool
) -> None:
    packet = pb.DataPacket(control=pb.Control(model="m", timeout_secs=1.5), event=pb.SEV_END)
    if one:
        packet.tensor.CopyFrom(pb.Tensor(dtype=pb.DT_FP32, shape=pb.Shape(dims=[-1, 2]), data=data))
    for name, content in names:
        packet.tensors.add(name=name, tensor=None if content is None else pb.Tensor(data=content))
    raw = packet.SerializeToString()
    lifted = KINDS[0].lift(raw)
    assert lifted is not None
    assert list(lifted.data) == [[data] * one, [content or b"" for _, content in names]]
    check(KINDS[0], raw)


@given(contents=st.lists(CONTENT, max_size=4), outputs=st.integers(0, 3))
def test_whatever_protobuf_writes_of_an_answer_is_lifted(contents: list[bytes], outputs: int) -> None:
    ack = pb.Ack(message="{}", timing=pb.Timing(total_ms=1.5), final=True)
    for content in contents:
        ack.outputs.add(name="y", shape=pb.Shape(dims=[2]), data=content)
    response = service_pb2.ModelInferResponse(model_name="m", raw_output_contents=contents)
    for _ in range(outputs):
        response.outputs.add(name="y", datatype="FP32", shape=[2])
    streamed = service_pb2.ModelStreamInferResponse(error_message="e", infer_response=response)
    for kind, message in zip(KINDS[1:], (ack, response, streamed), strict=True):
        raw = message.SerializeToString()
        lifted = kind.lift(raw)
        assert lifted is not None
        assert list(lifted.data) == [contents]
        check(kind, raw)


@pytest.mark.parametrize(
    "other", [b"\xa0\x06\x07", b"\xa1\x06" + bytes(8), b"\xa2\x06\x03abc", b"\xa5\x06" + bytes(4), b"\x80\x01\x07"]
)
def test_fields_that_are_not_lifted_stay_where_they_are(other: bytes) -> None:
    # Each of another wire type; the last has the number of `tensor`.
    tensor = b"".join(field(16, [other, *field(3, [b"data"]), other]))
    raw = other + tensor + other
    lifted = KINDS[0].lift(raw)
    assert lifted is not None
    assert list(lifted.data) == [[b"data"], []]
    check(KINDS[0], raw)


def test_the_data_of_megabytes_is_not_copied() -> None:
    content = bytes(range(256)) * 4096
    raw = pb.DataPacket(tensor=pb.Tensor(dtype=pb.DT_UINT8, data=content)).SerializeToString()
    lifted = KINDS[0].lift(raw)
    assert lifted is not None
    assert lifted.data[0][0].obj is raw
    assert len(lifted.rest) < 20


TWICE = pb.Tensor(data=b"a").SerializeToString() + pb.Tensor(data=b"b").SerializeToString()


@pytest.mark.parametrize(
    "raw",
    [
        b"".join(field(16, [TWICE])),
        b"".join(field(16, [b""]) * 2),
        b"".join(field(17, field(2, [TWICE]))),
        b"".join(field(17, field(2, [b""]) * 2)),
        b"\x0b\x0c",
        b"\x82\x01\x02\x1a",
    ],
    ids=["data twice", "tensor twice", "named data twice", "named tensor twice", "group", "cut off"],
)
def test_what_only_protobuf_can_tell_is_left_to_it(raw: bytes) -> None:
    assert KINDS[0].lift(raw) is None


@pytest.mark.parametrize("tiny", [b"\x8a\x01\x00", b"\x8a\x01\x02\x12\x00", b"\xf8\x01\x00", b"\xfa\x01\x00"])
def test_a_message_of_nothing_but_tiny_fields_is_left_to_protobuf(tiny: bytes) -> None:
    # Each costs a hundred times what it costs protobuf's parser, while nothing else runs in the process.
    assert KINDS[0].lift(tiny * 100) is not None
    assert KINDS[0].lift(tiny * 2000) is None


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_as_protobuf_writes_it(value: int) -> None:
    written = pb.FrameMeta(frame_seq=value).SerializeToString() or b"\x10\x00"
    assert b"\x10" + varint(value) == written


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, lambda content: pb.Text(text=content.hex())),
        (3, lambda content: pb.Tensor(data=content)),
        (7, lambda content: service_pb2.ModelInferRequest(raw_input_contents=[content])),
        (10, lambda content: pb.Video(data=content)),
        (20, lambda content: pb.VideoChunk(data=content)),
    ],
)
@given(content=st.binary(min_size=1, max_size=300))
def test_a_field_is_as_protobuf_writes_it(number: int, message: Callable[[bytes], Message], content: bytes) -> None:
    written = message(content).SerializeToString()
    content = content.hex().encode() if number == 1 else content
    assert b"".join(field(number, [content])) == written
    assert written.startswith(tag(number))


@given(number=st.integers(2, 2**29 - 1), parts=st.lists(st.binary(max_size=200), max_size=3))
def test_protobuf_reads_fields_of_any_number(number: int, parts: list[bytes]) -> None:
    written = b"".join(field(number, map(memoryview, parts)))
    unknown = cast(Any, UnknownFieldSet(pb.Text.FromString(written)))[0]
    assert (unknown.field_number, unknown.wire_type, unknown.data) == (number, 2, b"".join(parts))

"""Strategies for packets: well-formed ones, and what can be wrong with one.

The expected answers stand here by hand, in the words of the contract, and not by calling the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from multimodal_contract import pb

# Sizes by hand: the table of the code under test must not be its own judge.
SIZES = {
    pb.DT_BOOL: 1,
    pb.DT_UINT8: 1,
    pb.DT_INT8: 1,
    pb.DT_UINT16: 2,
    pb.DT_INT16: 2,
    pb.DT_FP16: 2,
    pb.DT_BF16: 2,
    pb.DT_UINT32: 4,
    pb.DT_INT32: 4,
    pb.DT_FP32: 4,
    pb.DT_UINT64: 8,
    pb.DT_INT64: 8,
    pb.DT_FP64: 8,
}
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
SHAPES = st.lists(st.integers(0, 4), max_size=4)
_CONTROL_FIELDS: tuple[Literal["model", "model_version", "inputs", "outputs"], ...] = (
    "model",
    "model_version",
    "inputs",
    "outputs",
)
_INPUT_FIELDS: tuple[Literal["name", "shape", "dtype"], ...] = ("name", "shape", "dtype")


@dataclass(frozen=True)
class Expected:
    """The answer that the contract asks for: a status, and how the error begins."""

    status: pb.StatusCode.ValueType
    error: str


@st.composite
def tensors(draw: st.DrawFn) -> pb.Tensor:
    """A tensor whose bytes are what its dtype and shape say."""
    dims = draw(SHAPES)
    dtype = draw(st.sampled_from([*SIZES, pb.DT_BYTES]))
    count = math.prod(dims)
    if dtype == pb.DT_BYTES:
        elements = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
        data = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    else:
        size = count * SIZES[dtype]
        data = draw(st.binary(min_size=size, max_size=size))
    return pb.Tensor(dtype=dtype, shape=pb.Shape(dims=dims), data=data)


@st.composite
def good_packets(draw: st.DrawFn) -> pb.DataPacket:
    """A well-formed packet of one or more inputs."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    values = [draw(tensors()) for _ in names]
    packet = pb.DataPacket(
        meta=pb.Meta(correlation_id=draw(NAMES), note=draw(st.text(st.characters(codec="utf-8"), max_size=5))),
        event=draw(st.sampled_from(pb.StreamEvent.values())),
        control=pb.Control(
            model=draw(NAMES),
            model_version=draw(NAMES),
            inputs=[
                pb.InputSpec(name=name, shape=value.shape, dtype=value.dtype, **{"from": pb.SRC_TENSOR})
                for name, value in zip(names, values, strict=True)
            ],
            outputs=[pb.OutputSpec(name=name) for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))],
            timeout_secs=draw(st.floats(0, 1e6, width=32)),
            extra=draw(st.dictionaries(NAMES, NAMES, max_size=2)),
            output_encoding=draw(st.sampled_from(pb.OutputEncoding.values())),
        ),
    )
    if len(names) == 1 and draw(st.booleans()):
        packet.tensor.CopyFrom(values[0])
    else:
        order = draw(st.permutations(range(len(names))))
        for index in order:
            packet.tensors.add(name=names[index], tensor=values[index])
    return packet


Defect = Callable[[st.DrawFn, pb.DataPacket], Expected]


def _sent(draw: st.DrawFn, packet: pb.DataPacket) -> tuple[pb.Tensor, pb.InputSpec]:
    """One of the packet's tensors, and the input it is for."""
    if packet.HasField("tensor"):
        return packet.tensor, packet.control.inputs[0]
    named = draw(st.sampled_from(list(packet.tensors)))
    return named.tensor, next(spec for spec in packet.control.inputs if spec.name == named.name)


def no_control(_: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.ClearField("control")
    return Expected(pb.BAD_REQUEST, "missing control")


def missing_list_or_name(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    field = draw(st.sampled_from(_CONTROL_FIELDS))
    packet.control.ClearField(field)
    return Expected(pb.BAD_REQUEST, f"missing control.{field}")


def missing_in_input(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    index = draw(st.integers(0, len(packet.control.inputs) - 1))
    field = draw(st.sampled_from(_INPUT_FIELDS))
    packet.control.inputs[index].ClearField(field)
    return Expected(pb.BAD_REQUEST, f"missing control.inputs[{index}].{field}")


def missing_output_name(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    index = draw(st.integers(0, len(packet.control.outputs) - 1))
    packet.control.outputs[index].ClearField("name")
    return Expected(pb.BAD_REQUEST, f"missing control.outputs[{index}].name")


def repeated_input(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.control.inputs.append(draw(st.sampled_from(list(packet.control.inputs))))
    return Expected(pb.BAD_REQUEST, "control.inputs repeats the name")


def repeated_output(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.control.outputs.append(draw(st.sampled_from(list(packet.control.outputs))))
    return Expected(pb.BAD_REQUEST, "control.outputs repeats the name")


def other_source(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    index = draw(st.integers(0, len(packet.control.inputs) - 1))
    source = draw(st.integers(0, 127).filter(lambda value: value != pb.SRC_TENSOR))
    packet.control.inputs[index].ClearField("from")
    packet.control.inputs[index].MergeFromString(b"\x20" + bytes([source]))
    return Expected(pb.UNSUPPORTED, f"control.inputs[{index}].from is ")


def other_payload(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    kind = draw(st.sampled_from(["text", "image", "audio", "video", "video_chunk", "frame"]))
    getattr(packet, kind).SetInParent()
    return Expected(pb.UNSUPPORTED, f"payload {kind} is not served")


def no_tensor(_: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.ClearField("tensor")
    packet.ClearField("tensors")
    packet.event = pb.SEV_DATA
    return Expected(pb.BAD_REQUEST, "missing tensor")


def both_kinds(_: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.tensor.SetInParent()
    if not packet.tensors:
        packet.tensors.add(name=packet.control.inputs[0].name)
    return Expected(pb.BAD_REQUEST, "packet has both tensor and tensors")


def other_dtype(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    tensor, _ = _sent(draw, packet)
    number = draw(st.integers(0, 127).filter(lambda value: value != tensor.dtype))
    tensor.ClearField("dtype")
    tensor.MergeFromString(b"\x08" + bytes([number]))
    return Expected(pb.BAD_REQUEST, "dtype mismatch")


def other_shape(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    tensor, spec = _sent(draw, packet)
    dims = draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40).filter(lambda d: d != list(spec.shape.dims)))
    tensor.shape.dims[:] = dims
    return Expected(pb.BAD_REQUEST, "shape mismatch")


def negative_dimension(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    tensor, spec = _sent(draw, packet)
    dims = [*draw(SHAPES), draw(st.one_of(st.just(-1), st.integers(-(2**63), -1))), *draw(SHAPES)]
    spec.shape.dims[:] = dims
    tensor.shape.dims[:] = dims
    index = list(packet.control.inputs).index(spec)
    return Expected(pb.BAD_REQUEST, f"control.inputs[{index}].shape {dims} has a negative dimension")


def huge_shape(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    """Products that overflow 64 bits, or only 32, must not wrap around into a size that fits."""
    tensor, spec = _sent(draw, packet)
    dims = draw(st.lists(st.sampled_from([2**16, 2**31, 2**32, 2**61, 2**62, 2**63 - 1]), min_size=2, max_size=32))
    spec.shape.dims[:] = dims
    tensor.shape.dims[:] = dims
    size = SIZES.get(spec.dtype)
    expected = "" if size is None else f", expected {math.prod(dims) * size}"
    return Expected(pb.BAD_REQUEST, f"size mismatch: got {len(tensor.data)} bytes{expected}")


def many_dimensions(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    tensor, spec = _sent(draw, packet)
    dims = [draw(st.integers(0, 2**63 - 1))] * draw(st.integers(33, 5000))
    spec.shape.dims[:] = dims
    tensor.shape.dims[:] = dims
    index = list(packet.control.inputs).index(spec)
    return Expected(pb.BAD_REQUEST, f"control.inputs[{index}].shape has {len(dims)} dimensions")


def wrong_byte_count(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    tensor, spec = _sent(draw, packet)
    right = len(tensor.data)
    change = draw(st.integers(-right, 9).filter(bool))
    tensor.data = tensor.data[: right + change] if change < 0 else tensor.data + bytes(change)
    expected = "" if spec.dtype == pb.DT_BYTES else f", expected {right}"
    return Expected(pb.BAD_REQUEST, f"size mismatch: got {right + change} bytes{expected}")


def bad_timeout(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.control.timeout_secs = draw(st.sampled_from([-1e-30, -5.0, math.inf, -math.inf, math.nan]))
    return Expected(pb.BAD_REQUEST, "control.timeout_secs is ")


def unknown_event(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.MergeFromString(b"\x18" + bytes([draw(st.integers(4, 127))]))
    return Expected(pb.BAD_REQUEST, "event has the unknown value")


def unknown_encoding(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    packet.control.MergeFromString(b"\x58" + bytes([draw(st.integers(2, 127))]))
    return Expected(pb.BAD_REQUEST, "control.output_encoding has the unknown value")


def tensor_of_no_input(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    if packet.HasField("tensor"):
        packet.tensors.add(name=packet.control.inputs[0].name, tensor=packet.tensor)
        packet.ClearField("tensor")
    known = {spec.name for spec in packet.control.inputs}
    packet.tensors.add(name=draw(NAMES.filter(lambda name: name not in known)))
    return Expected(pb.BAD_REQUEST, "tensors names ")


def input_without_tensor(draw: st.DrawFn, packet: pb.DataPacket) -> Expected:
    known = {spec.name for spec in packet.control.inputs}
    name = draw(NAMES.filter(lambda name: name not in known))
    packet.control.inputs.add(name=name, shape=pb.Shape(), dtype=pb.DT_FP32, **{"from": pb.SRC_TENSOR})
    if packet.HasField("tensor"):
        return Expected(pb.BAD_REQUEST, "packet has one tensor for 2 inputs")
    return Expected(pb.BAD_REQUEST, "missing tensor: tensors has none for control.inputs ")


DEFECTS: tuple[Defect, ...] = (
    no_control,
    missing_list_or_name,
    missing_in_input,
    missing_output_name,
    repeated_input,
    repeated_output,
    other_source,
    other_payload,
    no_tensor,
    both_kinds,
    other_dtype,
    other_shape,
    negative_dimension,
    huge_shape,
    many_dimensions,
    wrong_byte_count,
    bad_timeout,
    unknown_event,
    unknown_encoding,
    tensor_of_no_input,
    input_without_tensor,
)


@st.composite
def bad_packets(
    draw: st.DrawFn, base: st.SearchStrategy[pb.DataPacket], defects: Sequence[Defect] = DEFECTS
) -> tuple[bytes, Expected]:
    """A well-formed packet with one defect, serialized, and the answer it must get."""
    packet = draw(base)
    expected = draw(st.sampled_from(defects))(draw, packet)
    return packet.SerializeToString(), expected


@st.composite
def unreadable(draw: st.DrawFn) -> tuple[bytes, Expected]:
    """Bytes that are no DataPacket: a string that is not UTF-8, or a field that is cut off."""
    packet = draw(good_packets())
    raw = packet.SerializeToString()
    broken = draw(st.sampled_from([b"\x0a\x03\x0a\x01\xff", b"\x12\x05\x0a", b"\xff", b"\x82"]))
    return raw + broken, Expected(pb.BAD_REQUEST, "packet does not parse as multimodal.DataPacket")

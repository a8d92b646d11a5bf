"""Whether a packet is well-formed: the one pure module through which every byte of a packet goes.

The contract's rules in the contract's order; nothing here calls anybody. `tests/property` drives all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NUMBER
from multimodal_contract.wire import Buffer, EnvelopeTooLargeError, Lifter
from triton_proxy.inference.elements import expected_size
from triton_proxy.inference.request import InputTensor
from triton_proxy.protocols.multimodal.control import Spec, check_control, check_repeats, known, specs
from triton_proxy.protocols.multimodal.reasons import (
    MAX_CORRELATION_ID_BYTES,
    MAX_ENTRIES,
    MAX_ENVELOPE_BYTES,
    MAX_NAME_BYTES,
    MAX_RANK,
    InvalidPacket,
    Reason,
    check_length,
    quoted,
)

# What no packet that is served holds is lifted too: it is refused as what it is, however large, and never parsed.
_TENSORS = Lifter(
    pb.DataPacket.DESCRIPTOR,
    "tensor.data",
    "tensors.tensor.data",
    "text.text",
    "image.data",
    "audio.data",
    "video.data",
    "video_chunk.data",
    "frame.data",
)


@dataclass(frozen=True)
class Refused:
    """The packet is answered without an inference.

    Attributes:
        packet: what could be read of it; empty where nothing could, and where that would be too much.
        reason: the row of the contract.
        text: the reason in words, with the packet's own values.
    """

    packet: pb.DataPacket
    reason: Reason
    text: str


@dataclass(frozen=True)
class Noted:
    """A start or end of a sequence that brings no data."""

    packet: pb.DataPacket


@dataclass(frozen=True)
class Accepted:
    """The packet may go to Triton. Its tensors' data stands in `inputs` only, once there are megabytes of it."""

    packet: pb.DataPacket
    inputs: tuple[InputTensor, ...]


def read(raw: bytes, *, require_model_version: bool) -> Accepted | Noted | Refused:
    """Parses and checks one packet.

    Args:
        raw: a serialized DataPacket.
        require_model_version: whether an empty model_version is a mistake.
    """
    packet = pb.DataPacket()
    try:
        lifted = _TENSORS.parse_bounded(raw, packet, most_bytes=MAX_ENVELOPE_BYTES)
    except EnvelopeTooLargeError:
        return Refused(pb.DataPacket(), Reason.ENVELOPE_TOO_LARGE, Reason.ENVELOPE_TOO_LARGE.text)
    except DecodeError:
        return Refused(pb.DataPacket(), Reason.NOT_A_PACKET, Reason.NOT_A_PACKET.text)
    try:
        check_length("meta.correlation_id", packet.meta.correlation_id, MAX_CORRELATION_ID_BYTES)
        too_many = _too_many(packet)
        if too_many is not None:
            few = pb.Control(model=packet.control.model[:MAX_NAME_BYTES])
            return Refused(pb.DataPacket(meta=packet.meta, control=few), Reason.TOO_MANY, too_many)
        payload = packet.WhichOneof("payload")
        known(pb.StreamEvent, packet.event, "event")
        if payload is None and not packet.tensors and packet.event in (pb.SEV_START, pb.SEV_END):
            return Noted(packet)
        if not packet.HasField("control"):
            raise InvalidPacket(Reason.MISSING_CONTROL)
        if payload not in (None, "tensor"):
            check_control(packet.control, require_model_version)
            raise InvalidPacket(Reason.UNSUPPORTED_PAYLOAD, kind=payload)
        described = specs(packet.control, require_model_version=require_model_version)
        return Accepted(packet, tuple(_inputs(packet, described, payload is not None, _data(packet, lifted))))
    except InvalidPacket as refusal:
        return Refused(packet, refusal.reason, refusal.text)


def _too_many(packet: pb.DataPacket) -> str | None:
    control = packet.control
    for field, entries in (
        ("control.inputs", control.inputs),
        ("control.outputs", control.outputs),
        ("control.extra", control.extra),
        ("tensors", packet.tensors),
    ):
        if len(entries) > MAX_ENTRIES:
            return Reason.TOO_MANY.text.format(field=field, got=len(entries), expected=MAX_ENTRIES)
    return None


def _data(packet: pb.DataPacket, lifted: tuple[list[memoryview], ...] | None) -> Sequence[Buffer]:
    """The data of the tensor, or of each of the tensors, of which a packet that is accepted has one kind only."""
    if lifted is not None:
        return [*lifted[0], *lifted[1]]
    return [packet.tensor.data] if packet.HasField("tensor") else [named.tensor.data for named in packet.tensors]


def _inputs(
    packet: pb.DataPacket, specs: Sequence[Spec], has_tensor: bool, data: Sequence[Buffer]
) -> Iterator[InputTensor]:
    if has_tensor and packet.tensors:
        raise InvalidPacket(Reason.TENSOR_TWICE)
    if has_tensor:
        if len(specs) != 1:
            raise InvalidPacket(Reason.TENSOR_COUNT, count=len(specs))
        yield _input(specs[0], packet.tensor, data[0])
        return
    if not packet.tensors:
        raise InvalidPacket(Reason.MISSING_TENSOR)
    check_repeats("tensors", [named.name for named in packet.tensors])
    tensors = {named.name: (named.tensor, content) for named, content in zip(packet.tensors, data, strict=True)}
    wanted = {spec.name for spec in specs}
    for name in tensors:
        if name not in wanted:
            raise InvalidPacket(Reason.TENSOR_UNKNOWN, name=quoted(name))
    for spec in specs:
        if spec.name not in tensors:
            raise InvalidPacket(Reason.TENSOR_MISSING, name=quoted(spec.name))
        yield _input(spec, *tensors[spec.name])


def _input(spec: Spec, tensor: pb.Tensor, data: Buffer) -> InputTensor:
    dtype, shape, dims = spec.dtype, spec.shape, tensor.shape.dims
    if tensor.dtype != dtype.number:
        got = BY_NUMBER[tensor.dtype].name if tensor.dtype in BY_NUMBER else f"DataType {tensor.dtype}"
        raise InvalidPacket(Reason.DTYPE_MISMATCH, name=quoted(spec.name), got=got, expected=dtype.name)
    if len(dims) != len(shape) or tuple(dims) != shape:
        sent = list(dims[: MAX_RANK + 1])
        raise InvalidPacket(Reason.SHAPE_MISMATCH, name=quoted(spec.name), got=sent, expected=list(shape))
    expected = expected_size(dtype, shape, data)
    if expected is not None:
        raise InvalidPacket(Reason.SIZE_MISMATCH, got=len(data), expected=expected)
    return InputTensor(spec.name, dtype, shape, data)

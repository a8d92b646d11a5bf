"""Whether a packet is well-formed: the one pure module through which every byte from outside goes.

The contract's rules in the contract's order; nothing here calls anybody. `tests/property` drives it whole.
"""

from __future__ import annotations

import contextlib
import enum
import math
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NUMBER, DType
from multimodal_contract.wire import Buffer, EnvelopeTooLargeError, Lifter

# numpy's own limit in its first major version. Without one, the product of a million dimensions is a number of
# megabytes that takes minutes to multiply.
MAX_RANK = 32
# All of a packet but its tensors' data. Parsed, it takes 65 times as much memory, and some of it comes back in the Ack.
MAX_ENVELOPE_BYTES = 64 * 1024
# Names of models, versions and tensors, and correlation ids; in bytes of UTF-8.
MAX_NAME_BYTES = 255
MAX_CORRELATION_ID_BYTES = 1024
# Inputs, outputs, tensors and extras, each: all of them are looked at, one by one, where other callers wait.
MAX_ENTRIES = 256
_LONGEST_NAME = 80
# Controls that are remembered; a longer one is checked anew each time, since callers choose what is in it.
_CONTROLS = 512
_LONGEST_CONTROL = 1024
# Asking the enum each time makes a list each time.
_VALUES = {kind.DESCRIPTOR.name: frozenset(kind.values()) for kind in (pb.DataType, pb.StreamEvent, pb.OutputEncoding)}
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
_LENGTH = struct.Struct("<I")
# Of what has many elements so many are counted by one thread at a time, then by another, and all other threads run in
# between: Python's one lock would otherwise be with those that count.
_ELEMENTS_AT_ONCE = 10_000
_COUNTED_ALONE_BYTES = 64 * 1024
_COUNTING = threading.Lock()


class Reason(enum.Enum):
    """Why a packet is not inferred: the Ack's status, and the text that the caller reads."""

    NOT_A_PACKET = (
        pb.BAD_REQUEST,
        "packet does not parse as multimodal.DataPacket; use stubs of proto/multimodal.proto, strings being UTF-8",
    )
    ENVELOPE_TOO_LARGE = (
        pb.BAD_REQUEST,
        "packet has more than " + str(MAX_ENVELOPE_BYTES) + " bytes, or too many fields, beside its tensors' data; "
        "send shorter names and fewer inputs, outputs and extras",
    )
    TOO_MANY = (pb.BAD_REQUEST, "{field} has {got} entries; expected at most {expected}")
    TOO_LONG = (pb.BAD_REQUEST, "{field} has {got} bytes; expected at most {expected}")
    MISSING_CONTROL = (
        pb.BAD_REQUEST,
        "missing control: every packet needs a Control that names model, inputs and outputs",
    )
    MISSING_FIELD = (pb.BAD_REQUEST, "missing {field}: {hint}")
    UNKNOWN_VALUE = (pb.BAD_REQUEST, "{field} has the unknown value {value}; expected one of {expected}")
    REPEATED_NAME = (pb.BAD_REQUEST, "{field} repeats the name {name}; each name may stand once")
    BAD_TIMEOUT = (pb.BAD_REQUEST, "control.timeout_secs is {value}; expected 0 or more seconds, 0 for the default")
    NEGATIVE_DIMENSION = (
        pb.BAD_REQUEST,
        "{field} {shape} has a negative dimension; expected the dimensions of the tensor sent, not the model's -1",
    )
    TOO_MANY_DIMENSIONS = (pb.BAD_REQUEST, "{field} has {rank} dimensions; expected at most " + str(MAX_RANK))
    UNSUPPORTED_SOURCE = (pb.UNSUPPORTED, "{field} is {value}; only SRC_TENSOR is served")
    UNSUPPORTED_PAYLOAD = (pb.UNSUPPORTED, "payload {kind} is not served; send the decoded data as a tensor")
    MISSING_TENSOR = (pb.BAD_REQUEST, "missing tensor: the packet brings no data for control.inputs")
    TENSOR_TWICE = (pb.BAD_REQUEST, "packet has both tensor and tensors; expected one of them")
    TENSOR_COUNT = (pb.BAD_REQUEST, "packet has one tensor for {count} inputs; send them by name in tensors")
    TENSOR_MISSING = (pb.BAD_REQUEST, "missing tensor: tensors has none for control.inputs {name}")
    TENSOR_UNKNOWN = (pb.BAD_REQUEST, "tensors names {name}, which control.inputs does not")
    DTYPE_MISMATCH = (pb.BAD_REQUEST, "dtype mismatch: tensor for {name} has {got}, control says {expected}")
    SHAPE_MISMATCH = (pb.BAD_REQUEST, "shape mismatch: tensor for {name} has {got}, control says {expected}")
    MODEL_MISMATCH = (pb.BAD_REQUEST, "{problem}")
    NO_SEQUENCE = (
        pb.BAD_REQUEST,
        "missing SEV_START: model {model} keeps state from packet to packet; begin a sequence of it on this stream",
    )
    DECOUPLED_UNARY = (
        pb.UNSUPPORTED,
        "model {model} is decoupled: it answers any number of times, for which SendUnary has no room; use Chat",
    )
    SIZE_MISMATCH = (pb.BAD_REQUEST, "size mismatch: got {got} bytes, expected {expected}")

    def __init__(self, status: pb.StatusCode.ValueType, text: str) -> None:
        self.status = status
        self.text = text


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
class Input:
    """One input, checked: `data` is exactly what `dtype` and `shape` say.

    Attributes:
        name: name of the model's input.
        dtype: element type.
        shape: dimensions, each 0 or more.
        data: the elements as in the contract's Tensor.data; a view keeps the packet it was sent in.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    data: Buffer


@dataclass(frozen=True)
class Accepted:
    """The packet may go to Triton. Its tensors' data stands in `inputs` only, once there are megabytes of it."""

    packet: pb.DataPacket
    inputs: tuple[Input, ...]


class _Spec(NamedTuple):
    """An input as the control describes it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


class _Refusal(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, reason: Reason, **values: object) -> None:
        self.reason = reason
        self.text = reason.text.format(**values)


def refused(packet: pb.DataPacket, reason: Reason, **values: object) -> Refused:
    """A refusal of a packet that was read.

    Args:
        packet: the packet.
        reason: the row of the contract.
        values: what the reason's text has places for.
    """
    return Refused(packet, reason, reason.text.format(**values))


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
        _check_length("meta.correlation_id", packet.meta.correlation_id, MAX_CORRELATION_ID_BYTES)
        too_many = _too_many(packet)
        if too_many is not None:
            few = pb.Control(model=packet.control.model[:MAX_NAME_BYTES])
            return Refused(pb.DataPacket(meta=packet.meta, control=few), Reason.TOO_MANY, too_many)
        payload = packet.WhichOneof("payload")
        _known(pb.StreamEvent, packet.event, "event")
        if payload is None and not packet.tensors and packet.event in (pb.SEV_START, pb.SEV_END):
            return Noted(packet)
        if not packet.HasField("control"):
            raise _Refusal(Reason.MISSING_CONTROL)
        if payload not in (None, "tensor"):
            _check_control(packet.control, require_model_version)
            raise _Refusal(Reason.UNSUPPORTED_PAYLOAD, kind=payload)
        control = packet.control.SerializeToString()
        read_control = _specs if len(control) <= _LONGEST_CONTROL else _specs.__wrapped__
        specs = read_control(control, require_model_version)
        return Accepted(packet, tuple(_inputs(packet, specs, payload is not None, _data(packet, lifted))))
    except _Refusal as refusal:
        return Refused(packet, refusal.reason, refusal.text)


@lru_cache(_CONTROLS)
def _specs(serialized: bytes, require_model_version: bool) -> tuple[_Spec, ...]:
    """Checks a control, which packet after packet of a stream repeats, and gives its inputs."""
    control = pb.Control.FromString(serialized)
    _check_control(control, require_model_version)
    _check_inputs(control.inputs)
    _check_outputs(control)
    return tuple(_Spec(spec.name, BY_NUMBER[spec.dtype], tuple(spec.shape.dims)) for spec in control.inputs)


def _check_control(control: pb.Control, require_model_version: bool) -> None:
    if not control.model:
        raise _missing("control.model", "name the model")
    _check_length("control.model", control.model)
    _check_length("control.model_version", control.model_version)
    if not control.model_version and require_model_version:
        raise _missing("control.model_version", "name the version, or let the operator set REQUIRE_MODEL_VERSION=false")
    if not control.inputs:
        raise _missing("control.inputs", "describe each input tensor")
    if not control.outputs:
        raise _missing("control.outputs", "name each output that is wanted")
    if not 0 <= control.timeout_secs < math.inf:  # Not a number fails here too.
        raise _Refusal(Reason.BAD_TIMEOUT, value=control.timeout_secs)
    _known(pb.OutputEncoding, control.output_encoding, "control.output_encoding")


def _check_inputs(inputs: Sequence[pb.InputSpec]) -> None:
    for index, spec in enumerate(inputs):
        field = f"control.inputs[{index}]"
        source = getattr(spec, "from")
        if source != pb.SRC_TENSOR:
            value = pb.SourceKind.Name(source) if source in pb.SourceKind.values() else source
            raise _Refusal(Reason.UNSUPPORTED_SOURCE, field=f"{field}.from", value=value)
        if not spec.name:
            raise _missing(f"{field}.name", "name the model's input")
        _check_length(f"{field}.name", spec.name)
        if not spec.HasField("shape"):
            raise _missing(f"{field}.shape", "give the tensor's dimensions")
        if spec.dtype == pb.DT_INVALID:
            raise _missing(f"{field}.dtype", "give the tensor's element type")
        _known(pb.DataType, spec.dtype, f"{field}.dtype")
        if len(spec.shape.dims) > MAX_RANK:
            raise _Refusal(Reason.TOO_MANY_DIMENSIONS, field=f"{field}.shape", rank=len(spec.shape.dims))
        if any(dimension < 0 for dimension in spec.shape.dims):
            raise _Refusal(Reason.NEGATIVE_DIMENSION, field=f"{field}.shape", shape=list(spec.shape.dims))
    _check_repeats("control.inputs", [spec.name for spec in inputs])


def _check_outputs(control: pb.Control) -> None:
    for index, spec in enumerate(control.outputs):
        if not spec.name:
            raise _missing(f"control.outputs[{index}].name", "name the model's output")
        _check_length(f"control.outputs[{index}].name", spec.name)
    _check_repeats("control.outputs", [spec.name for spec in control.outputs])


def _check_repeats(field: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _Refusal(Reason.REPEATED_NAME, field=field, name=_quoted(name))
        seen.add(name)


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


def _check_length(field: str, text: str, most: int = MAX_NAME_BYTES) -> None:
    # A character has four bytes at most.
    if len(text) > most // 4 and len(text.encode()) > most:
        raise _Refusal(Reason.TOO_LONG, field=field, got=len(text.encode()), expected=most)


def _data(packet: pb.DataPacket, lifted: tuple[list[memoryview], ...] | None) -> Sequence[Buffer]:
    """The data of the tensor, or of each of the tensors, of which a packet that is accepted has one kind only."""
    if lifted is not None:
        return [*lifted[0], *lifted[1]]
    return [packet.tensor.data] if packet.HasField("tensor") else [named.tensor.data for named in packet.tensors]


def _inputs(packet: pb.DataPacket, specs: Sequence[_Spec], has_tensor: bool, data: Sequence[Buffer]) -> Iterator[Input]:
    if has_tensor and packet.tensors:
        raise _Refusal(Reason.TENSOR_TWICE)
    if has_tensor:
        if len(specs) != 1:
            raise _Refusal(Reason.TENSOR_COUNT, count=len(specs))
        yield _input(specs[0], packet.tensor, data[0])
        return
    if not packet.tensors:
        raise _Refusal(Reason.MISSING_TENSOR)
    _check_repeats("tensors", [named.name for named in packet.tensors])
    tensors = {named.name: (named.tensor, content) for named, content in zip(packet.tensors, data, strict=True)}
    wanted = {spec.name for spec in specs}
    for name in tensors:
        if name not in wanted:
            raise _Refusal(Reason.TENSOR_UNKNOWN, name=_quoted(name))
    for spec in specs:
        if spec.name not in tensors:
            raise _Refusal(Reason.TENSOR_MISSING, name=_quoted(spec.name))
        yield _input(spec, *tensors[spec.name])


def _input(spec: _Spec, tensor: pb.Tensor, data: Buffer) -> Input:
    dtype, shape, dims = spec.dtype, spec.shape, tensor.shape.dims
    if tensor.dtype != dtype.number:
        got = BY_NUMBER[tensor.dtype].name if tensor.dtype in BY_NUMBER else f"DataType {tensor.dtype}"
        raise _Refusal(Reason.DTYPE_MISMATCH, name=_quoted(spec.name), got=got, expected=dtype.name)
    if len(dims) != len(shape) or tuple(dims) != shape:
        sent = list(dims[: MAX_RANK + 1])
        raise _Refusal(Reason.SHAPE_MISMATCH, name=_quoted(spec.name), got=sent, expected=list(shape))
    elements = math.prod(shape)
    if dtype.size is None:
        problem = _bytes_problem(data, elements)
        if problem is not None:
            raise _Refusal(Reason.SIZE_MISMATCH, got=len(data), expected=problem)
    elif len(data) != elements * dtype.size:
        raise _Refusal(Reason.SIZE_MISMATCH, got=len(data), expected=elements * dtype.size)
    return Input(spec.name, dtype, shape, data)


def _bytes_problem(data: Buffer, elements: int) -> str | None:
    """What is wrong with BYTES data: elements of a 4-byte little-endian length and that many bytes each."""
    expected = f"{elements} BYTES elements, each a 4-byte little-endian length and that many bytes"
    size, position, length_at = len(data), 0, _LENGTH.unpack_from
    alone = _COUNTING if size > _COUNTED_ALONE_BYTES else contextlib.nullcontext()
    for first in range(0, elements, _ELEMENTS_AT_ONCE):
        with alone:
            # Ends with the data, however many elements the shape says there are.
            for index in range(first, min(first + _ELEMENTS_AT_ONCE, elements)):
                if position + 4 > size:
                    return f"{expected}; the data ends before element {index}"
                position += 4 + length_at(data, position)[0]
                if position > size:
                    return f"{expected}; element {index} reaches to byte {position}"
        time.sleep(0)
    return None if position == size else f"{expected}; they end at byte {position}"


def _missing(field: str, hint: str) -> _Refusal:
    return _Refusal(Reason.MISSING_FIELD, field=field, hint=hint)


def _known(kind: type[pb.DataType] | type[pb.StreamEvent] | type[pb.OutputEncoding], value: int, field: str) -> None:
    if value not in _VALUES[kind.DESCRIPTOR.name]:
        raise _Refusal(Reason.UNKNOWN_VALUE, field=field, value=value, expected=", ".join(kind.keys()))


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…")

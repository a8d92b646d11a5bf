"""Why a packet is not inferred: the rows of the contract, and the bounds that they name."""

from __future__ import annotations

import enum

from multimodal_contract import pb
from triton_proxy.inference.rejection import Unfit

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


# Where it is the model that the packet does not fit.
OF_MODEL = {
    Unfit.MODEL_MISMATCH: Reason.MODEL_MISMATCH,
    Unfit.NO_SEQUENCE: Reason.NO_SEQUENCE,
    Unfit.DECOUPLED_UNARY: Reason.DECOUPLED_UNARY,
}


class InvalidPacket(Exception):  # noqa: N818 - what the packet is
    """A packet is not well-formed. Raised and caught within the reading of one packet.

    Attributes:
        reason: the row of the contract.
        text: the reason in words, with the packet's own values.
    """

    def __init__(self, reason: Reason, **values: object) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.text = reason.text.format(**values)


def missing(field: str, hint: str) -> InvalidPacket:
    """A field that every packet needs is not there.

    Args:
        field: its path in the packet.
        hint: what to do.
    """
    return InvalidPacket(Reason.MISSING_FIELD, field=field, hint=hint)


def check_length(field: str, text: str, most: int = MAX_NAME_BYTES) -> None:
    """Returns where a text is short enough.

    Args:
        field: its path in the packet.
        text: what stands there.
        most: bytes of UTF-8 that it may have.

    Raises:
        InvalidPacket: it is longer.
    """
    # A character has four bytes at most.
    if len(text) > most // 4 and len(text.encode()) > most:
        raise InvalidPacket(Reason.TOO_LONG, field=field, got=len(text.encode()), expected=most)


def quoted(name: str) -> str:
    """A caller's name as an error shows it: bounded, and in quotes."""
    return repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…")

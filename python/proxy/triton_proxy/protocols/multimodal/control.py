"""Whether a Control is well-formed, and what it says of the inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NUMBER, DType
from triton_proxy.protocols.multimodal.reasons import (
    MAX_RANK,
    InvalidPacket,
    Reason,
    check_length,
    missing,
    quoted,
)

# Controls that are remembered; a longer one is checked anew each time, since callers choose what is in it.
_CONTROLS = 512
_LONGEST_CONTROL = 1024
# Asking the enum each time makes a list each time.
_VALUES = {kind.DESCRIPTOR.name: frozenset(kind.values()) for kind in (pb.DataType, pb.StreamEvent, pb.OutputEncoding)}


class Spec(NamedTuple):
    """An input as the control describes it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


def specs(control: pb.Control, *, require_model_version: bool) -> tuple[Spec, ...]:
    """Checks a control and gives its inputs.

    Args:
        control: the control.
        require_model_version: whether an empty model_version is a mistake.

    Raises:
        InvalidPacket: something is wrong with it.
    """
    serialized = control.SerializeToString()
    read = _specs if len(serialized) <= _LONGEST_CONTROL else _specs.__wrapped__
    return read(serialized, require_model_version)


@lru_cache(_CONTROLS)
def _specs(serialized: bytes, require_model_version: bool) -> tuple[Spec, ...]:
    """Checks a control, which packet after packet of a stream repeats, and gives its inputs."""
    control = pb.Control.FromString(serialized)
    check_control(control, require_model_version)
    _check_inputs(control.inputs)
    _check_outputs(control)
    return tuple(Spec(spec.name, BY_NUMBER[spec.dtype], tuple(spec.shape.dims)) for spec in control.inputs)


def check_control(control: pb.Control, require_model_version: bool) -> None:
    """Checks all of a control but its inputs' and outputs' descriptions.

    Args:
        control: the control.
        require_model_version: whether an empty model_version is a mistake.

    Raises:
        InvalidPacket: something is wrong with it.
    """
    if not control.model:
        raise missing("control.model", "name the model")
    check_length("control.model", control.model)
    check_length("control.model_version", control.model_version)
    if not control.model_version and require_model_version:
        raise missing("control.model_version", "name the version, or let the operator set REQUIRE_MODEL_VERSION=false")
    if not control.inputs:
        raise missing("control.inputs", "describe each input tensor")
    if not control.outputs:
        raise missing("control.outputs", "name each output that is wanted")
    if not 0 <= control.timeout_secs < math.inf:  # Not a number fails here too.
        raise InvalidPacket(Reason.BAD_TIMEOUT, value=control.timeout_secs)
    known(pb.OutputEncoding, control.output_encoding, "control.output_encoding")


def _check_inputs(inputs: Sequence[pb.InputSpec]) -> None:
    for index, spec in enumerate(inputs):
        field = f"control.inputs[{index}]"
        source = getattr(spec, "from")
        if source != pb.SRC_TENSOR:
            value = pb.SourceKind.Name(source) if source in pb.SourceKind.values() else source
            raise InvalidPacket(Reason.UNSUPPORTED_SOURCE, field=f"{field}.from", value=value)
        if not spec.name:
            raise missing(f"{field}.name", "name the model's input")
        check_length(f"{field}.name", spec.name)
        if not spec.HasField("shape"):
            raise missing(f"{field}.shape", "give the tensor's dimensions")
        if spec.dtype == pb.DT_INVALID:
            raise missing(f"{field}.dtype", "give the tensor's element type")
        known(pb.DataType, spec.dtype, f"{field}.dtype")
        if len(spec.shape.dims) > MAX_RANK:
            raise InvalidPacket(Reason.TOO_MANY_DIMENSIONS, field=f"{field}.shape", rank=len(spec.shape.dims))
        if any(dimension < 0 for dimension in spec.shape.dims):
            raise InvalidPacket(Reason.NEGATIVE_DIMENSION, field=f"{field}.shape", shape=list(spec.shape.dims))
    check_repeats("control.inputs", [spec.name for spec in inputs])


def _check_outputs(control: pb.Control) -> None:
    for index, spec in enumerate(control.outputs):
        if not spec.name:
            raise missing(f"control.outputs[{index}].name", "name the model's output")
        check_length(f"control.outputs[{index}].name", spec.name)
    check_repeats("control.outputs", [spec.name for spec in control.outputs])


def check_repeats(field: str, names: Sequence[str]) -> None:
    """Returns where each name stands once.

    Args:
        field: where the names stand in the packet.
        names: the names.

    Raises:
        InvalidPacket: one is repeated.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidPacket(Reason.REPEATED_NAME, field=field, name=quoted(name))
        seen.add(name)


def known(kind: type[pb.DataType] | type[pb.StreamEvent] | type[pb.OutputEncoding], value: int, field: str) -> None:
    """Returns where the enum has the value.

    Args:
        kind: the enum.
        value: what the packet says.
        field: where it stands in the packet.

    Raises:
        InvalidPacket: it has not.
    """
    if value not in _VALUES[kind.DESCRIPTOR.name]:
        raise InvalidPacket(Reason.UNKNOWN_VALUE, field=field, value=value, expected=", ".join(kind.keys()))

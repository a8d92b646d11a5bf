"""What Triton itself feeds a model beside the inputs that callers give: sequence controls, states and batch inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from mm_publisher.config import ModelConfig, datatype_name

_CONTROL = pb.ModelSequenceBatching.Control
_BATCH = pb.BatchInput
# The Boolean controls, with the value that a sequence's first request gets, when it is not its last one.
_FIRST = {
    _CONTROL.CONTROL_SEQUENCE_START: True,
    _CONTROL.CONTROL_SEQUENCE_END: False,
    _CONTROL.CONTROL_SEQUENCE_READY: True,
}
_VALUES = {"int32_false_true": "INT32", "fp32_false_true": "FP32", "bool_false_true": "BOOL"}


@dataclass(frozen=True)
class Control:
    """One kind of a sequence control: a tensor of one element for each request.

    Attributes:
        name: the model's input.
        kind: Triton's name of the kind, such as "CONTROL_SEQUENCE_START".
        datatype: Triton's name of its element type.
        first: its value in the first request of a sequence.
    """

    name: str
    kind: str
    datatype: str
    first: float


@dataclass(frozen=True)
class State:
    """A tensor that the model gives after one request of a sequence and gets before the next.

    Attributes:
        input_name: the model's input.
        output_name: the model's output.
        datatype: Triton's name of its element type.
        dims: its dimensions, without the batch dimension; -1 for any.
    """

    input_name: str
    output_name: str
    datatype: str
    dims: tuple[int, ...]

    @property
    def first_dims(self) -> tuple[int, ...]:
        """Dimensions at the first request of a sequence; Triton then has no free ones (SequenceStates::Initialize)."""
        return tuple(1 if dim == -1 else dim for dim in self.dims)


@dataclass(frozen=True)
class BatchInput:
    """A tensor that tells a model about a ragged batch.

    Attributes:
        targets: the model's inputs that get it.
        kind: Triton's name of the kind, such as "BATCH_ELEMENT_COUNT".
        datatype: Triton's name of its element type.
        source: the input that it describes.
    """

    targets: tuple[str, ...]
    kind: str
    datatype: str
    source: str


def controls(config: ModelConfig) -> tuple[Control, ...]:
    """The sequence controls of a configuration, one for each kind of each tensor."""
    return tuple(
        _control(tensor.name, control)
        for tensor in config.proto.sequence_batching.control_input
        for control in tensor.control
    )


def states(config: ModelConfig) -> tuple[State, ...]:
    """The states of a configuration."""
    return tuple(
        State(item.input_name, item.output_name, datatype_name(item.data_type), tuple(item.dims))
        for item in config.proto.sequence_batching.state
    )


def batch_inputs(config: ModelConfig) -> tuple[BatchInput, ...]:
    """The batch inputs of a configuration."""
    return tuple(
        BatchInput(
            tuple(item.target_name), _BATCH.Kind.Name(item.kind), datatype_name(item.data_type), item.source_input[0]
        )
        for item in config.proto.batch_input
    )


def claims(config: ModelConfig) -> Mapping[str, list[str]]:
    """Where a configuration names each of the model's inputs: once, if it is right.

    Returns:
        The fields of config.pbtxt by the name of the input.
    """
    found: dict[str, list[str]] = {}
    for field, names in (
        ("input", [tensor.name for tensor in config.inputs]),
        ("control_input", [control.name for control in controls(config)]),
        ("state", [state.input_name for state in states(config)]),
        ("batch_input", [name for item in batch_inputs(config) for name in item.targets]),
    ):
        for name in names:
            found.setdefault(name, []).append(field)
    return found


def batch_output_names(config: ModelConfig) -> Mapping[str, str]:
    """The outputs that Triton cuts up by a ragged input's shape, each with that input."""
    return {name: item.source_input[0] for item in config.proto.batch_output for name in item.target_name}


def batch_values(kind: str, source: tuple[int, ...]) -> tuple[tuple[int, ...], list[int]]:
    """What a batch input holds where the batch is a single request.

    As BackendInputCollector::BatchInputShape and ProcessBatchInput have it (backend_input_collector.cc of
    triton-inference-server/backend).

    Args:
        kind: Triton's name of the kind.
        source: shape of the request's source input, batch included.

    Returns:
        Its shape, and its values in C order.
    """
    count, rows, item = math.prod(source), source[0], list(source[1:])
    shape, values = {
        "BATCH_ELEMENT_COUNT": ((1,), [count]),
        "BATCH_ACCUMULATED_ELEMENT_COUNT": ((1,), [count]),
        "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": ((2,), [0, count]),
        # Its shape alone tells something.
        "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": ((count,), [0] * count),
        "BATCH_ITEM_SHAPE": ((rows, len(item)), item * rows),
        "BATCH_ITEM_SHAPE_FLATTEN": ((rows * len(item),), item * rows),
    }[kind]
    return shape, values


def _control(name: str, control: Any) -> Control:
    kind = _CONTROL.Kind.Name(control.kind)
    if control.kind not in _FIRST:
        return Control(name, kind, datatype_name(control.data_type), 1)
    field = next(field for field in _VALUES if getattr(control, field))
    return Control(name, kind, _VALUES[field], getattr(control, field)[_FIRST[control.kind]])

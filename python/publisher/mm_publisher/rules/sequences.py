"""Sequence batching: what core's ValidateModelConfig, SequenceBatchScheduler and SequenceStates want of it.

Control inputs are checked by GetBooleanSequenceControlProperties and GetTypedSequenceControlProperties in
model_config_utils.cc, initial states by GenerateInitialStateData in sequence_batch_scheduler.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

_CONTROL = pb.ModelSequenceBatching.Control
_IDS = (pb.TYPE_UINT64, pb.TYPE_INT64, pb.TYPE_UINT32, pb.TYPE_INT32, pb.TYPE_STRING)
_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_DIRECT_RANGE = (0.0, 1.0)


def problems(config: Any) -> Iterator[str]:
    """What is wrong with a configuration's sequence batching.

    Args:
        config: an `inference.ModelConfig` that has `sequence_batching`.

    Yields:
        A sentence for each: what is wrong, what is expected, what to do.
    """
    batching = config.sequence_batching
    if config.response_cache.enable:
        yield "response_cache is on, with sequence_batching; expected one of them; remove response_cache"
    yield from _controls(batching)
    if batching.HasField("oldest"):
        for size in batching.oldest.preferred_batch_size:
            if not 0 < size <= config.max_batch_size:
                yield (
                    f"sequence_batching prefers batches of {size}; expected from 1 to max_batch_size, which is "
                    f"{config.max_batch_size}; correct preferred_batch_size"
                )
    least, most = _DIRECT_RANGE
    if batching.HasField("direct") and not least <= batching.direct.minimum_slot_utilization <= most:
        found = batching.direct.minimum_slot_utilization
        yield f"minimum_slot_utilization is {found:g}; expected from 0 to 1; correct it"
    for state in batching.state:
        yield from _state(state)
    yield from _order(batching.state)


def _controls(batching: Any) -> Iterator[str]:
    names, kinds = set(), set()
    for tensor in batching.control_input:
        if not tensor.name:
            yield "a control_input has no name; expected the model's name of that input; add it"
        elif tensor.name in names:
            yield f"control_input {tensor.name!r} is there twice; expected each name once; put its controls together"
        names.add(tensor.name)
        for control in tensor.control:
            said = f"control_input {tensor.name!r}, {_CONTROL.Kind.Name(control.kind)},"
            if control.kind in kinds:
                yield f"{said} is there twice; expected each kind once; remove the other"
            kinds.add(control.kind)
            yield from _control(said, control)


def _control(said: str, control: Any) -> Iterator[str]:
    given = [field for field in _VALUES if getattr(control, field)]
    if control.kind == _CONTROL.CONTROL_SEQUENCE_CORRID:
        if given:
            yield f"{said} has {', '.join(given)}; expected a data_type alone; remove them"
        if control.data_type not in _IDS:
            yield (
                f"{said} is of {pb.DataType.Name(control.data_type)}; expected TYPE_UINT64, TYPE_INT64, TYPE_UINT32, "
                "TYPE_INT32 or TYPE_STRING; correct its data_type"
            )
    elif len(given) != 1:
        yield f"{said} has {', '.join(given) or 'no values'}; expected one of {', '.join(_VALUES)}; correct it"
    elif len(getattr(control, given[0])) != 2:
        yield f"{said} has {len(getattr(control, given[0]))} values; expected two, for false and true; correct it"


def _state(state: Any) -> Iterator[str]:
    said = f"the initial_state of {state.input_name!r}"
    if len(state.initial_state) > 1:
        yield f"{said} is there {len(state.initial_state)} times; expected once at most; remove the others"
    for initial in state.initial_state[:1]:
        wanted, dims = list(state.dims), list(initial.dims)
        if initial.data_type != state.data_type:
            expected = pb.DataType.Name(state.data_type)
            yield f"{said} has another data_type than the state; expected {expected}; correct it"
        if not initial.name:
            yield f"{said} has no name; expected any; add one"
        if len(dims) != len(wanted) or any(
            dim == -1 or want not in (-1, dim) for dim, want in zip(dims, wanted, strict=True)
        ):
            yield f"{said} has dims {dims}; expected numbers that fit the state's dims {wanted}; correct them"
        source = initial.WhichOneof("state_data")
        if source is None:
            yield f"{said} has no data; expected zero_data: true; add it"
        elif source == "data_file":
            yield (
                f"{said} is read from the file {initial.data_file}, which all versions would share; expected "
                "zero_data: true; let the model take its first state from CONTROL_SEQUENCE_START"
            )


def _order(states: Any) -> Iterator[str]:
    """SequenceStates::OutputState pairs states by the order of their sorted names, not as configured (server #8586)."""
    by_input = [state.output_name for state in sorted(states, key=lambda state: state.input_name)]
    if by_input != sorted(by_input):
        pairs = ", ".join(f"{state.input_name} from {state.output_name}" for state in states)
        yield (
            f"Triton would mix up the states {pairs}: it pairs sorted input names with sorted output names; expected "
            "both in the same order; rename the model's inputs or outputs, such as by a common prefix"
        )

"""Ensembles: by themselves, and against the models of their steps.

By itself, core's ValidateEnsembleSchedulingConfig (model_config_utils.cc) judges one; against its steps,
ValidateEnsembleConfig and ValidateTensorMapping (ensemble_utils.cc), and the dependencies of
model_repository_manager.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from mm_publisher.config import ModelConfig

PLATFORM = "ensemble"
_LATEST = -1


@dataclass(frozen=True)
class StepModel:
    """A model as it lies in the repository.

    Attributes:
        config: its configuration.
        serving: the versions that serve.
    """

    config: ModelConfig
    serving: tuple[int, ...]


@dataclass(frozen=True)
class _Node:
    """A tensor of the ensemble, as one of its models has it."""

    model: str
    datatype: int
    dims: tuple[int, ...]
    batching: bool

    @property
    def full(self) -> tuple[int, ...]:
        return ((-1,) if self.batching else ()) + self.dims


def problems(proto: Any) -> Iterator[str]:
    """What is wrong with an ensemble, whatever its steps' models are.

    Args:
        proto: an `inference.ModelConfig`, of any kind of model.

    Yields:
        A sentence for each: what is wrong, what is expected, what to do.
    """
    if not proto.HasField("ensemble_scheduling"):
        if proto.platform == PLATFORM:
            yield "the platform is 'ensemble', without ensemble_scheduling; expected its steps there; add them"
        return
    if proto.platform != PLATFORM:
        yield 'ensemble_scheduling is for ensembles; expected platform: "ensemble" beside it; remove one of them'
    for field, there in (
        ("instance_group", proto.instance_group),
        ("optimization", proto.HasField("optimization")),
        ("model_warmup", proto.model_warmup),
    ):
        if there:
            yield f"an ensemble has {field}; expected it in the steps' own models; remove it"
    steps = proto.ensemble_scheduling.step
    if not steps:
        yield "ensemble_scheduling has no step; expected at least one; add it"
    incomplete = [
        f"step {number} has no {field}; expected one; add it"
        for number, step in enumerate(steps)
        for field in ("model_name", "input_map", "output_map")
        if not getattr(step, field)
    ]
    yield from incomplete
    if steps and not incomplete:
        yield from _made_once(steps)
        yield from _flow(proto, steps)


def _made_once(steps: Sequence[Any]) -> Iterator[str]:
    made: dict[str, int] = {}
    for number, step in enumerate(steps):
        for tensor in step.output_map.values():
            if tensor in made:
                yield (
                    f"the tensor {tensor!r} comes from step {made[tensor]} and from step {number}; expected from one; "
                    "rename one of them"
                )
            made.setdefault(tensor, number)


def _ready(inputs: set[str], steps: Sequence[Any]) -> set[str]:
    """What can be made of the inputs, themselves included."""
    ready = set(inputs)
    while True:
        more = {
            tensor for step in steps if ready.issuperset(step.input_map.values()) for tensor in step.output_map.values()
        }
        if more <= ready:
            return ready
        ready |= more


def _flow(proto: Any, steps: Sequence[Any]) -> Iterator[str]:
    made = {tensor for step in steps for tensor in step.output_map.values()}
    taken = {tensor for step in steps for tensor in step.input_map.values()}
    inputs = {tensor.name for tensor in proto.input}
    ready = _ready(inputs, steps)
    for name in sorted(inputs - taken - made):
        yield f"the ensemble's input {name!r} goes into no step; expected one that takes it; map it, or remove it"
    outputs = {tensor.name for tensor in proto.output}
    for name in sorted(outputs - made - taken):
        yield f"the ensemble's output {name!r} comes from no step; expected one that makes it; map it, or remove it"
    from_nowhere = taken - made - ready
    for name in sorted(from_nowhere):
        yield (
            f"the tensor {name!r} comes from no step and is no input; expected every tensor to come from the "
            "ensemble's inputs; correct the input_map, or add the input"
        )
    waiting = sorted(made - ready)
    if waiting and not from_nowhere:
        yield (
            f"the tensors {', '.join(waiting)} wait for each other; expected each to come from the ensemble's inputs; "
            "correct the input_map"
        )
    for name in sorted((made & ready) - taken - outputs):
        yield f"the tensor {name!r} goes nowhere; expected a step or an output that takes it; remove it, or map it"


def against_repository(config: ModelConfig, name: str, find: Callable[[str], StepModel | None]) -> list[str]:
    """Holds an ensemble against the models of its steps.

    Args:
        config: an ensemble's, in which `problems` finds nothing.
        name: the ensemble's.
        find: gives a model of the repository; None where it has none of that name that can be read.

    Returns:
        A sentence for each thing that would keep Triton from loading it.
    """
    proto = config.proto
    found: dict[int, ModelConfig] = {}
    wrong = []
    for number, step in enumerate(proto.ensemble_scheduling.step):
        wanted, model = step.model_name, find(step.model_name)
        if wanted == name or (model is not None and name in _needed(model.config, find, set())):
            wrong.append(
                f"step {number} is the model {wanted!r}, which needs this ensemble itself; expected no circle; correct "
                "model_name"
            )
        elif model is None:
            wrong.append(
                f"step {number} wants the model {wanted!r}, which the repository lacks; expected it to be there first; "
                "publish it, or correct model_name"
            )
        elif not model.serving or step.model_version not in (_LATEST, *model.serving):
            # One that is left out is version 0 to Triton.
            serving = ", ".join(map(str, model.serving)) or "none"
            wrong.append(
                f"step {number} wants version {step.model_version} of {wanted!r}, of which serve: {serving}; expected "
                f"one of them, or model_version: {_LATEST} for the latest; correct it"
            )
        else:
            found[number] = model.config
    if wrong:
        return wrong
    return [*_tensor_problems(config, name, found), *_decoupled_problems(proto, found)]


def _needed(config: ModelConfig, find: Callable[[str], StepModel | None], seen: set[str]) -> set[str]:
    for step in config.proto.ensemble_scheduling.step:
        if step.model_name not in seen:
            seen.add(step.model_name)
            model = find(step.model_name)
            if model is not None:
                _needed(model.config, find, seen)
    return seen


def _tensor_problems(config: ModelConfig, ensemble: str, found: Mapping[int, ModelConfig]) -> Iterator[str]:
    proto = config.proto
    batching = proto.max_batch_size > 0
    nodes = {
        tensor.name: _Node(
            ensemble,
            tensor.data_type,
            tuple(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims),
            batching,
        )
        for tensor in (*proto.input, *proto.output)
    }
    for number, model in found.items():
        step = proto.ensemble_scheduling.step[number]
        said = f"step {number}, {step.model_name},"
        most = model.max_batch_size
        if 0 < most < proto.max_batch_size:
            yield (
                f"the ensemble takes batches of {proto.max_batch_size}, and {said} of {most}; expected at most {most}; "
                "correct max_batch_size"
            )
        for kind, tensors, mapped in (
            ("input", model.proto.input, step.input_map),
            ("output", model.proto.output, step.output_map),
        ):
            known = {tensor.name: tensor for tensor in tensors}
            for name in sorted(mapped.keys() - known.keys()):
                yield (
                    f"{said} has no {kind} {name!r}; expected one of {', '.join(sorted(known))}; correct its {kind}_map"
                )
            if kind == "input":
                for name in sorted(known.keys() - mapped.keys()):
                    if not known[name].optional:
                        yield f"{said} needs its input {name!r}; expected a tensor for it; add it to the input_map"
            for name in sorted(mapped.keys() & known.keys()):
                tensor = known[name]
                node = _Node(step.model_name, tensor.data_type, tuple(tensor.dims), most > 0)
                yield from _difference(mapped[name], nodes.setdefault(mapped[name], node), node)


def _difference(name: str, one: _Node, other: _Node) -> Iterator[str]:
    if one.datatype != other.datatype:
        yield (
            f"the tensor {name!r} is {pb.DataType.Name(one.datatype)} by {one.model} and "
            f"{pb.DataType.Name(other.datatype)} by {other.model}; expected one type; correct one of them"
        )
    elif not (_fit(one.dims, other.dims) or _fit(one.full, other.full)):
        yield (
            f"the tensor {name!r} has dimensions {list(one.full)} by {one.model} and {list(other.full)} by "
            f"{other.model}, batch included; expected equal ones, where -1 fits any; correct one of them"
        )


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(-1 in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _decoupled_problems(proto: Any, found: Mapping[int, ModelConfig]) -> Iterator[str]:
    """A step's inputs must stem from one decoupled model at most: its answers have no fellows from another."""
    origins = {tensor.name: "the ensemble's inputs" for tensor in proto.input}
    left = dict(found)
    while True:
        able = [
            number
            for number in left
            if all(name in origins for name in proto.ensemble_scheduling.step[number].input_map.values())
        ]
        if not able:
            return
        for number in able:
            step, decoupled = proto.ensemble_scheduling.step[number], left.pop(number).decoupled
            sources = {origins[name] for name in step.input_map.values()}
            if len(sources) > 1:
                yield (
                    f"step {number}, {step.model_name}, gets inputs from {' and from '.join(sorted(sources))}; "
                    "expected one source, since a decoupled model answers as often as it likes; correct the input_map"
                )
            origin = f"step {number}, which is decoupled" if decoupled else sorted(sources)[0]
            origins.update(dict.fromkeys(step.output_map.values(), origin))

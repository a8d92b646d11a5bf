"""What Triton's core refuses of a configuration by itself, before it looks at the model's file.

ValidateModelConfig and ValidateInstanceGroup in model_config_utils.cc of triton-inference-server/core, and
GenerateWarmupData in backend_model_instance.cc; the rest is in the modules that this one calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from mm_publisher import fed
from mm_publisher.config import FILE, ModelConfig, Tensor, datatype_name
from mm_publisher.rules import ensembles, sequences, tensors

# Each backend that core knows, with the platforms that may stand beside it.
_PAIRS = {
    "onnxruntime": ("onnxruntime_onnx",),
    "tensorrt": ("tensorrt_plan",),
    "pytorch": ("pytorch_libtorch",),
    "tensorflow": ("tensorflow_savedmodel", "tensorflow_graphdef"),
}
# The backends whose BackendModel takes none (BackendModel::ParseModelConfig in backend_model.cc of
# triton-inference-server/backend, as tensorrt_model.cc and libtorch.cc call it).
_WITHOUT_OPTIONAL = ("tensorrt", "pytorch")
_DELAY = pb.ModelQueuePolicy.DELAY


def problems(config: ModelConfig) -> list[str]:
    """What is wrong with a configuration, whatever the model's file holds.

    Args:
        config: with its backend filled in, as `completing` does.

    Returns:
        A sentence for each: what is wrong, what is expected, what to do.
    """
    proto = config.proto
    return [
        *_backend(proto),
        *_sizes(proto),
        *tensors.problems(proto, config.backend),
        *_dynamic(proto),
        *(sequences.problems(proto) if proto.HasField("sequence_batching") else ()),
        *ensembles.problems(proto),
        *_instances(proto, config.backend),
        *_warmup(config),
        *_answers(proto),
        *_optional(config),
    ]


def _backend(proto: Any) -> Iterator[str]:
    known = [platform for platforms in _PAIRS.values() for platform in platforms]
    if not proto.backend and proto.platform not in (*known, ensembles.PLATFORM):
        said = f"the platform {proto.platform!r}, which is none of Triton's" if proto.platform else "no backend"
        yield f'{FILE} names {said}; expected one such as backend: "onnxruntime"; add it'
    elif proto.backend and proto.platform == ensembles.PLATFORM:
        yield (
            f"{FILE} has backend {proto.backend!r} and platform 'ensemble'; expected an ensemble without backend; "
            "remove one of them"
        )
    elif proto.backend in _PAIRS and proto.platform and proto.platform not in _PAIRS[proto.backend]:
        yield (
            f"{FILE} has backend {proto.backend!r} and platform {proto.platform!r}; expected "
            f"{' or '.join(_PAIRS[proto.backend])} with this backend; remove the platform"
        )
    elif proto.backend == "tensorflow" and not proto.platform:
        yield (
            f"{FILE} has backend 'tensorflow' without a platform; expected {' or '.join(_PAIRS['tensorflow'])}; add it"
        )


def _sizes(proto: Any) -> Iterator[str]:
    if proto.max_batch_size < 0:
        yield f"max_batch_size is {proto.max_batch_size}; expected 0 for none, or from 1; correct it"


def _dynamic(proto: Any) -> Iterator[str]:
    if not proto.HasField("dynamic_batching"):
        return
    batching = proto.dynamic_batching
    for size in batching.preferred_batch_size:
        if not 0 < size <= proto.max_batch_size:
            yield (
                f"dynamic_batching prefers batches of {size}; expected from 1 to max_batch_size, which is "
                f"{proto.max_batch_size}; correct preferred_batch_size"
            )
    levels = batching.priority_levels
    if levels and not 0 < batching.default_priority_level <= levels:
        yield (
            f"default_priority_level is {batching.default_priority_level}; expected from 1 to priority_levels, which "
            f"is {levels}; correct it"
        )
    for level in sorted(batching.priority_queue_policy):
        if levels and not 0 < level <= levels:
            yield (
                f"priority_queue_policy has the level {level}; expected from 1 to priority_levels, which is {levels}; "
                "correct it"
            )
    if batching.preserve_ordering and levels > 1:
        yield f"preserve_ordering is on, with {levels} priority_levels; expected one at most; remove one of them"
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if batching.preserve_ordering and any(
        policy.default_timeout_microseconds and policy.timeout_action == _DELAY for policy in policies
    ):
        yield "preserve_ordering is on, with the timeout_action DELAY; expected REJECT; correct one of them"


def _instances(proto: Any, backend: str) -> Iterator[str]:
    if proto.HasField("ensemble_scheduling"):
        return
    group = pb.ModelInstanceGroup
    for number, found in enumerate(proto.instance_group):
        said = f"instance_group {found.name or number}"
        if found.gpus and found.kind in (group.KIND_CPU, group.KIND_MODEL):
            yield (
                f"{said} is of {group.Kind.Name(found.kind)} and has gpus {list(found.gpus)}; expected these with "
                "KIND_GPU only; remove them, or correct the kind"
            )
        if found.profile and backend != "tensorrt":
            yield f"{said} has a profile; expected one with TensorRT only; remove it"


def _warmup(config: ModelConfig) -> Iterator[str]:
    tensors_by_name = {tensor.name: tensor for tensor in config.inputs}
    most = max(config.max_batch_size, 1)
    for warmup in config.proto.model_warmup:
        if not warmup.batch_size:
            # Triton leaves these out.
            continue
        said = f"model_warmup {warmup.name!r}"
        if warmup.batch_size > most:
            yield f"{said} has batch_size {warmup.batch_size}; expected at most {most}; correct it"
        for name in sorted(tensors_by_name.keys() - warmup.inputs.keys()):
            if not tensors_by_name[name].optional:
                yield f"{said} lacks the input {name!r}; expected all that are not optional; add it"
        for name, data in sorted(warmup.inputs.items()):
            if name not in fed.claims(config):
                yield f"{said} has the input {name!r}, which {FILE} lacks; expected one of its inputs; correct it"
            else:
                yield from _warmup_input(f"{said}, input {name!r},", data, tensors_by_name.get(name))


def _warmup_input(said: str, data: Any, tensor: Tensor | None) -> Iterator[str]:
    dims = tuple(data.dims)
    if -1 in dims or (tensor is not None and not _fits(dims, tensor)):
        wanted = "numbers" if tensor is None else f"numbers that fit {list(tensor.dims)}"
        yield f"{said} has dims {list(dims)}; expected {wanted}; correct them"
    if tensor is not None and datatype_name(data.data_type) != tensor.datatype:
        yield f"{said} is {datatype_name(data.data_type)}; expected {tensor.datatype}; correct its data_type"
    if data.WhichOneof("input_data_type") is None:
        yield f"{said} has no data; expected zero_data: true or random_data: true; add one"


def _fits(dims: tuple[int, ...], tensor: Tensor) -> bool:
    return len(dims) == len(tensor.dims) and all(
        wanted in (-1, dim) for dim, wanted in zip(dims, tensor.dims, strict=True)
    )


def _answers(proto: Any) -> Iterator[str]:
    if proto.model_transaction_policy.decoupled and proto.response_cache.enable:
        yield "response_cache is on for a decoupled model; expected one of them; remove response_cache"
    for control in proto.model_metrics.metric_control:
        if not control.metric_identifier.family or not control.histogram_options.buckets:
            yield (
                "a metric_control lacks its metric_identifier's family or its histogram_options' buckets; expected "
                "both; add them"
            )


def _optional(config: ModelConfig) -> Iterator[str]:
    for tensor in config.inputs:
        if tensor.optional and config.backend in _WITHOUT_OPTIONAL:
            yield (
                f"input {tensor.name!r} is optional, which the {config.backend} backend does not know; expected none; "
                "remove optional"
            )

"""A config.pbtxt made from an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused, UsageError
from mm_publisher.onnx_model import SCIKIT_LEARN, Graph, Value


@dataclass(frozen=True)
class ConfigOptions:
    """What a graph does not tell.

    Attributes:
        gpu: run on GPUs (KIND_GPU) instead of the CPU.
        instances: how many instances: on the CPU in all, on GPUs on each.
        max_batch_size: largest batch; 0 for a model that takes none; None chooses 8 where all tensors have a free first
            dimension, and 0 otherwise.
        dynamic_batching: whether Triton puts requests together into batches.
        preferred_batch_sizes: batches that Triton aims for.
        max_queue_delay_us: microseconds that a request waits for others at most.
    """

    gpu: bool = False
    instances: int = 1
    max_batch_size: int | None = None
    dynamic_batching: bool = False
    preferred_batch_sizes: Sequence[int] = ()
    max_queue_delay_us: int = 0


_DEFAULT_MAX_BATCH_SIZE = 8


def write_config(graph: Graph, name: str, options: ConfigOptions) -> ModelConfig:
    """Makes a configuration for Triton's onnxruntime backend.

    Args:
        graph: of the model's file.
        name: the model's name.
        options: what the graph does not tell.

    Returns:
        A configuration with every input without a default, and every output.

    Raises:
        Refused: the graph has tensors that Triton cannot serve, or cannot batch as it is asked to.
        UsageError: options contradict each other.
    """
    inputs, outputs = list(graph.needed.values()), list(graph.outputs.values())
    batchable = takes_batches(graph)
    largest = options.max_batch_size
    if largest is None:
        largest = _DEFAULT_MAX_BATCH_SIZE if batchable else 0
    if largest and not batchable:
        values = [*inputs, *outputs]
        fixed = ", ".join(f"{value.name} {list(value.dims or ())}" for value in values if not _is_batch(value))
        raise Refused(
            f"max_batch_size {largest} needs a free first dimension in every tensor, and these have none: {fixed}; "
            "export the model with a dynamic first dimension, or give --max-batch-size 0"
        )
    _check_batching(options, largest)
    message = model_config_pb2.ModelConfig(name=name, backend="onnxruntime", max_batch_size=largest)
    add_tensors(message, inputs, outputs)
    group = message.instance_group.add(count=options.instances)
    group.kind = group.KIND_GPU if options.gpu else group.KIND_CPU
    if options.dynamic_batching:
        message.dynamic_batching.SetInParent()
        message.dynamic_batching.preferred_batch_size.extend(options.preferred_batch_sizes)
        message.dynamic_batching.max_queue_delay_microseconds = options.max_queue_delay_us
    return ModelConfig(message)


def takes_batches(graph: Graph) -> bool:
    """Whether all its tensors have a free first dimension.

    Raises:
        Refused: the graph has tensors that Triton cannot serve.
    """
    values = [*graph.needed.values(), *graph.outputs.values()]
    problems = []
    for value in values:
        if not value.datatype:
            problems.append(f"{value.name!r} is {value.kind}{f'; {SCIKIT_LEARN}' if 'sequence' in value.kind else ''}")
        elif value.dims is None:
            problems.append(
                f"{value.name!r} has no shape in the graph; run onnx.shape_inference, or write config.pbtxt"
            )
    if problems:
        raise Refused("no config.pbtxt can be made from this graph:", problems)
    return all(_is_batch(value) for value in values)


def add_tensors(message: Any, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Adds tensors to a configuration whose max_batch_size is set.

    Args:
        message: an `inference.ModelConfig`, which is changed.
        inputs: of the graph.
        outputs: of the graph.
    """
    batching = message.max_batch_size > 0
    for value in inputs:
        _add(message.input.add(), value, batching=batching)
    for value in outputs:
        _add(message.output.add(), value, batching=batching)


def _is_batch(value: Value) -> bool:
    return (value.dims or ())[:1] == (-1,)


def _check_batching(options: ConfigOptions, largest: int) -> None:
    wants = options.dynamic_batching
    if (options.preferred_batch_sizes or options.max_queue_delay_us) and not wants:
        raise UsageError("preferred batch sizes and a queue delay belong to dynamic batching; add --dynamic-batching")
    if wants and not largest:
        raise UsageError("dynamic batching needs a model that takes batches, and max_batch_size is 0 here")
    if any(not 0 < size <= largest for size in options.preferred_batch_sizes):
        raise UsageError(f"preferred batch sizes must be from 1 to max_batch_size, which is {largest}")


def _add(item: Any, value: Value, *, batching: bool) -> None:
    dims = (value.dims or ())[1:] if batching else value.dims or ()
    item.name = value.name
    item.data_type = model_config_pb2.DataType.Value(f"TYPE_{value.datatype.replace('BYTES', 'STRING')}")
    # Triton wants at least one dimension. A tensor with none but the batch is reshaped to none; a scalar is not, and
    # the backend makes it one (ValidateIOShape in model_config_utils.cc, SetInputTensors in onnxruntime.cc).
    item.dims.extend(dims or [1])
    if not dims and batching:
        item.reshape.SetInParent()

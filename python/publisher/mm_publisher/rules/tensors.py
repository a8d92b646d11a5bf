"""Inputs and outputs by themselves: core's ValidateModelIOConfig, ValidateIOShape and ValidateBatchIO.

All are in model_config_utils.cc of triton-inference-server/core.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

_TENSORRT = "tensorrt"
_PICTURES = (pb.ModelInput.FORMAT_NHWC, pb.ModelInput.FORMAT_NCHW)
_BATCH_TYPES = (pb.TYPE_INT32, pb.TYPE_FP32)


def problems(config: Any, backend: str) -> Iterator[str]:
    """What is wrong with a configuration's tensors, whatever the model is.

    Args:
        config: an `inference.ModelConfig`.
        backend: the name of what runs it.

    Yields:
        A sentence for each: what is wrong, what is expected, what to do.
    """
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            if not tensor.name:
                yield f"an {kind} has no name; expected the name that it has in the model; add it"
                continue
            yield from _tensor(f"{kind} {tensor.name!r}", tensor, config.max_batch_size)
            if backend != _TENSORRT and (tensor.is_shape_tensor or tensor.is_non_linear_format_io):
                yield (
                    f"{kind} {tensor.name!r} is a shape tensor or of a non-linear format; expected these with TensorRT "
                    "only; remove is_shape_tensor and is_non_linear_format_io"
                )
            elif tensor.is_non_linear_format_io and len(tensor.dims) != 3:
                yield (
                    f"{kind} {tensor.name!r} is of a non-linear format and has {len(tensor.dims)} dims; expected 3; "
                    "correct its dims"
                )
    for tensor in config.input:
        if tensor.format in _PICTURES and len(tensor.dims) != 3:
            yield (
                f"input {tensor.name!r} has format {pb.ModelInput.Format.Name(tensor.format)} and dims "
                f"{list(tensor.dims)}; expected 3 dims, without the batch; correct them, or remove the format"
            )
    yield from _batch_problems(config)


def _tensor(said: str, tensor: Any, max_batch_size: int) -> Iterator[str]:
    if tensor.data_type == pb.TYPE_INVALID:
        yield f"{said} has no data_type; expected one such as TYPE_FP32; add it"
    if not tensor.dims:
        yield f"{said} has no dims; expected at least one; for a tensor without dimensions write dims: [ 1 ]"
    elif _wrong(tensor.dims):
        yield f"{said} has dims {list(tensor.dims)}; expected each to be -1 or from 1; correct them"
    elif tensor.HasField("reshape"):
        yield from _reshape(said, tensor, max_batch_size)


def _reshape(said: str, tensor: Any, max_batch_size: int) -> Iterator[str]:
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    if not shape and max_batch_size == 0:
        yield (
            f"{said} has an empty reshape, and max_batch_size is 0; expected none, since a scalar is served as dims: "
            "[ 1 ]; remove the reshape"
        )
    elif _wrong(shape):
        yield f"{said} has the reshape {shape}; expected each dimension to be -1 or from 1; correct it"
    elif _sizes(dims) != _sizes(shape):
        yield (
            f"{said} is reshaped from {dims} to {shape}; expected equal numbers of elements, before and after each -1 "
            "too; correct one of them"
        )


def _wrong(dims: Sequence[int]) -> bool:
    return any(dim < 1 and dim != -1 for dim in dims)


def _sizes(dims: Sequence[int]) -> list[int]:
    """The numbers of elements between free dimensions."""
    runs: list[list[int]] = [[]]
    for dim in dims:
        if dim == -1:
            runs.append([])
        else:
            runs[-1].append(dim)
    return [math.prod(run) for run in runs]


def _batch_problems(config: Any) -> Iterator[str]:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for item in config.batch_input:
        said = f"batch_input {', '.join(item.target_name)}"
        yield from _sources(said, item, inputs, pb.BatchInput.Kind)
        if item.data_type not in _BATCH_TYPES:
            yield (
                f"{said} is of {pb.DataType.Name(item.data_type)}; expected TYPE_INT32 or TYPE_FP32; correct its "
                "data_type"
            )
    for item in config.batch_output:
        said = f"batch_output {', '.join(item.target_name)}"
        yield from _sources(said, item, inputs, pb.BatchOutput.Kind)
        for name in item.target_name:
            if name not in outputs:
                yield (
                    f"batch_output is for the output {name!r}, which config.pbtxt lacks; expected one of "
                    f"{_listed(outputs)}; correct target_name"
                )
        if len(set(item.target_name)) != len(item.target_name):
            yield f"{said} names an output twice; expected each once; remove the other"


def _sources(said: str, item: Any, inputs: set[str], kinds: Any) -> Iterator[str]:
    if item.kind not in kinds.values():
        yield f"{said} is of the unknown kind {item.kind}; expected one of {', '.join(kinds.keys())}; correct it"
    if len(item.source_input) != 1:
        yield f"{said} has {len(item.source_input)} entries in source_input; expected one; correct it"
    for name in item.source_input:
        if name not in inputs:
            yield (
                f"{said} comes from the input {name!r}, which config.pbtxt lacks; expected one of {_listed(inputs)}; "
                "correct source_input"
            )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"

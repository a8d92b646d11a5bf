"""A model is run once before it is published, on what Triton would feed it, where there is an ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_publisher import fed
from mm_publisher.config import ModelConfig, Tensor
from mm_publisher.errors import Refused
from mm_publisher.onnx_model import Graph
from mm_publisher.session import Opened, first_line
from multimodal_contract import dtypes

# What a free dimension may be: many models take any, some need a picture or a window of a certain size.
_FREE = (1, 32, 224)


def zeros(tensor: Tensor, *, batching: bool, free: int, as_model: bool) -> NDArray[Any]:
    """A tensor of zeros, or of empty texts.

    Args:
        tensor: as the configuration has it.
        batching: whether to put a batch dimension of 1 before its own.
        free: what to take for dimensions that may be any number.
        as_model: its dimensions as the model sees them, not as callers do.

    Returns:
        An array in C order; float32 for BF16, which numpy lacks.
    """
    own = tensor.model_dims if as_model else tensor.dims
    return _full(tensor.datatype, [1] * batching + [free if dim < 0 else dim for dim in own])


def free_sizes(config: ModelConfig) -> Iterator[int]:
    """Sizes to try for free dimensions; one where there are none."""
    free = any(dim < 0 for tensor in config.inputs for dim in tensor.dims)
    return itertools.islice(_FREE, len(_FREE) if free else 1)


def run_once(opened: Opened, config: ModelConfig) -> str:
    """Runs a model once: zeros for what callers give, and what Triton feeds it beside them.

    Args:
        opened: the model.
        config: a configuration that agrees with it.

    Returns:
        What came of it, in words.

    Raises:
        Refused: it does not run on inputs of the configured shapes.
    """
    if opened.session is None:
        return "not run on zeros: there is no onnxruntime here (pip install 'domino-triton-publisher[runtime]')"
    outputs = [tensor.name for tensor in config.outputs]
    last = None
    for free in free_sizes(config):
        try:
            opened.session.run(outputs, feed(opened.graph, config, free))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own for each of its codes
            last = error
        else:
            return f"loaded and ran on zeros ({opened.runtime})"
    if any(dim < 0 for tensor in config.inputs for dim in tensor.model_dims):
        return f"loaded, but did not run on zeros of any size tried for its free dimensions: {first_line(last)}"
    raise Refused(
        f"{opened.name} loads, but does not run on zeros of the configured shapes: {first_line(last)}; expected it to "
        "take them; correct the dims, or the model"
    )


def feed(graph: Graph, config: ModelConfig, free: int) -> Mapping[str, NDArray[Any]]:
    """What Triton's onnxruntime backend would give the model for a sequence's first request, of batch size 1.

    As SetInputTensors in onnxruntime.cc has it; optional inputs are left out.

    Args:
        graph: of the model.
        config: a configuration that agrees with it.
        free: what to take for dimensions that may be any number.

    Returns:
        Arrays by the model's inputs; texts as str, which ONNX Runtime takes.
    """
    batching = config.max_batch_size > 0
    arrays: dict[str, NDArray[Any]] = {}
    given: dict[str, tuple[int, ...]] = {}
    for tensor in config.inputs:
        if tensor.optional:
            continue
        array = zeros(tensor, batching=batching, free=free, as_model=True)
        given[tensor.name] = array.shape
        if tensor.ragged:
            array = array.reshape(-1)
        elif graph.inputs[tensor.name].dims == () and tensor.datatype != "BYTES":
            # Texts go there as they come, in one dimension and more.
            array = array.reshape(())
        arrays[tensor.name] = array
    for control in fed.controls(config):
        array = _full(control.datatype, [1, 1] if batching else [1])
        arrays[control.name] = array if control.datatype == "BYTES" else array + array.dtype.type(control.first)
    for state in fed.states(config):
        arrays[state.input_name] = _full(state.datatype, [1] * batching + list(state.first_dims))
    for item in fed.batch_inputs(config):
        shape, values = fed.batch_values(item.kind, given[item.source])
        for name in item.targets:
            arrays[name] = np.array(values, dtypes.BY_NAME[item.datatype].numpy).reshape(shape)
    return {
        name: array.astype(str).astype(object) if array.dtype == object else array for name, array in arrays.items()
    }


def _full(datatype: str, shape: list[int]) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtypes.BY_NAME[datatype].numpy or "<f4")

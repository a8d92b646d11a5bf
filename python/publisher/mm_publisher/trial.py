"""A model is run once on zeros before it is published, where there is an ONNX Runtime."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_publisher.config import ModelConfig, Tensor
from mm_publisher.errors import Refused
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
    shape = [1] * batching + [free if dim < 0 else dim for dim in own]
    if tensor.datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtypes.BY_NAME[tensor.datatype].numpy or "<f4")


def free_sizes(config: ModelConfig) -> Iterator[int]:
    """Sizes to try for free dimensions; one where there are none."""
    free = any(dim < 0 for tensor in config.inputs for dim in tensor.dims)
    return itertools.islice(_FREE, len(_FREE) if free else 1)


def run_once(path: Path, config: ModelConfig) -> str:
    """Loads a model into ONNX Runtime on the CPU and runs it once on zeros.

    Args:
        path: the `.onnx` file.
        config: a configuration that agrees with it.

    Returns:
        What came of it, in words.

    Raises:
        Refused: it does not load, or does not run on inputs of the configured shapes.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return "not run on zeros: there is no onnxruntime here (pip install 'domino-triton-publisher[runtime]')"
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    # Versions from 1.29 report to their maker.
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # Its errors come as exceptions, and are told by us.
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Refused(
            f"ONNX Runtime {onnxruntime.__version__} does not load {path.name}: {_first_line(error)}"
        ) from error
    if any(tensor.datatype == "BF16" for tensor in config.inputs):
        return f"loaded by ONNX Runtime {onnxruntime.__version__}; not run on zeros, since numpy has no BF16"
    last = None
    for free in free_sizes(config):
        try:
            session.run([tensor.name for tensor in config.outputs], _feed(config, free))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own for each of its codes
            last = error
        else:
            return f"loaded and ran on zeros (ONNX Runtime {onnxruntime.__version__})"
    if any(dim < 0 for tensor in config.inputs for dim in tensor.model_dims):
        return f"loaded, but did not run on zeros of any size tried for its free dimensions: {_first_line(last)}"
    raise Refused(f"{path.name} loads, but does not run on zeros of the configured shapes: {_first_line(last)}")


def _feed(config: ModelConfig, free: int) -> Mapping[str, NDArray[Any]]:
    batching = config.max_batch_size > 0
    arrays = {
        tensor.name: zeros(tensor, batching=batching, free=free, as_model=True)
        for tensor in config.inputs
        if not tensor.optional
    }
    # ONNX Runtime takes texts as str.
    return {
        name: array.astype(str).astype(object) if array.dtype == object else array for name, array in arrays.items()
    }


def _first_line(error: Exception | None) -> str:
    return str(error).strip().partition("\n")[0]

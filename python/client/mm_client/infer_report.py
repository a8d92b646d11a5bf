"""Results of one inference for people, for programs and as files."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mm_client.options import UsageError
from mm_client_api import InferenceResult
from mm_client_api.summaries import first_values
from mm_client_api.tensors import Array


def as_text(result: InferenceResult) -> str:
    """A summary: what served, how long it took, and of each output its type, shape and first values."""
    timing = result.timing
    times = f"{timing.triton_infer_ms:.1f} ms in Triton, {timing.total_ms:.1f} ms in all"
    lines = [f"{result.model} version {result.model_version}: {times}"]
    for name, array in result.outputs.items():
        lines.append(f"{name}  {result.tensors[name].datatype} {list(array.shape)}  {first_values(array)}")
    lines += [f"{name}  missing: the model has no such output" for name in result.missing]
    return "\n".join(lines)


def as_json(result: InferenceResult) -> str:
    """Everything as one JSON object. Floats that JSON lacks are texts; bytes that are not UTF-8 are {"b64": …}."""
    outputs = {
        name: {
            "dtype": result.tensors[name].datatype,
            "shape": list(array.shape),
            "data": [json_value(element) for element in array.ravel().tolist()],
        }
        for name, array in result.outputs.items()
    }
    return json.dumps(
        {
            "model": result.model,
            "model_version": result.model_version,
            "correlation_id": result.correlation_id,
            "timing": result.timing._asdict(),
            "outputs": outputs,
            "missing": list(result.missing),
        }
    )


def save(result: InferenceResult, folder: Path) -> list[Path]:
    """Write each output as NAME.npy into `folder`; byte strings as numpy's fixed-length kind.

    Raises:
        UsageError: the folder cannot be written, or a byte string ends in NUL, which numpy would lose.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in result.outputs.items():
            # Names come from the model's configuration; one must not lead out of the folder.
            path = folder / f"{name.replace('/', '_')}.npy"
            np.save(path, _without_objects(name, array), allow_pickle=False)
            paths.append(path)
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written: {error.strerror}") from error
    return paths


def _without_objects(name: str, array: Array) -> Array:
    if array.dtype.kind != "O":
        return array
    if any(element.endswith(b"\0") for element in array.ravel()):
        raise UsageError(f"output {name!r} has a byte string that ends in NUL, which .npy cannot keep; use --json")
    return array.astype("S")


def json_value(element: Any) -> Any:
    """Return an element as JSON has it; floats that it lacks are texts, bytes that are not UTF-8 {"b64": …}."""
    if isinstance(element, float) and not math.isfinite(element):
        return str(element)
    if isinstance(element, bytes):
        try:
            return element.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(element).decode()}
    return element

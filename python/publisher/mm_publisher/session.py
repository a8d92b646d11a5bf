"""An ONNX model as ONNX Runtime has it, where there is one: Triton's onnxruntime backend asks it, too."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mm_publisher import onnx_model
from mm_publisher.errors import Refused
from mm_publisher.onnx_model import Graph, Value


@dataclass(frozen=True)
class Opened:
    """A model that can be read, and loaded where there is an ONNX Runtime.

    Attributes:
        name: of its file.
        graph: what it takes and gives, as far as it is known here.
        session: ONNX Runtime's on the CPU; None where there is no ONNX Runtime.
        runtime: "ONNX Runtime" with its version, for people; "" where there is none.
    """

    name: str
    graph: Graph
    session: Any | None
    runtime: str


def open_model(path: Path) -> Opened:
    """Reads a model, and loads it into ONNX Runtime.

    ONNX Runtime infers dimensions that the file leaves open, and Triton compares a configuration with what it infers.

    Args:
        path: a `.onnx` file; files with external data lie beside it.

    Raises:
        Refused: it is no ONNX model, lacks external data, or does not load.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return Opened(path.name, onnx_model.read(path), None, "")
    graph = onnx_model.read(path, check=False)
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    # Versions from 1.29 report to their maker.
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # Its errors come as exceptions; it need not log them as well.
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Refused(f"{runtime} does not load {path.name}: {first_line(error)}") from error
    inputs = {item.name: _inferred(graph.inputs.get(item.name), item) for item in session.get_inputs()}
    defaults = {
        item.name: replace(_inferred(graph.inputs.get(item.name), item), optional=True)
        for item in session.get_overridable_initializers()
    }
    outputs = {item.name: _inferred(graph.outputs.get(item.name), item) for item in session.get_outputs()}
    return Opened(path.name, Graph({**inputs, **defaults}, outputs), session, runtime)


def first_line(error: Exception | None) -> str:
    """The first line of what ONNX Runtime says."""
    return str(error).strip().partition("\n")[0]


def _inferred(known: Value | None, item: Any) -> Value:
    dims = tuple(dim if isinstance(dim, int) else -1 for dim in item.shape)
    if known is None:
        # An input that only ONNX Runtime sees is a weight of a model from before ONNX 1.4; it is never asked for.
        return Value(item.name, "", item.type, dims, is_tensor=item.type.startswith("tensor"))
    # It gives no dimensions for a scalar, and for what has no known rank.
    return replace(known, dims=None if known.dims is None and not dims else dims, guessed=False, optional=False)

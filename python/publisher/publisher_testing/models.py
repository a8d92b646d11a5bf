"""Small ONNX models, and folders to publish them from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
NAME = "adder"
CONFIG = """\
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
# For a model that no Triton loads, with the same tensors.
BROKEN = "class TritonPythonModel:\n    def initialize(self, args):\n        raise RuntimeError('no weights')\n"


def graph(
    inputs: dict[str, tuple[int, list[int | str] | None]],
    outputs: dict[str, tuple[int, list[int | str] | None]],
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
) -> onnx.ModelProto:
    """A model of its parts; tensors by name, with ONNX's number of the element type and dimensions."""
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "test",
        [value(name, *spec) for name, spec in inputs.items()],
        [value(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return model


def adder(*constants: float) -> onnx.ModelProto:
    """Y = X + the sum of the constants, for FP32 [batch, 1]; each constant is a weight of its own."""
    names = [f"K{number}" for number in range(len(constants))]
    nodes, last = [], "X"
    for number, name in enumerate(names):
        result = "Y" if number == len(names) - 1 else f"S{number}"
        nodes.append(helper.make_node("Add", [last, name], [result]))
        last = result
    tensor: tuple[int, list[int | str] | None] = (TensorProto.FLOAT, ["batch", 1])
    weights = {name: np.array([[value]], np.float32) for name, value in zip(names, constants, strict=True)}
    return graph({"X": tensor}, {"Y": tensor}, nodes, weights)


def write_source(folder: Path, constant: float, config: str = CONFIG) -> Path:
    """Writes a folder to publish: an adder and its config.pbtxt."""
    folder.mkdir(parents=True)
    onnx.save(adder(constant), folder / "model.onnx")
    (folder / "config.pbtxt").write_text(config)
    return folder


def write_broken(folder: Path) -> Path:
    """Writes a folder to publish that passes every check and that no Triton loads."""
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(BROKEN)
    (folder / "config.pbtxt").write_text(CONFIG.replace("onnxruntime", "python"))
    return folder


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes files into a folder, by their paths in it; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder

"""What an ONNX model takes and gives, by its file; `session` asks ONNX Runtime, which knows more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from mm_publisher import external_data
from mm_publisher.errors import Refused

SCIKIT_LEARN = "for scikit-learn classifiers: convert_sklearn(..., options={'zipmap': False})"
# ONNX's number of an element type to Triton's name; what is missing here Triton's onnxruntime backend can't serve
# (ConvertFromOnnxDataType in its onnxruntime_utils.cc), BFLOAT16 among it.
DATATYPES: Mapping[int, str] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}

_IR_WITH_DEFAULTS = 4


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: its name.
        datatype: Triton's name of its element type; "" for what is no tensor, or of a type that the backend lacks.
        kind: what it is, for people: "FP32", "of ONNX type BFLOAT16", "a sequence".
        dims: its dimensions, batch included, -1 for any; None where the graph does not tell how many there are.
        optional: whether it has a default that a request may replace.
        is_tensor: whether it is one.
        guessed: whether ONNX Runtime may know dimensions that are free here.
    """

    name: str
    datatype: str
    kind: str
    dims: tuple[int, ...] | None
    optional: bool = False
    is_tensor: bool = True
    guessed: bool = False


@dataclass(frozen=True)
class Graph:
    """The tensors of an ONNX file.

    Attributes:
        inputs: by name.
        outputs: by name.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]

    @property
    def needed(self) -> Mapping[str, Value]:
        """The inputs without a default."""
        return {name: value for name, value in self.inputs.items() if not value.optional}


def read(path: Path, *, check: bool = True) -> Graph:
    """Reads a file's graph, without its weights.

    Args:
        path: a `.onnx` file; files with external data lie beside it.
        check: whether to check it by ONNX's rules, which are stricter than ONNX Runtime's: every tensor has a shape.

    Raises:
        Refused: it is no ONNX model, or lacks external data.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        if check and not external_data.used(model):
            onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        raise Refused(
            f"{path.name} is no ONNX model that can be read: {str(error).strip() or type(error).__name__}; expected a "
            "file as torch.onnx.export or skl2onnx write it, at most 2 GB without external data"
        ) from error
    if not model.graph.output:
        raise Refused(f"{path.name} has no outputs; expected an ONNX model, and this may be an empty or cut-off file")
    lacking = external_data.problems(model, path.parent)
    if lacking:
        raise Refused(f"{path.name} keeps weights in other files, and these are not as it needs them:", lacking)
    constants = {constant.name for constant in model.graph.initializer}
    # Before ONNX 1.4, all weights were inputs, and none to be replaced.
    replaceable = constants if model.ir_version >= _IR_WITH_DEFAULTS else set()
    inputs = [
        _value(item, optional=item.name in replaceable)
        for item in model.graph.input
        if item.name in replaceable or item.name not in constants
    ]
    return Graph(
        {value.name: value for value in inputs},
        {value.name: value for value in map(_value, model.graph.output)},
    )


def _value(item: Any, *, optional: bool = False) -> Value:
    which = item.type.WhichOneof("value")
    if which != "tensor_type":
        return Value(item.name, "", f"a {str(which).removesuffix('_type')}", None, optional, is_tensor=False)
    tensor = item.type.tensor_type
    name = DATATYPES.get(tensor.elem_type, "")
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(
            int(dim.dim_value) if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else -1
            for dim in tensor.shape.dim
        )
    kind = name or f"of ONNX type {TensorProto.DataType.Name(tensor.elem_type)}"
    return Value(item.name, name, kind, dims, optional, guessed=True)

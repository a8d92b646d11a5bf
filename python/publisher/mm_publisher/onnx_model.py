"""What an ONNX graph takes and gives, and whether a config.pbtxt says the same.

The rules are those of Triton's onnxruntime backend: its `CompareDimsSupported`, `ValidateInputs`, `ValidateOutputs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from mm_publisher import external_data
from mm_publisher.config import ModelConfig, Tensor
from mm_publisher.errors import Refused

# ONNX's number of an element type to Triton's name; what is missing here no Triton tensor can be.
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
    TensorProto.BFLOAT16: "BF16",
    TensorProto.STRING: "BYTES",
}


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: its name.
        datatype: Triton's name of its element type; "" for what is no tensor, or of a type that Triton lacks.
        kind: what it is, for people: "FP32", "a sequence".
        dims: its dimensions, batch included, -1 for any; None where the graph does not tell how many there are.
        optional: whether it has a default.
    """

    name: str
    datatype: str
    kind: str
    dims: tuple[int, ...] | None
    optional: bool = False


@dataclass(frozen=True)
class Graph:
    """The tensors of an ONNX file.

    Attributes:
        inputs: by name.
        outputs: by name.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]


def read(path: Path) -> Graph:
    """Reads a file's graph, without its weights.

    Args:
        path: a `.onnx` file; files with external data lie beside it.

    Raises:
        Refused: it is no ONNX model, or lacks external data.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model) if not external_data.used(model) else None
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
    inputs = [_value(item, optional=item.name in constants) for item in model.graph.input]
    return Graph(
        {value.name: value for value in inputs},
        {value.name: value for value in map(_value, model.graph.output)},
    )


def disagreements(graph: Graph, config: ModelConfig) -> list[str]:
    """Where a configuration says something else than the graph.

    Args:
        graph: of the model's file.
        config: the configuration.

    Returns:
        A sentence for each thing that would keep Triton from loading or serving the model.
    """
    batching = config.max_batch_size > 0
    problems = [
        *_kind("input", config.inputs, graph.inputs, batching=batching),
        *_kind("output", config.outputs, graph.outputs, batching=batching),
    ]
    named = {tensor.name for tensor in config.inputs}
    forgotten = [value.name for value in graph.inputs.values() if not value.optional and value.name not in named]
    if forgotten:
        problems.append(f"config.pbtxt lacks the model's input {', '.join(forgotten)}")
    return problems


def _kind(kind: str, tensors: Sequence[Tensor], values: Mapping[str, Value], *, batching: bool) -> list[str]:
    problems = []
    if not tensors:
        problems.append(f"config.pbtxt names no {kind}; the model's are {', '.join(values)}")
    for tensor in tensors:
        value = values.get(tensor.name)
        if value is None:
            problems.append(
                f"config.pbtxt names the {kind} {tensor.name!r}, which the model lacks; it has {', '.join(values)}"
            )
            continue
        if not value.datatype:
            hint = " (for scikit-learn classifiers: convert_sklearn(..., options={'zipmap': False}))"
            problems.append(
                f"{kind} {tensor.name!r} is {value.kind}, which no Triton tensor can be; export the model so that it "
                f"is a tensor{hint if 'sequence' in value.kind else ''}"
            )
            continue
        if value.datatype != tensor.datatype:
            problems.append(
                f"{kind} {tensor.name!r} is {tensor.datatype} in config.pbtxt and {value.datatype} in the model"
            )
        problems += _dims_problem(kind, tensor, value, batching=batching)
    return problems


def _dims_problem(kind: str, tensor: Tensor, value: Value, *, batching: bool) -> list[str]:
    if value.dims is None:
        return []
    if batching and value.dims[:1] != (-1,):
        problem = (
            f"config.pbtxt has max_batch_size > 0, so the first dimension of {kind} {tensor.name!r} must be free for "
            f"the batch, and the model has {list(value.dims)}; set max_batch_size: 0, or export the model with a "
            "dynamic first dimension"
        )
        return [problem]
    wanted = ((-1,) if batching else ()) + tensor.model_dims
    fits = len(wanted) == len(value.dims) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(wanted, value.dims, strict=True)
    )
    if fits:
        return []
    batch = " (the first being the batch, since max_batch_size > 0)" if batching else ""
    said = f"{kind} {tensor.name!r} has dimensions {list(wanted)} by config.pbtxt{batch}"
    return [f"{said}, and {list(value.dims)} in the model"]


def _value(item: Any, *, optional: bool = False) -> Value:
    which = item.type.WhichOneof("value")
    if which != "tensor_type":
        return Value(item.name, "", f"a {str(which).removesuffix('_type')}", None, optional)
    tensor = item.type.tensor_type
    name = DATATYPES.get(tensor.elem_type, "")
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(
            int(dim.dim_value) if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else -1
            for dim in tensor.shape.dim
        )
    return Value(item.name, name, name or f"of ONNX type {TensorProto.DataType.Name(tensor.elem_type)}", dims, optional)

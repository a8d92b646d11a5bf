"""The small ONNX models of the repository."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def finish(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: Mapping[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    """Makes a checked model of its parts, for runtimes that are not the newest.

    Args:
        name: name of the graph.
        nodes: in an order in which they can run.
        inputs: inputs of the graph.
        outputs: outputs of the graph.
        constants: value by name.

    Returns:
        The model.

    Raises:
        onnx.checker.ValidationError: the parts do not fit each other.
    """
    initializers = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="devstack")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def audio_level() -> onnx.ModelProto:
    """Builds the audio model: the level of a waveform of any length.

    Returns:
        A model with input WAVEFORM FP32 [samples] and outputs RMS and PEAK FP32 [1] in the waveform's unit, and
        ZERO_CROSSINGS INT32 [1], the number of times that the sign changes between two samples.
    """
    node = helper.make_node
    nodes = [
        node("Mul", ["WAVEFORM", "WAVEFORM"], ["squares"]),
        node("ReduceMean", ["squares"], ["power"], keepdims=1),
        node("Sqrt", ["power"], ["RMS"]),
        node("Abs", ["WAVEFORM"], ["magnitude"]),
        node("ReduceMax", ["magnitude"], ["PEAK"], keepdims=1),
        node("Less", ["WAVEFORM", "zero"], ["negative"]),
        node("Cast", ["negative"], ["sign"], to=TensorProto.INT32),
        node("Slice", ["sign", "one", "end"], ["later"]),
        node("Slice", ["sign", "start", "minus_one"], ["earlier"]),
        node("Sub", ["later", "earlier"], ["change"]),
        node("Abs", ["change"], ["changed"]),
        node("ReduceSum", ["changed"], ["ZERO_CROSSINGS"], keepdims=1),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "zero": np.array(0, np.float32),
        "start": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
    }
    value = helper.make_tensor_value_info
    outputs = [
        value("RMS", TensorProto.FLOAT, [1]),
        value("PEAK", TensorProto.FLOAT, [1]),
        value("ZERO_CROSSINGS", TensorProto.INT32, [1]),
    ]
    return finish("audio_level", nodes, [value("WAVEFORM", TensorProto.FLOAT, ["samples"])], outputs, constants)


def add_sub() -> onnx.ModelProto:
    """Builds a model with two inputs and two outputs of different types.

    Returns:
        A model with inputs INPUT0 FP32 and INPUT1 INT32, both [batch, length], and outputs SUM FP32 and DIFFERENCE
        INT32 of the same shape: INPUT0 + INPUT1, and INPUT0 - INPUT1 with its fraction cut off.
    """
    node = helper.make_node
    nodes = [
        node("Cast", ["INPUT1"], ["operand"], to=TensorProto.FLOAT),
        node("Add", ["INPUT0", "operand"], ["SUM"]),
        node("Sub", ["INPUT0", "operand"], ["difference"]),
        node("Cast", ["difference"], ["DIFFERENCE"], to=TensorProto.INT32),
    ]
    value = helper.make_tensor_value_info
    shape = ["batch", "length"]
    inputs = [value("INPUT0", TensorProto.FLOAT, shape), value("INPUT1", TensorProto.INT32, shape)]
    outputs = [value("SUM", TensorProto.FLOAT, shape), value("DIFFERENCE", TensorProto.INT32, shape)]
    return finish("add_sub", nodes, inputs, outputs, {})


def image_mean() -> onnx.ModelProto:
    """Builds a model that tells pictures apart at little cost.

    Returns:
        A model with input IMAGE FP32 [batch, 3, height, width] and output MEAN FP32 [batch, 3], the mean of each
        channel.
    """
    value = helper.make_tensor_value_info
    return finish(
        "image_mean",
        [helper.make_node("ReduceMean", ["IMAGE"], ["MEAN"], axes=[2, 3], keepdims=0)],
        [value("IMAGE", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [value("MEAN", TensorProto.FLOAT, ["batch", 3])],
        {},
    )

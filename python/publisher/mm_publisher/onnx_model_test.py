from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.onnx_model import disagreements, read
from publisher_testing.models import adder, graph


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _config(inputs: str, outputs: str, batch: int = 8) -> ModelConfig:
    return ModelConfig.parse(f"max_batch_size: {batch} input [ {{ {inputs} }} ] output [ {{ {outputs} }} ]")


def test_tensors_are_read_without_weights(tmp_path: Path) -> None:
    model = adder(1.0)
    # As old exporters write them: weights are inputs, too.
    model.graph.input.append(helper.make_tensor_value_info("K0", TensorProto.FLOAT, [1, 1]))
    found = read(_saved(model, tmp_path))
    assert {name: (value.datatype, value.dims, value.optional) for name, value in found.inputs.items()} == {
        "X": ("FP32", (-1, 1), False),
        "K0": ("FP32", (1, 1), True),
    }
    assert found.outputs["Y"].dims == (-1, 1)


_X, _Y = 'name: "X" data_type: TYPE_FP32 dims: [ 1 ]', 'name: "Y" data_type: TYPE_FP32 dims: [ 1 ]'


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch", "told"),
    [
        (_X, _Y, 8, []),
        (_X.replace("[ 1 ]", "[ -1 ]"), _Y, 8, []),
        (_X.replace("[ 1 ]", "[ -1, 1 ]"), _Y.replace("[ 1 ]", "[ 5, 1 ]"), 0, []),
        (_X.replace("[ 1 ]", "[ 1, 1 ] reshape { shape: [ 1 ] }"), _Y, 8, []),
        (_X.replace("X", "Z"), _Y, 8, [
            "names the input 'Z', which the model lacks; it has X", "lacks the model's input X"]),
        (_X, _Y.replace('"Y"', '"P"'), 8, ["names the output 'P', which the model lacks; it has Y"]),
        (_X.replace("FP32", "FP16"), _Y, 8, ["input 'X' is FP16 in config.pbtxt and FP32 in the model"]),
        (_X.replace("[ 1 ]", "[ 2 ]"), _Y, 8, [
            "dimensions [-1, 2] by config.pbtxt (the first being the batch, since max_batch_size > 0), and [-1, 1]"]),
        (_X, _Y.replace("[ 1 ]", "[ 1, 1 ]"), 8, ["output 'Y' has dimensions [-1, 1, 1]"]),
        (_X, _Y, 0, ["input 'X' has dimensions [1] by config.pbtxt, and [-1, 1]", "output 'Y' has dimensions [1]"]),
    ],
)  # fmt: skip
def test_each_disagreement_is_told(tmp_path: Path, inputs: str, outputs: str, batch: int, told: list[str]) -> None:
    found = disagreements(read(_saved(adder(1.0), tmp_path)), _config(inputs, outputs, batch))
    assert len(found) == len(told), found
    for sentence, part in zip(found, told, strict=True):
        assert part in sentence


def test_a_fixed_first_dimension_is_no_batch(tmp_path: Path) -> None:
    fixed = graph(
        {"X": (TensorProto.FLOAT, [1, 3])}, {"Y": (TensorProto.FLOAT, [1, 3])}, [helper.make_node("Neg", ["X"], ["Y"])]
    )
    found = disagreements(read(_saved(fixed, tmp_path)), _config(_X.replace("1 ]", "3 ]"), _Y.replace("1 ]", "3 ]")))
    assert "must be free for the batch, and the model has [1, 3]; set max_batch_size: 0" in found[0]


def test_what_is_no_tensor_is_explained(tmp_path: Path) -> None:
    node = helper.make_node("ZipMap", ["X"], ["Y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    model = graph({"X": (TensorProto.FLOAT, ["n", 2])}, {"Y": (TensorProto.FLOAT, ["n", 2])}, [node])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    del model.graph.output[:]
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output.append(helper.make_value_info("Y", helper.make_sequence_type_proto(maps)))
    found = disagreements(read(_saved(model, tmp_path)), _config(_X.replace("1 ]", "2 ]"), _Y))
    (told,) = found
    assert told == (
        "output 'Y' is a sequence, which no Triton tensor can be; export the model so that it is a tensor (for "
        "scikit-learn classifiers: convert_sklearn(..., options={'zipmap': False}))"
    )


@pytest.mark.parametrize("data", [b"", b"garbage", adder(1.0).SerializeToString()[:40]])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(Refused, match=r"model.onnx (is no ONNX model that can be read|has no outputs)"):
        read(tmp_path / "model.onnx")

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mm_publisher.errors import Refused
from mm_publisher.onnx_model import read
from publisher_testing.models import adder


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


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


def test_before_onnx_1_4_weights_that_are_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = adder(1.0)
    model.graph.input.append(helper.make_tensor_value_info("K0", TensorProto.FLOAT, [1, 1]))
    model.ir_version = 3
    assert list(read(_saved(model, tmp_path)).inputs) == ["X"]


@pytest.mark.parametrize("data", [b"", b"garbage", adder(1.0).SerializeToString()[:40]])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(Refused, match=r"model.onnx (is no ONNX model that can be read|has no outputs)"):
        read(tmp_path / "model.onnx")

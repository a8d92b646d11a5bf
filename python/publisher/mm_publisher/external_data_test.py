from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mm_publisher.errors import Refused
from mm_publisher.onnx_model import read
from publisher_testing.models import graph

_SIZE = 4000


def _outside(location: str = "weights.bin", offset: int = 0) -> onnx.TensorProto:
    """A thousand floats that lie in a file of their own."""
    tensor = numpy_helper.from_array(np.ones((1, _SIZE // 4), np.float32), "K")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(_SIZE))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = _model([helper.make_node("Add", ["X", "K"], ["Y"])])
    model.graph.initializer.append(tensor)
    return model


def _constant(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return _model([helper.make_node("Constant", [], ["K"], value=tensor), helper.make_node("Add", ["X", "K"], ["Y"])])


def _branch(tensor: onnx.TensorProto, *, constant: bool) -> onnx.ModelProto:
    """Both branches of an If add it."""
    value = helper.make_tensor_value_info("B", TensorProto.FLOAT, ["n", _SIZE // 4])
    nodes = [helper.make_node("Constant", [], ["K"], value=tensor)] if constant else []
    branch = helper.make_graph(
        [*nodes, helper.make_node("Add", ["X", "K"], ["B"])], "branch", [], [value], [] if constant else [tensor]
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    model = _model([helper.make_node("If", ["yes"], ["Y"], then_branch=branch, else_branch=branch)])
    model.graph.initializer.append(yes)
    return model


def _function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = _model([helper.make_node("Shift", ["X"], ["Y"], domain="ours")])
    nodes = [helper.make_node("Constant", [], ["K"], value=tensor), helper.make_node("Add", ["x", "K"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ours", "Shift", ["x"], ["y"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("ours", 1))
    return model


def _model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    tensor: tuple[int, list[int | str] | None] = (TensorProto.FLOAT, ["n", _SIZE // 4])
    return graph({"X": tensor}, {"Y": tensor}, nodes)


_PLACES: dict[str, Callable[[onnx.TensorProto], onnx.ModelProto]] = {
    "an initializer": _initializer,
    "a constant": _constant,
    "an initializer of a branch": lambda tensor: _branch(tensor, constant=False),
    "a constant in a branch": lambda tensor: _branch(tensor, constant=True),
    "a constant in a function": _function,
}


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (_SIZE, None),
        (None, "'weights.bin' is missing beside it"),
        (100, f"'weights.bin' is too short: it has 100 bytes, and the model needs {_SIZE}"),
    ],
)
def test_weights_are_found_wherever_the_model_names_them(
    tmp_path: Path, place: str, size: int | None, expected: str | None
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(_PLACES[place](_outside()).SerializeToString())
    if size is not None:
        (tmp_path / "weights.bin").write_bytes(bytes(size))
    if expected is None:
        assert list(read(path).outputs) == ["Y"]
        return
    with pytest.raises(Refused) as caught:
        read(path)
    assert caught.value.problems == (expected,)
    assert str(caught.value).startswith("model.onnx keeps weights in other files, and these are not as it needs them:")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin", "", "..\\weights.bin"])
def test_weights_outside_of_the_model_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(_SIZE))
    (tmp_path / "m/a").mkdir(parents=True)
    (tmp_path / "m/model.onnx").write_bytes(_initializer(_outside(location)).SerializeToString())
    with pytest.raises(Refused, match="leads out of the model's folder; expected a file beside the model"):
        read(tmp_path / "m/model.onnx")


@pytest.mark.parametrize("location", [".weights", ".cache/weights", "__pycache__/weights"])
def test_weights_that_publishing_leaves_out_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / location).parent.mkdir(exist_ok=True)
    (tmp_path / location).write_bytes(bytes(_SIZE))
    (tmp_path / "model.onnx").write_bytes(_initializer(_outside(location)).SerializeToString())
    with pytest.raises(Refused, match=f"'{location}' has a name that is left out when a model is published"):
        read(tmp_path / "model.onnx")

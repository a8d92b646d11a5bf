from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.session import open_model
from mm_publisher.trial import feed, run_once, zeros
from publisher_testing.models import adder, graph
from publisher_testing.triton_rules_onnx import stateful

_CONFIG = ModelConfig.parse("""
    max_batch_size: 8
    input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ] output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]
""")


def _convolution(folder: Path, *size: int | str) -> Path:
    """Takes pictures of 5 × 5 and more."""
    model = graph(
        {"X": (TensorProto.FLOAT, [1, 1, *size])},
        {"Y": (TensorProto.FLOAT, [1, 1, "a", "b"])},
        [helper.make_node("Conv", ["X", "K"], ["Y"])],
        {"K": np.ones((1, 1, 5, 5), np.float32)},
    )
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _config(dims: str) -> ModelConfig:
    return ModelConfig.parse(
        f'input [ {{ name: "X" data_type: TYPE_FP32 dims: [ {dims} ] }} ] '
        'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1, 1, -1, -1 ] } ]'
    )


def test_free_dimensions_get_a_size_that_works(tmp_path: Path) -> None:
    path = _convolution(tmp_path, "h", "w")
    assert run_once(open_model(path), _config("1, 1, -1, -1")).startswith("loaded and ran on zeros")
    assert run_once(open_model(path), _config("1, 1, 5, 6")).startswith("loaded and ran on zeros")


def test_a_model_that_does_not_take_what_it_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"model.onnx loads, but does not run on zeros of the configured shapes: \["):
        run_once(open_model(_convolution(tmp_path, "h", "w")), _config("1, 1, 3, 3"))


def test_where_no_size_works_that_is_reported_and_no_more(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["X", "S"], ["Y"])
    shape = {"S": np.array([7], np.int64)}
    model = graph({"X": (TensorProto.FLOAT, ["n"])}, {"Y": (TensorProto.FLOAT, [7])}, [node], shape)
    onnx.save(model, tmp_path / "model.onnx")
    config = ModelConfig.parse(
        'input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ] '
        'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 7 ] } ]'
    )
    assert run_once(open_model(tmp_path / "model.onnx"), config).startswith(
        "loaded, but did not run on zeros of any size tried"
    )


def test_without_a_runtime_that_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(adder(1.0), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "there is no onnxruntime here (pip install" in run_once(open_model(tmp_path / "model.onnx"), _CONFIG)


def test_zeros_have_type_and_shape() -> None:
    text, half, odd = ModelConfig.parse("""input [
        { name: "a" data_type: TYPE_STRING dims: [ -1 ] }, { name: "b" data_type: TYPE_BF16 dims: [ 2 ] },
        { name: "c" data_type: TYPE_UINT8 dims: [ 1 ] reshape { shape: [] } } ]""").inputs
    array = zeros(text, batching=True, free=3, as_model=False)
    assert array.tolist() == [[b""] * 3]
    assert zeros(half, batching=False, free=3, as_model=False).dtype == np.float32
    assert zeros(odd, batching=True, free=3, as_model=True).shape == (1,)
    assert zeros(odd, batching=True, free=3, as_model=False).shape == (1, 1)
    assert zeros(odd, batching=True, free=3, as_model=False).dtype == np.uint8


def test_what_triton_feeds_itself_is_fed_as_triton_does(tmp_path: Path) -> None:
    onnx.save(stateful(), tmp_path / "model.onnx")
    config = ModelConfig.parse("""
        max_batch_size: 8 input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
        sequence_batching {
          control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ]
          state [ { input_name: "SUM" output_name: "NEXT" data_type: TYPE_FP32 dims: [ -1 ] } ] }
    """)
    fed = feed(open_model(tmp_path / "model.onnx").graph, config, 3)
    assert {name: array.tolist() for name, array in fed.items()} == {"X": [[0]], "START": [[1]], "SUM": [[0]]}


def test_a_scalar_is_fed_without_dimensions_and_a_ragged_batch_in_one_row(tmp_path: Path) -> None:
    model = graph(
        {"N": (TensorProto.INT64, []), "T": (TensorProto.STRING, []), "X": (TensorProto.FLOAT, ["n"]),
         "END": (TensorProto.FLOAT, ["r"])},
        {"Y": (TensorProto.FLOAT, ["n"])},
        [helper.make_node("Add", ["X", "END"], ["Y"])],
    )  # fmt: skip
    onnx.save(model, tmp_path / "model.onnx")
    config = ModelConfig.parse("""
        max_batch_size: 8
        input [ { name: "N" data_type: TYPE_INT64 dims: [ 1 ] }, { name: "T" data_type: TYPE_STRING dims: [ 1 ] },
                { name: "X" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
        batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO target_name: "END" data_type: TYPE_FP32
                        source_input: "X" } ]
    """)
    fed = feed(open_model(tmp_path / "model.onnx").graph, config, 3)
    assert {name: (array.shape, array.ravel().tolist()) for name, array in fed.items()} == {
        "N": ((), [0]), "T": ((1, 1), [""]), "X": ((3,), [0, 0, 0]), "END": ((2,), [0, 3])
    }  # fmt: skip

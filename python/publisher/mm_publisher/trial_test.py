from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.trial import run_once, zeros
from publisher_testing.models import adder, graph

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
    assert run_once(path, _config("1, 1, -1, -1")).startswith("loaded and ran on zeros")
    assert run_once(path, _config("1, 1, 5, 6")).startswith("loaded and ran on zeros")


def test_a_model_that_does_not_take_what_it_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"model.onnx loads, but does not run on zeros of the configured shapes: \["):
        run_once(_convolution(tmp_path, "h", "w"), _config("1, 1, 3, 3"))


def test_where_no_size_works_that_is_told_and_no_more(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["X", "S"], ["Y"])
    shape = {"S": np.array([7], np.int64)}
    model = graph({"X": (TensorProto.FLOAT, ["n"])}, {"Y": (TensorProto.FLOAT, [7])}, [node], shape)
    onnx.save(model, tmp_path / "model.onnx")
    config = ModelConfig.parse(
        'input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ] '
        'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 7 ] } ]'
    )
    assert run_once(tmp_path / "model.onnx", config).startswith("loaded, but did not run on zeros of any size tried")


def test_what_the_runtime_does_not_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(Refused, match=r"ONNX Runtime \S+ does not load model.onnx: .*INVALID_PROTOBUF"):
        run_once(tmp_path / "model.onnx", _CONFIG)


def test_without_a_runtime_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(adder(1.0), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "there is no onnxruntime here (pip install" in run_once(tmp_path / "model.onnx", _CONFIG)


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

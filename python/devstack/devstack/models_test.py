from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from devstack import models
from devstack.models import MODELS
from multimodal_contract import dtypes


@pytest.mark.parametrize("name", MODELS)
def test_each_model_is_a_folder_that_triton_understands(tmp_path: Path, name: str) -> None:
    models.write_repository(tmp_path, [name])
    text = (tmp_path / name / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())

    assert config.max_batch_size == MODELS[name].max_batch_size
    assert [entry.name for entry in config.input] == [entry.name for entry in MODELS[name].inputs]
    assert [list(entry.dims) for entry in config.output] == [list(entry.dims) for entry in MODELS[name].outputs]
    assert [entry.optional for entry in config.input] == [entry.optional for entry in MODELS[name].inputs]
    assert config.model_transaction_policy.decoupled == (name == models.SQUARE)
    assert config.HasField("sequence_batching") == (name == models.SEQUENCE)
    if config.platform == "onnxruntime_onnx":
        model = onnx.load(tmp_path / name / "1/model.onnx")
        assert [entry.name for entry in model.graph.output] == [entry.name for entry in config.output]
    else:
        assert (tmp_path / name / "1/model.py").is_file()


def test_the_detector_has_the_contracts_tensors() -> None:
    model = MODELS["yolov8n"]
    assert [(entry.name, entry.dtype, entry.dims) for entry in model.inputs] == [("images", "FP32", (1, 3, 640, 640))]
    assert [(entry.name, entry.dtype, entry.dims) for entry in model.outputs] == [("output0", "FP32", (1, 84, 8400))]


def test_there_is_an_identity_model_for_each_type_of_the_contract() -> None:
    assert {models.identity_name(dtype.name) for dtype in dtypes.TABLE} <= set(MODELS)


def test_another_version_stands_beside_the_first(tmp_path: Path) -> None:
    MODELS[models.ADD_SUB].write(tmp_path / "m")
    MODELS[models.ADD_SUB].write(tmp_path / "m", version=2)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1", "2", "config.pbtxt"]

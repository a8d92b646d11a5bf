from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mm_publisher.checks import Checked, check
from mm_publisher.completing import with_backend
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.source import from_folder
from publisher_testing.models import adder, graph
from publisher_testing.triton_rules_onnx import stateful


def _checked(folder: Path, config: str, model: onnx.ModelProto | None = None, text_file: str = "") -> Checked:
    (folder / "config.pbtxt").write_text(config)
    if model is not None:
        onnx.save(model, folder / "model.onnx")
    if text_file:
        (folder / text_file).write_text("{}")
    return check(from_folder(folder, name="m", version=None), None)


def _lines(config: ModelConfig) -> str:
    return " ".join(config.text().split())


@pytest.mark.parametrize(
    ("files", "backend"),
    [
        ({"model.onnx"}, "onnxruntime"),
        ({"model.onnx/model.onnx"}, "onnxruntime"),
        ({"model.py", "model.onnx"}, "onnxruntime"),
        ({"model.py", "weights.bin"}, "python"),
        ({"model.plan"}, "tensorrt"),
        ({"model.pt"}, "pytorch"),
        ({"model.xml", "model.bin"}, "openvino"),
        ({"model.savedmodel/saved_model.pb"}, "tensorflow_savedmodel"),
        ({"model.savedmodel"}, ""),
        ({"model.plan/engine"}, ""),
        ({"net.onnx"}, ""),
    ],
)
def test_the_backend_is_the_one_that_triton_finds_by_the_files(files: set[str], backend: str) -> None:
    assert with_backend(ModelConfig.parse(""), files).backend == backend


def test_a_backend_that_is_named_stays() -> None:
    for text in ('backend: "ours"', 'platform: "onnxruntime_onnx"', 'platform: "ensemble"'):
        config = ModelConfig.parse(text)
        assert with_backend(config, {"model.py"}).text() == config.text()


def test_a_configuration_of_nothing_is_completed_as_triton_would(tmp_path: Path) -> None:
    checked = _checked(tmp_path, "", adder(1.0))
    assert _lines(checked.config) == (
        'max_batch_size: 4 input { name: "X" data_type: TYPE_FP32 dims: 1 } output { name: "Y" data_type: TYPE_FP32 '
        'dims: 1 } dynamic_batching { } backend: "onnxruntime"'
    )
    assert checked.notes[0] == "config.pbtxt got its inputs and outputs from the model, with max_batch_size: 4"


def test_what_the_configuration_says_stays(tmp_path: Path) -> None:
    text = 'max_batch_size: 2 input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]'
    checked = _checked(tmp_path, text, adder(1.0))
    assert checked.notes[0] == "config.pbtxt got its outputs from the model, with max_batch_size: 2"
    assert checked.config.max_batch_size == 2
    assert [tensor.name for tensor in checked.config.outputs] == ["Y"]


def test_what_triton_feeds_is_no_input_of_callers(tmp_path: Path) -> None:
    checked = _checked(
        tmp_path,
        """sequence_batching {
             control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ]
             state [ { input_name: "SUM" output_name: "NEXT" data_type: TYPE_FP32 dims: [ 1 ] } ] }""",
        stateful(),
    )
    assert [tensor.name for tensor in checked.config.inputs] == ["X"]
    assert "dynamic_batching" not in checked.config.text()


def test_without_batches_nothing_is_batched(tmp_path: Path) -> None:
    fixed = graph(
        {"X": (TensorProto.FLOAT, [])}, {"Y": (TensorProto.FLOAT, [])}, [helper.make_node("Neg", ["X"], ["Y"])]
    )
    checked = _checked(tmp_path, 'backend: "onnxruntime"', fixed)
    assert _lines(checked.config) == (
        'input { name: "X" data_type: TYPE_FP32 dims: 1 } output { name: "Y" data_type: TYPE_FP32 dims: 1 } '
        'backend: "onnxruntime"'
    )
    with pytest.raises(Refused) as caught:
        _checked(tmp_path, 'backend: "onnxruntime" max_batch_size: 4')
    assert str(caught.value) == (
        "max_batch_size is 4, and a tensor of the model has no free first dimension for the batch; expected one in "
        "each; set max_batch_size: 0, or export the model with a dynamic first dimension"
    )


def test_vllm_gets_the_tensors_that_it_always_has(tmp_path: Path) -> None:
    checked = _checked(tmp_path, 'backend: "vllm" instance_group [ { kind: KIND_MODEL } ]', text_file="model.json")
    assert [(tensor.name, tensor.datatype, tensor.dims, tensor.optional) for tensor in checked.config.inputs] == [
        ("text_input", "BYTES", (1,), False),
        ("stream", "BOOL", (1,), True),
        ("sampling_parameters", "BYTES", (1,), True),
        ("exclude_input_in_output", "BOOL", (1,), True),
    ]
    assert [(tensor.name, tensor.dims) for tensor in checked.config.outputs] == [("text_output", (-1,))]
    assert checked.config.decoupled
    assert checked.notes == ("config.pbtxt got vLLM's inputs, outputs and decoupled answers",)


@pytest.mark.parametrize(
    ("backend", "file", "advice"),
    [
        ("python", "model.py", "add what auto_complete_config of model.py sets"),
        ("tensorrt", "model.plan", "add what the model has"),
        ("ours", "model.bin", "add what the model has"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_reason(tmp_path: Path, backend: str, file: str, advice: str) -> None:
    with pytest.raises(Refused) as caught:
        _checked(tmp_path, f'backend: "{backend}"', text_file=file)
    assert str(caught.value) == (
        "config.pbtxt has neither inputs nor outputs; expected all of them, since Triton runs without auto-complete "
        f"here and would refuse every request; {advice}"
    )

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mm_publisher import onnx_model
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused, UsageError
from mm_publisher.onnx_model import DATATYPES, Graph, Value
from mm_publisher.rules import core, onnx_backend
from mm_publisher.session import open_model
from mm_publisher.trial import run_once
from mm_publisher.write_config import ConfigOptions, write_config
from publisher_testing.models import graph

_DIMS = st.lists(st.one_of(st.integers(1, 4), st.sampled_from(["batch", "n", "m"])), max_size=4)


def _model(tensors: list[tuple[int, list[int | str]]]) -> onnx.ModelProto:
    """Each tensor goes through unchanged."""
    nodes = [helper.make_node("Identity", [f"in{number}"], [f"out{number}"]) for number in range(len(tensors))]
    inputs = {f"in{number}": tensor for number, tensor in enumerate(tensors)}
    outputs = {f"out{number}": tensor for number, tensor in enumerate(tensors)}
    return graph(dict(inputs), dict(outputs), nodes)


@settings(deadline=None, max_examples=60)
@given(tensors=st.lists(st.tuples(st.sampled_from(list(DATATYPES)), _DIMS), min_size=1, max_size=3), gpu=st.booleans())
def test_what_is_made_agrees_with_the_model_and_runs(tensors: list[tuple[int, list[int | str]]], gpu: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(_model(tensors), path)
        opened = open_model(path)
        config = write_config(opened.graph, "m", ConfigOptions(gpu=gpu))
        assert core.problems(config) == []
        assert onnx_backend.disagreements(opened.graph, config) == []
        assert ModelConfig.parse(config.text()).text() == config.text()
        assert all(tensor.dims for tensor in (*config.inputs, *config.outputs))
        batchable = all(dims[:1] and isinstance(dims[0], str) for _, dims in tensors)
        assert config.max_batch_size == (8 if batchable else 0)
        assert ("KIND_GPU" if gpu else "KIND_CPU") in config.text()
        assert "ran on zeros" in run_once(opened, config)


def _graph(*dims: int) -> Graph:
    return Graph({"x": Value("x", "FP32", "FP32", dims)}, {"y": Value("y", "BYTES", "BYTES", dims)})


def test_every_option_is_written() -> None:
    options = ConfigOptions(
        gpu=True,
        instances=2,
        max_batch_size=16,
        dynamic_batching=True,
        preferred_batch_sizes=(4, 8),
        max_queue_delay_us=100,
    )
    assert write_config(_graph(-1, 3), "m", options).text().splitlines() == [
        'name: "m"', "max_batch_size: 16",
        "input {", '  name: "x"', "  data_type: TYPE_FP32", "  dims: 3", "}",
        "output {", '  name: "y"', "  data_type: TYPE_STRING", "  dims: 3", "}",
        "instance_group {", "  count: 2", "  kind: KIND_GPU", "}",
        "dynamic_batching {", "  preferred_batch_size: 4", "  preferred_batch_size: 8",
        "  max_queue_delay_microseconds: 100", "}",
        'backend: "onnxruntime"',
    ]  # fmt: skip


def test_a_tensor_of_the_batch_alone_is_reshaped_and_a_scalar_is_not() -> None:
    config = write_config(_graph(-1), "m", ConfigOptions())
    assert [(tensor.dims, tensor.model_dims) for tensor in (*config.inputs, *config.outputs)] == [((1,), ())] * 2
    scalar = write_config(_graph(), "m", ConfigOptions())
    assert scalar.max_batch_size == 0
    assert "reshape" not in scalar.text()
    assert [tensor.dims for tensor in (*scalar.inputs, *scalar.outputs)] == [(1,), (1,)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ConfigOptions(preferred_batch_sizes=(4,)), "add --dynamic-batching"),
        (ConfigOptions(max_queue_delay_us=4), "add --dynamic-batching"),
        (ConfigOptions(max_batch_size=0, dynamic_batching=True), "dynamic batching needs a model that takes batches"),
        (ConfigOptions(dynamic_batching=True, preferred_batch_sizes=(9,)), "from 1 to max_batch_size, which is 8"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: ConfigOptions, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        write_config(_graph(-1, 3), "m", options)


def test_a_batch_needs_a_free_dimension() -> None:
    with pytest.raises(Refused, match=r"needs a free first dimension in every tensor, and these have none: x \[1, 3\]"):
        write_config(_graph(1, 3), "m", ConfigOptions(max_batch_size=4))
    assert write_config(_graph(1, 3), "m", ConfigOptions()).max_batch_size == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Value("y", "", "a sequence", None), r"'y' is a sequence; for scikit-learn classifiers: .*zipmap"),
        (Value("y", "", "of ONNX type COMPLEX64", (1,)), "'y' is of ONNX type COMPLEX64"),
        (Value("y", "FP32", "FP32", None), "'y' has no shape in the graph; run onnx.shape_inference"),
    ],
)
def test_what_no_configuration_can_say_is_refused(value: Value, expected: str) -> None:
    with pytest.raises(Refused, match=expected):
        write_config(Graph(_graph(1).inputs, {"y": value}), "m", ConfigOptions())


def test_the_graph_of_an_unservable_type_is_read(tmp_path: Path) -> None:
    onnx.save(_model([(TensorProto.FLOAT8E5M2, [1])]), tmp_path / "model.onnx")
    assert onnx_model.read(tmp_path / "model.onnx").inputs["in0"].kind == "of ONNX type FLOAT8E5M2"

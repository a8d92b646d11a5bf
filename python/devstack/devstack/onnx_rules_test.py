"""The stand-in's rules and the publisher's are written apart, for different readers; they must not part."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]
from google.protobuf.json_format import MessageToDict
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2 as pb

from devstack.onnx_models import IR_VERSION, OPSET
from mm_publisher.config import ModelConfig
from mm_publisher.rules import core, onnx_backend
from mm_publisher.session import Opened, open_model
from mm_publisher.write_config import ConfigOptions, write_config

_FILE = Path(__file__).with_name("backends") / "onnxruntime/onnx_rules.py"
_ONNX_TYPES = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64, "STRING": TensorProto.STRING}
_DIMS = st.lists(st.sampled_from(["n", "m", 1, 2]), max_size=3)


def _standin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("onnx_rules", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_STANDIN = _standin()


def _model(tensors: list[tuple[str, list[int | str]]]) -> onnx.ModelProto:
    """Each input goes through to the output of its number."""
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("Identity", [f"in{i}"], [f"out{i}"]) for i in range(len(tensors))],
        "test",
        [value(f"in{i}", _ONNX_TYPES[kind], dims) for i, (kind, dims) in enumerate(tensors)],
        [value(f"out{i}", _ONNX_TYPES[kind], dims) for i, (kind, dims) in enumerate(tensors)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return model


def _standin_refuses(config: ModelConfig, path: Path) -> bool:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    as_json: dict[str, Any] = MessageToDict(
        config.proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    try:
        _STANDIN.validate(as_json, session)
    except _STANDIN.RefusalError:
        return True
    return False


def _open(model: onnx.ModelProto, folder: Path) -> tuple[Path, Opened]:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path, open_model(path)


_TENSORS = st.lists(st.tuples(st.sampled_from(sorted(_ONNX_TYPES)), _DIMS), min_size=1, max_size=2)


@settings(deadline=None)
@given(tensors=_TENSORS)
def test_what_the_publisher_writes_the_standin_takes(
    tmp_path_factory: Any, tensors: list[tuple[str, list[int | str]]]
) -> None:
    path, opened = _open(_model(tensors), tmp_path_factory.mktemp("model"))
    config = write_config(opened.graph, "m", ConfigOptions())
    assert not _standin_refuses(config, path)


def _with_dim(tensor: Any, draw: st.DrawFn) -> None:
    tensor.dims[draw(st.integers(0, len(tensor.dims) - 1))] = draw(st.sampled_from([-1, 1, 2, 3]))


def _with_more_dims(tensor: Any, draw: st.DrawFn) -> None:
    tensor.dims.append(draw(st.sampled_from([-1, 1])))


def _with_fewer_dims(tensor: Any, draw: st.DrawFn) -> None:
    del tensor.dims[1:]


def _without_reshape(tensor: Any, draw: st.DrawFn) -> None:
    tensor.ClearField("reshape")


def _of_type(tensor: Any, draw: st.DrawFn) -> None:
    tensor.data_type = draw(st.sampled_from([pb.TYPE_FP16, pb.TYPE_BF16, pb.TYPE_INT64]))


def _named(tensor: Any, draw: st.DrawFn) -> None:
    tensor.name = draw(st.sampled_from(["in0", "in1", "out0", "out1", "other"]))


def _optional(tensor: Any, draw: st.DrawFn) -> None:
    if isinstance(tensor, pb.ModelInput):
        tensor.optional = True


def _ragged(tensor: Any, draw: st.DrawFn) -> None:
    if isinstance(tensor, pb.ModelInput):
        tensor.allow_ragged_batch = True


_CHANGES = [
    _with_dim, _with_dim, _with_more_dims, _with_fewer_dims, _without_reshape, _of_type, _named, _optional, _ragged
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(tensors=_TENSORS, data=st.data())
def test_publisher_and_standin_refuse_the_same(
    tmp_path_factory: Any, tensors: list[tuple[str, list[int | str]]], data: st.DataObject
) -> None:
    path, opened = _open(_model(tensors), tmp_path_factory.mktemp("model"))
    # From what Triton takes, a step away: were there several, one would hide the others.
    proto = write_config(opened.graph, "m", ConfigOptions()).proto
    if data.draw(st.booleans()):
        tensor = data.draw(st.sampled_from([*proto.input, *proto.output]))
        data.draw(st.sampled_from(_CHANGES))(tensor, data.draw)
    else:
        change = data.draw(st.sampled_from(["batch", "no input", "input twice", "no output", "nothing"]))
        if change == "batch":
            proto.max_batch_size = 0 if proto.max_batch_size else 4
        elif change == "no input":
            del proto.input[-1]
        elif change == "input twice":
            proto.input.append(proto.input[0])
        elif change == "no output":
            del proto.output[-1]
    config = ModelConfig(proto)
    # What Triton's core refuses, the backend never sees.
    assume(not core.problems(config))
    assert bool(onnx_backend.disagreements(opened.graph, config)) == _standin_refuses(config, path)

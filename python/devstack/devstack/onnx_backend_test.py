from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from onnx import TensorProto, helper

from devstack.onnx_models import add_sub, finish
from devstack.triton import Triton, TritonError
from devstack.triton_wheels import triton_wheels

_PLATFORM = 'platform: "onnxruntime_onnx"\n'
_ADD_SUB_INPUTS = """
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "INPUT1" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""


Build = Callable[[], onnx.ModelProto]


def _one_node(operator: str, kind: int, output_shape: Sequence[str | int], **constant: NDArray[np.generic]) -> Build:
    """A model of one node: x [n], and the constant, in; y out."""
    value = helper.make_tensor_value_info
    return lambda: finish(
        "one_node",
        [helper.make_node(operator, ["x", *constant], ["y"])],
        [value("x", kind, ["n"])],
        [value("y", kind, output_shape)],
        constant,
    )


def _plus(number: float) -> Build:
    return _one_node("Add", TensorProto.FLOAT16, ["n"], number=np.array(number, np.float16))


def _tensors(kind: str, dims: str = "-1", output: str = "y", output_dims: str = "-1") -> str:
    return (
        f'input [ {{ name: "x" data_type: TYPE_{kind} dims: [ {dims} ] }} ]\n'
        f'output [ {{ name: "{output}" data_type: TYPE_{kind} dims: [ {output_dims} ] }} ]\n'
    )


_GOOD: dict[str, tuple[str, dict[str, Build]]] = {
    "strings": (_tensors("STRING"), {"1/model.onnx": _one_node("Identity", TensorProto.STRING, ["n"])}),
    "versions": (
        _tensors("FP16") + "version_policy { specific { versions: [ 1, 3 ] } }",
        {"1/model.onnx": _plus(1), "2/model.onnx": _plus(2), "3/model.onnx": _plus(3)},
    ),
    "own_file_name": (_tensors("FP16") + 'default_model_filename: "weights.onnx"', {"1/weights.onnx": _plus(1)}),
    "three_columns": (
        _tensors("FP32", output_dims="-1, 3"),
        {"1/model.onnx": _one_node("Reshape", TensorProto.FLOAT, ["rows", 3], shape=np.array([-1, 3]))},
    ),
}
_BROKEN = {
    "wrong_output": (_tensors("FP16", output="z"), "unexpected inference output 'z', allowed outputs are: y"),
    "wrong_type": (
        _tensors("FP32"),
        "configuration expects datatype TYPE_FP32 for input 'x', model provides TYPE_FP16",
    ),
    "wrong_dims": (
        _tensors("FP16", dims="-1, 4"),
        r"tensor 'x': the model expects 1 dimensions \(shape \[-1\]\) but the model configuration specifies 2",
    ),
    "unwanted_batch": (
        _tensors("FP16") + "max_batch_size: 4",
        "an initial batch dimension because max_batch_size > 0",
    ),
}


def _write(folder: Path, config: str, files: dict[str, Build]) -> None:
    for name, build in files.items():
        (folder / name).parent.mkdir(parents=True)
        onnx.save(build(), folder / name)
    (folder / "config.pbtxt").write_text(config)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("onnx")
    for name, (config, files) in _GOOD.items():
        _write(folder / "models" / name, _PLATFORM + config, files)
    for name, (config, _) in _BROKEN.items():
        _write(folder / "models" / name, _PLATFORM + config, {"1/model.onnx": _plus(1)})
    _write(folder / "models/no_file", _PLATFORM + _tensors("FP16"), {"1/model.onnx": _plus(1)})
    (folder / "models/no_file/1/model.onnx").unlink()
    with Triton(folder / "models", triton_wheels(), log=folder / "log") as triton:
        triton.wait_ready(list(_GOOD))
        yield triton


def _infer(
    triton: Triton, model: str, value: NDArray[np.generic], dtype: str, version: str = ""
) -> grpcclient.InferResult:
    tensor = grpcclient.InferInput("x", value.shape, dtype)
    tensor.set_data_from_numpy(value)
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        return client.infer(model, [tensor], model_version=version, client_timeout=20)


def test_strings_come_back(triton: Triton) -> None:
    texts = np.array(["Grüße".encode(), b"", b"a\x00b"], dtype=np.object_)
    assert _infer(triton, "strings", texts, "BYTES").as_numpy("y").tolist() == texts.tolist()


def test_bytes_that_are_no_text_are_an_error_of_that_request(triton: Triton) -> None:
    with pytest.raises(Exception, match=r"onnx runtime error: 'utf-8' codec can't decode"):
        _infer(triton, "strings", np.array([b"\xff"], dtype=np.object_), "BYTES")


@pytest.mark.parametrize(("version", "added"), [("1", 1), ("3", 3), ("", 3)])
def test_each_version_is_its_own_model(triton: Triton, version: str, added: int) -> None:
    value = np.array([0.5, -1], np.float16)
    result = _infer(triton, "versions", value, "FP16", version)
    assert result.as_numpy("y").tolist() == (value + added).tolist()
    assert result.get_response().model_version == str(added)


def test_a_version_that_the_policy_leaves_out_is_not_there(triton: Triton) -> None:
    with pytest.raises(Exception, match=r"version 2 is not found|unknown version|is not at ready state"):
        _infer(triton, "versions", np.zeros(1, np.float16), "FP16", "2")


def test_the_configured_file_name_is_used(triton: Triton) -> None:
    assert _infer(triton, "own_file_name", np.ones(1, np.float16), "FP16").as_numpy("y").tolist() == [2]


def test_an_error_while_running_has_the_runtimes_words(triton: Triton) -> None:
    assert _infer(triton, "three_columns", np.zeros(6, np.float32), "FP32").as_numpy("y").shape == (2, 3)
    with pytest.raises(Exception, match=r"onnx runtime error: .*cannot be reshaped"):
        _infer(triton, "three_columns", np.zeros(4, np.float32), "FP32")


@pytest.fixture(scope="module")
def refusals(triton: Triton) -> str:
    """What Triton says about the models that it cannot load, after it has tried them all."""
    with pytest.raises(TritonError) as error:
        triton.wait_ready([*_BROKEN, "no_file"], timeout=10)
    return str(error.value)


@pytest.mark.parametrize("name", _BROKEN)
def test_a_configuration_that_contradicts_the_model_is_refused_in_tritons_words(refusals: str, name: str) -> None:
    assert re.search(f"{name} 1: (UNAVAILABLE|LOADING) .*{_BROKEN[name][1]}", refusals)


def test_a_missing_file_is_named(refusals: str) -> None:
    assert re.search(r"no_file 1: (UNAVAILABLE|LOADING) .*model\.onnx", refusals)


def test_what_the_configuration_leaves_out_is_completed(tmp_path: Path) -> None:
    _write(tmp_path / "models/batching", "", {"1/model.onnx": add_sub})
    _write(tmp_path / "models/half", _PLATFORM + _ADD_SUB_INPUTS + "max_batch_size: 2", {"1/model.onnx": add_sub})
    with Triton(tmp_path / "models", triton_wheels(), log=tmp_path / "log", auto_complete_config=True) as triton:
        triton.wait_ready()
        with grpcclient.InferenceServerClient(triton.grpc_url) as client:
            found = {name: client.get_model_config(name).config for name in ("batching", "half")}
            outputs = [tensor.name for tensor in client.get_model_metadata("half").outputs]

    assert {name: config.max_batch_size for name, config in found.items()} == {"batching": 4, "half": 2}
    assert [list(tensor.dims) for tensor in found["batching"].input] == [[-1], [-1]]
    assert outputs == ["SUM", "DIFFERENCE"]

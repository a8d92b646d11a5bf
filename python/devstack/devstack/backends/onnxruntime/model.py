"""Serves models of `platform: "onnxruntime_onnx"`: a stand-in for Triton's C++ backend of that name.

It runs inside Triton's python backend, once per model instance, in Triton's own site. Reads what the C++ backend
reads: the version folder's model.onnx or `default_model_filename`, inputs and outputs of every type that numpy has,
and the parameters intra_op_thread_count and inter_op_thread_count. Runs on the CPU only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-not-found, unused-ignore]
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]

_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
# What Triton sets for a model that can batch and whose configuration is silent about it.
_DEFAULT_MAX_BATCH_SIZE = 4


def _parameter(config: dict[str, Any], name: str) -> int:
    return int(config.get("parameters", {}).get(name, {}).get("string_value", 0))


def _open(config: dict[str, Any], version_folder: Path) -> Any:
    file = version_folder / (config.get("default_model_filename") or "model.onnx")
    if not file.is_file():
        raise FileNotFoundError(f"unable to find '{file}' for model '{config['name']}'")
    options = ort.SessionOptions()
    options.intra_op_num_threads = _parameter(config, "intra_op_thread_count")
    options.inter_op_num_threads = _parameter(config, "inter_op_thread_count")
    options.log_severity_level = 3
    # Threads that spin between two requests would take the machine's few cores from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _dims(shape: list[Any]) -> list[int]:
    """Returns the dimensions with -1 for each that has a name or nothing instead of a number."""
    return [dim if isinstance(dim, int) else -1 for dim in shape]


def _agree(configured: list[int], real: list[int]) -> bool:
    if len(configured) != len(real):
        return False
    return all(-1 in pair or pair[0] == pair[1] for pair in zip(configured, real, strict=True))


def _check(config: dict[str, Any], kind: str, real: dict[str, Any]) -> None:
    """Raises what Triton says where the configuration names tensors that the model does not have."""
    batch = [-1] if config["max_batch_size"] > 0 else []
    for tensor in config[kind]:
        name = tensor["name"]
        if name not in real:
            allowed = ", ".join(sorted(real))
            raise ValueError(f"unexpected inference {kind} '{name}', allowed {kind}s are: {allowed}")
        expected = _TYPES.get(real[name].type, real[name].type)
        if tensor["data_type"] != expected:
            raise ValueError(
                f"unexpected datatype {tensor['data_type']} for inference {kind} '{name}', expecting {expected}"
            )
        wanted = [int(dim) for dim in tensor.get("reshape", {}).get("shape", tensor["dims"])]
        dims = _dims(real[name].shape)
        if not _agree(batch + wanted, dims):
            raise ValueError(
                f"model '{config['name']}', tensor '{name}': the model expects {len(dims)} dimensions (shape {dims}) "
                f"but the model configuration specifies {len(batch + wanted)} dimensions"
                f"{' (an initial batch dimension because max_batch_size > 0)' if batch else ''} "
                f"(shape {batch + wanted})"
            )


class TritonPythonModel:
    """One instance of one ONNX model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fills inputs, outputs and batching in from the model where the configuration is silent."""
        config = auto_complete_model_config.as_dict()
        session = _open(config, Path(pb_utils.get_model_dir()))
        tensors = [*session.get_inputs(), *session.get_outputs()]
        silent = not config["input"] and not config["output"] and config["max_batch_size"] == 0
        if silent and all(_dims(tensor.shape)[:1] == [-1] for tensor in tensors):
            auto_complete_model_config.set_max_batch_size(_DEFAULT_MAX_BATCH_SIZE)
            auto_complete_model_config.set_dynamic_batching()
        skip = 1 if auto_complete_model_config.as_dict()["max_batch_size"] > 0 else 0
        for kind, found in (("input", session.get_inputs()), ("output", session.get_outputs())):
            named = {tensor["name"] for tensor in config[kind]}
            for tensor in found:
                if tensor.name not in named:
                    entry = {"name": tensor.name, "data_type": _TYPES[tensor.type], "dims": _dims(tensor.shape)[skip:]}
                    getattr(auto_complete_model_config, f"add_{kind}")(entry)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and holds the configuration against it."""
        config = json.loads(args["model_config"])
        self._session = _open(config, Path(args["model_repository"]) / args["model_version"])
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        _check(config, "input", inputs)
        _check(config, "output", {tensor.name: tensor for tensor in self._session.get_outputs()})
        self._text_inputs = {name for name, tensor in inputs.items() if tensor.type == "tensor(string)"}
        self._text_outputs = {tensor.name for tensor in self._session.get_outputs() if tensor.type == "tensor(string)"}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request by itself, so that one that fails does not fail the others."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            feed = {tensor.name(): self._decoded(tensor) for tensor in request.inputs()}
            names = list(request.requested_output_names())
            results = self._session.run(names, feed)
        except (ort.capi.onnxruntime_pybind11_state.Fail, RuntimeError, ValueError) as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnx runtime error: {error}"))
        outputs = [
            pb_utils.Tensor(name, self._encoded(name, value)) for name, value in zip(names, results, strict=True)
        ]
        return pb_utils.InferenceResponse(outputs)

    def _decoded(self, tensor: Any) -> Any:
        value = tensor.as_numpy()
        if tensor.name() in self._text_inputs:
            # ONNX strings are UTF-8; other bytes are answered with an error.
            return np.array([item.decode("utf-8") for item in value.ravel()], dtype=object).reshape(value.shape)
        return value

    def _encoded(self, name: str, value: Any) -> Any:
        if name in self._text_outputs:
            return np.array([item.encode("utf-8") for item in value.ravel()], dtype=object).reshape(value.shape)
        return np.ascontiguousarray(value)

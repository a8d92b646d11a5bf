"""Serves models of `platform: "onnxruntime_onnx"`: a stand-in for Triton's C++ backend of that name.

It runs inside Triton's python backend, once per model instance, with Triton's own wheels. Reads what the C++ backend
reads: the version folder's model.onnx or `default_model_filename`, a file or a folder that holds a model.onnx, and the
parameters intra_op_thread_count and inter_op_thread_count; refuses what that refuses (`onnx_rules`). Runs on the CPU
only, and each request by itself.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx_rules  # type: ignore[import-not-found, unused-ignore]  # Triton puts this folder on the path
import onnxruntime as ort  # type: ignore[import-not-found, unused-ignore]
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]

_Fail = ort.capi.onnxruntime_pybind11_state.Fail
_InvalidArgument = ort.capi.onnxruntime_pybind11_state.InvalidArgument
# What Triton sets for a model that can batch and whose configuration is silent about it.
_DEFAULT_MAX_BATCH_SIZE = 4


def _parameter(config: dict[str, Any], name: str) -> int:
    return int(config.get("parameters", {}).get(name, {}).get("string_value", 0))


def _open(config: dict[str, Any], version_folder: Path) -> Any:
    file = version_folder / (config.get("default_model_filename") or "model.onnx")
    if file.is_dir():
        file /= "model.onnx"
    if not file.is_file():
        raise FileNotFoundError(f"unable to find '{file}' for model instance '{config['name']}'")
    options = ort.SessionOptions()
    options.intra_op_num_threads = _parameter(config, "intra_op_thread_count")
    options.inter_op_num_threads = _parameter(config, "inter_op_thread_count")
    options.log_severity_level = 3
    # Threads that spin between two requests would take the machine's few cores from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _batch_values(entry: dict[str, Any], source: tuple[int, ...]) -> Any:
    """BatchInputShape and ProcessBatchInput, which the C++ backends have from backend_input_collector.cc."""
    count, rows, item = math.prod(source), source[0], list(source[1:])
    shape, values = {
        "BATCH_ELEMENT_COUNT": ((1,), [count]),
        "BATCH_ACCUMULATED_ELEMENT_COUNT": ((1,), [count]),
        "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": ((2,), [0, count]),
        "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": ((count,), [0] * count),
        "BATCH_ITEM_SHAPE": ((rows, len(item)), item * rows),
        "BATCH_ITEM_SHAPE_FLATTEN": ((rows * len(item),), item * rows),
    }[entry["kind"]]
    return np.array(values, np.int32 if entry["data_type"] == "TYPE_INT32" else np.float32).reshape(shape)


class TritonPythonModel:
    """One instance of one ONNX model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fills inputs, outputs and batching in from the model where the configuration is silent."""
        config = auto_complete_model_config.as_dict()
        session = _open(config, Path(pb_utils.get_model_dir()))
        inputs = {node.name: onnx_rules.Info(node) for node in session.get_inputs()}
        outputs = {node.name: onnx_rules.Info(node) for node in session.get_outputs()}
        silent = not config["input"] and not config["output"] and config["max_batch_size"] == 0
        if silent and all(info.dims[:1] == [-1] for info in (*inputs.values(), *outputs.values())):
            auto_complete_model_config.set_max_batch_size(_DEFAULT_MAX_BATCH_SIZE)
            auto_complete_model_config.set_dynamic_batching()
        skip = 1 if auto_complete_model_config.as_dict()["max_batch_size"] > 0 else 0
        for kind, found in (("input", inputs), ("output", outputs)):
            if config[kind]:
                continue
            for name, info in found.items():
                entry = {"name": name, "data_type": info.type, "dims": info.dims[skip:] or [1]}
                if skip and not info.dims[skip:]:
                    entry["reshape"] = {"shape": []}
                getattr(auto_complete_model_config, f"add_{kind}")(entry)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and holds the configuration against it."""
        config = json.loads(args["model_config"])
        self._session = _open(config, Path(args["model_repository"]) / args["model_version"])
        onnx_rules.validate(config, self._session)
        self._ranks = {node.name: len(node.shape) for node in self._session.get_inputs()}
        texts = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._texts = {node.name for node in texts if node.type == "tensor(string)"}
        self._ragged = {tensor["name"] for tensor in config["input"] if tensor["allow_ragged_batch"]}
        self._batch_inputs = config.get("batch_input", [])
        self._cut_up = {
            name: entry["source_input"][0] for entry in config.get("batch_output", []) for name in entry["target_name"]
        }
        self._dims = {tensor["name"]: [int(dim) for dim in tensor["dims"]] for tensor in config["output"]}
        self._states = config.get("sequence_batching", {}).get("state", [])
        # What Triton's core keeps for the C++ backend, and can't for a Python one: the states of running sequences.
        self._kept: dict[int | str, dict[str, Any]] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request by itself, so that one that fails does not fail the others."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        names = list(request.requested_output_names())
        wanted = [*names, *(state["output_name"] for state in self._states)]
        try:
            given = {tensor.name(): self._decoded(tensor) for tensor in request.inputs()}
            results = dict(zip(wanted, self._session.run(wanted, self._feed(request, given)), strict=True))
        except (_Fail, _InvalidArgument, RuntimeError, ValueError) as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnx runtime error: {error}"))
        self._keep(request, {state["input_name"]: results[state["output_name"]] for state in self._states})
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, self._encoded(name, results[name], given)) for name in names]
        )

    def _feed(self, request: Any, given: dict[str, Any]) -> dict[str, Any]:
        """SetInputTensors."""
        kept = {} if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START else self._kept
        feed = {**given, **kept.get(request.correlation_id(), {})}
        for name in self._ragged:
            feed[name] = feed[name].reshape(-1)
        for name, value in feed.items():
            if self._ranks.get(name) == 0 and name not in self._texts:
                feed[name] = value.reshape(-1)[:1].reshape(())
        for entry in self._batch_inputs:
            for name in entry["target_name"]:
                feed[name] = _batch_values(entry, given[entry["source_input"][0]].shape)
        return feed

    def _keep(self, request: Any, states: dict[str, Any]) -> None:
        if not states or not request.correlation_id():
            # Triton fills a batch up with requests of no sequence.
            return
        if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
            self._kept.pop(request.correlation_id(), None)
        else:
            self._kept[request.correlation_id()] = states

    def _decoded(self, tensor: Any) -> Any:
        value = tensor.as_numpy()
        if tensor.name() in self._texts:
            # ONNX strings are UTF-8; other bytes are answered with an error.
            return np.array([item.decode("utf-8") for item in value.ravel()], dtype=object).reshape(value.shape)
        return value

    def _encoded(self, name: str, value: Any, given: dict[str, Any]) -> Any:
        """ReadOutputTensors: a scalar gets the configured dimensions, a ragged batch is cut up by its input's."""
        if name in self._cut_up:
            value = value.reshape(given[self._cut_up[name]].shape)
        elif np.ndim(value) == 0:
            value = np.asarray(value).reshape(self._dims[name])
        if name in self._texts:
            return np.array([item.encode("utf-8") for item in value.ravel()], dtype=object).reshape(value.shape)
        return np.ascontiguousarray(value)

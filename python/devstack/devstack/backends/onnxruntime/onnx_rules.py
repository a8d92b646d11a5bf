"""What Triton's onnxruntime backend refuses when it loads a model, in its own words.

Repeats onnxruntime.cc and onnxruntime_utils.cc of triton-inference-server/onnxruntime_backend, function by function,
quirks included: `batch_input` entries are counted, not their targets, and states are not looked at by name.
"""

from __future__ import annotations

from typing import Any

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
# ModelConfigDataTypeToOnnxDataType knows no TYPE_BF16.
_SERVABLE = frozenset(_TYPES.values())
_BOOLEAN_CONTROLS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY")
_CONTROL_TYPES = {
    "int32_false_true": "TYPE_INT32",
    "fp32_false_true": "TYPE_FP32",
    "bool_false_true": "TYPE_BOOL",
}


class RefusalError(ValueError):
    """The backend does not load the model."""


class Info:
    """One of the session's tensors; OnnxTensorInfo.

    Args:
        node: ONNX Runtime's description of it.

    Raises:
        RefusalError: it is no tensor.
    """

    def __init__(self, node: Any) -> None:
        if not node.type.startswith("tensor("):
            kind = {"seq": "ONNX_TYPE_SEQUENCE", "map": "ONNX_TYPE_MAP"}.get(node.type[:3], "ONNX_TYPE_UNKNOWN")
            raise RefusalError(f"Unsupported ONNX Type '{kind}' for I/O '{node.name}', expected 'ONNX_TYPE_TENSOR'.")
        self.dims = [dim if isinstance(dim, int) else -1 for dim in node.shape]
        self.type = _TYPES.get(node.type, "TYPE_INVALID")


def validate(config: dict[str, Any], session: Any) -> None:
    """Raises what the backend says of a configuration; the constructor of ModelInstanceState.

    Args:
        config: the model's, as Triton gives it in JSON.
        session: ONNX Runtime's.

    Raises:
        RefusalError: the backend does not load the model.
    """
    inputs = {node.name: Info(node) for node in session.get_inputs()}
    count = sum(not tensor["optional"] for tensor in config["input"]) + len(config.get("batch_input", []))
    sequences = config.get("sequence_batching")
    if sequences:
        count += _validate_controls(config, sequences, inputs) + len(sequences.get("state", []))
    _validate_inputs(config, session, inputs, count)
    _validate_outputs(config, {node.name: Info(node) for node in session.get_outputs()})


def _validate_controls(config: dict[str, Any], sequences: dict[str, Any], inputs: dict[str, Info]) -> int:
    """ValidateBooleanSequenceControl and ValidateTypedSequenceControl; returns how many there are."""
    found = 0
    for tensor in sequences.get("control_input", []):
        for control in tensor["control"]:
            name, kind = tensor["name"], control["kind"]
            if kind in _BOOLEAN_CONTROLS:
                datatype = next(datatype for field, datatype in _CONTROL_TYPES.items() if control.get(field))
            else:
                datatype = control["data_type"]
            if name not in inputs:
                raise RefusalError(
                    f"configuration specified sequence control '{name}', but model does not provide that input"
                )
            dims = inputs[name].dims[1 if config["max_batch_size"] > 0 else 0 :]
            if dims != [1]:
                raise RefusalError(
                    f"unable to load model '{config['name']}', sequence control '{name}' in model has dims "
                    f"{_shape(dims)} but dims [1] is expected"
                )
            if datatype != inputs[name].type:
                raise RefusalError(
                    f"unable to load model '{config['name']}', sequence control '{name}', the model expects data-type "
                    f"{inputs[name].type} but the model configuration specifies data-type {datatype}"
                )
            found += 1
    return found


def _validate_inputs(config: dict[str, Any], session: Any, inputs: dict[str, Info], count: int) -> None:
    """ValidateInputs."""
    load = f"unable to load model '{config['name']}', "
    if len(inputs) != count:
        raise RefusalError(f"{load}configuration expects {count} inputs, model provides {len(inputs)}")
    known = {**inputs, **{node.name: Info(node) for node in session.get_overridable_initializers()}}
    for tensor in config["input"]:
        name = tensor["name"]
        if tensor["optional"] and config["max_batch_size"] != 0:
            raise RefusalError(f"{load}optional input '{name}' is not supported for models that support batching")
        if name not in known:
            raise RefusalError(f"unexpected inference input '{name}', allowed inputs are: {', '.join(sorted(known))}")
        _validate_type(config, "input", tensor, known[name])
        if tensor["allow_ragged_batch"]:
            _validate_ragged(load, tensor, known[name])
        else:
            _validate_dims(config, tensor, known[name], exact=False)


def _validate_ragged(load: str, tensor: dict[str, Any], info: Info) -> None:
    if tensor["optional"]:
        raise RefusalError(
            f"{load}configuration expects model provides input with shape [-1] for ragged input '{tensor['name']}', "
            "which is not supported for optional input"
        )
    if info.dims != [-1]:
        raise RefusalError(
            f"{load}configuration expects model provides input with shape [-1]  for ragged input '{tensor['name']}', "
            f"model provides {_shape(info.dims)}"
        )


def _validate_outputs(config: dict[str, Any], outputs: dict[str, Info]) -> None:
    """ValidateOutputs, without the states: an inverted condition keeps the backend from looking at them."""
    batch_outputs = {name for entry in config.get("batch_output", []) for name in entry["target_name"]}
    for tensor in config["output"]:
        name = tensor["name"]
        if name not in outputs:
            raise RefusalError(
                f"unexpected inference output '{name}', allowed outputs are: {', '.join(sorted(outputs))}"
            )
        _validate_type(config, "output", tensor, outputs[name])
        if name not in batch_outputs:
            _validate_dims(config, tensor, outputs[name], exact=True)


def _validate_type(config: dict[str, Any], kind: str, tensor: dict[str, Any], info: Info) -> None:
    if tensor["data_type"] not in _SERVABLE:
        raise RefusalError(
            f"unsupported datatype {tensor['data_type']} for {kind} '{tensor['name']}' for model '{config['name']}'"
        )
    if tensor["data_type"] != info.type:
        raise RefusalError(
            f"unable to load model '{config['name']}', configuration expects datatype {tensor['data_type']} for {kind} "
            f"'{tensor['name']}', model provides {info.type}"
        )


def _validate_dims(config: dict[str, Any], tensor: dict[str, Any], info: Info, *, exact: bool) -> None:
    """CompareDimsSupported, and what its callers do with scalars; a tensor without a known rank counts as one."""
    dims = [int(dim) for dim in tensor.get("reshape", tensor).get("shape" if "reshape" in tensor else "dims", [])]
    if not info.dims:
        if any(dim != 1 for dim in dims):
            raise RefusalError(
                f"unable to load model '{config['name']}', scalar tensor '{tensor['name']}', should only provide 1 in "
                f"the model configuration when the model doesn't support batching. Model configuration provided: "
                f"{_shape(dims)}."
            )
        return
    said = f"model '{config['name']}', tensor '{tensor['name']}': "
    batching = config["max_batch_size"] > 0
    if batching and info.dims[0] != -1:
        raise RefusalError(
            f"{said}for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {_shape(info.dims)}"
        )
    full = [-1, *dims] if batching else dims
    if len(full) != len(info.dims) or any(
        theirs != ours for theirs, ours in zip(info.dims, full, strict=True) if exact or theirs != -1
    ):
        batch = (
            "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making "
            f"complete shape {_shape(full)}"
        )
        raise RefusalError(
            f"{said}the model expects {len(info.dims)} dimensions (shape {_shape(info.dims)}) but the model "
            f"configuration specifies {len(full)} dimensions ({batch if batching else f'shape {_shape(full)}'})"
        )


def _shape(dims: list[int]) -> str:
    return f"[{','.join(map(str, dims))}]"

"""Cases that Triton's onnxruntime backend decides, by the configuration and the model; see `triton_rules`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from publisher_testing.models import graph
from publisher_testing.triton_rules import BACKEND, BATCH, Case, Decides, X, Y

_FLOAT = TensorProto.FLOAT
_INPUTS = "onnxruntime.cc, ModelInstanceState::ValidateInputs"
_OUTPUTS = "onnxruntime.cc, ModelInstanceState::ValidateOutputs"
_DIMS = "onnxruntime_utils.cc, CompareDimsSupported"
_INFOS = "onnxruntime_utils.cc, InputOutputInitializerInfos"
_BOOLEAN = "onnxruntime.cc, ModelInstanceState::ValidateBooleanSequenceControl"
_TYPED = "onnxruntime.cc, ModelInstanceState::ValidateTypedSequenceControl"
_FEED = "onnxruntime.cc, ModelInstanceState::SetInputTensors"
_BIND = "onnxruntime.cc, ModelInstanceState::ProcessRequests"

Dims = list[int | str]
Build = Callable[[], onnx.ModelProto]


def through(dims: Dims | None, kind: int = _FLOAT, out: Dims | None = None) -> Build:
    """Y is X, of these dimensions; `out` are those that the file tells of Y."""
    return lambda: graph({"X": (kind, dims)}, {"Y": (kind, dims if out is None else out)},
                         [helper.make_node("Identity", ["X"], ["Y"])])  # fmt: skip


def _said(kind: str, name: str, dims: str, datatype: str = "FP32", more: str = "") -> str:
    return f'{kind} [ {{ name: "{name}" data_type: TYPE_{datatype} dims: {dims} {more} }} ]\n'


def _both(dims: str, batch: str = "", datatype: str = "FP32", more: str = "") -> str:
    return BACKEND + batch + _said("input", "X", dims, datatype, more) + _said("output", "Y", dims, datatype, more)


def _scaled(scale: Dims | None, **constants: NDArray[Any]) -> onnx.ModelProto:
    """Y [n] = X [n] × SCALE; SCALE has a default where there is a constant of that name."""
    return graph({"X": (_FLOAT, ["n"]), "SCALE": (_FLOAT, scale)}, {"Y": (_FLOAT, ["n"])},
                 [helper.make_node("Mul", ["X", "SCALE"], ["Y"])], constants)  # fmt: skip


def with_default() -> onnx.ModelProto:
    """Y [n] = X [n] × SCALE [1], which is 2 unless a request gives it."""
    return _scaled([1], SCALE=np.array([2], np.float32))


def stateful(before: str = "SUM", after: str = "NEXT") -> onnx.ModelProto:
    """Y = X + the sum of what the sequence had before, all of them FP32 [batch, 1], started anew by START."""
    tensor: tuple[int, Dims | None] = (_FLOAT, ["batch", 1])
    nodes = [
        helper.make_node("Sub", ["ONE", "START"], ["on"]),
        helper.make_node("Mul", [before, "on"], ["kept"]),
        helper.make_node("Add", ["X", "kept"], [after]),
        helper.make_node("Identity", [after], ["Y"]),
    ]
    return graph({"X": tensor, "START": tensor, before: tensor}, {"Y": tensor, after: tensor}, nodes,
                 {"ONE": np.array([[1]], np.float32)})  # fmt: skip


def ragged() -> onnx.ModelProto:
    """Y is X + the number of elements that END tells, both in one row: FP32 [-1]."""
    row: tuple[int, Dims | None] = (_FLOAT, ["n"])
    return graph({"X": row, "END": (_FLOAT, ["requests"])}, {"Y": row}, [helper.make_node("Add", ["X", "END"], ["Y"])])


def zip_map() -> onnx.ModelProto:
    """Y is X, FP32 [n, 2]; PROBABILITIES are a sequence of maps, as skl2onnx makes them by default."""
    node = helper.make_node("ZipMap", ["X"], ["PROBABILITIES"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    rows: tuple[int, Dims | None] = (_FLOAT, ["n", 2])
    model = graph({"X": rows}, {"Y": rows}, [helper.make_node("Identity", ["X"], ["Y"]), node])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(_FLOAT, []))
    model.graph.output.append(helper.make_value_info("PROBABILITIES", helper.make_sequence_type_proto(maps)))
    return model


def inferred() -> onnx.ModelProto:
    """Y is four times the sum of X; its dimension is free in the file, and ONNX Runtime infers [4]."""
    nodes = [
        helper.make_node("ReduceSum", ["X"], ["sum"], keepdims=1),
        helper.make_node("Expand", ["sum", "SIZE"], ["Y"]),
    ]
    return graph({"X": (_FLOAT, ["n"])}, {"Y": (_FLOAT, ["any"])}, nodes, {"SIZE": np.array([4], np.int64)})


_START = 'control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ]'
_STATE = 'state [ { input_name: "SUM" output_name: "NEXT" data_type: TYPE_FP32 dims: [ 1 ] } ]'
_RAGGED = (
    BACKEND + BATCH + _said("input", "X", "[ -1 ]", more="allow_ragged_batch: true") + _said("output", "Y", "[ -1 ]")
    + 'batch_output [ { target_name: "Y" source_input: "X" } ]\n'
)  # fmt: skip
_END = (
    'batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "END" data_type: TYPE_FP32 '
    'source_input: "X" } ]\n'
)


def _sequence(*parts: str) -> str:
    return BACKEND + BATCH + X + Y + f"sequence_batching {{ {' '.join(parts)} }}\n"


TAKEN = (
    Case("scalar", _both("[ 1 ]"), _INPUTS, model=through([])),
    Case("scalar_of_two_dims", _both("[ 1, 1 ]"), _INPUTS, model=through([])),
    Case("scalar_in_a_batch", _both("[ 1 ]", BATCH), _INPUTS, model=through([])),
    Case("no_dims_but_the_batch", _both("[ 1 ]", BATCH, more="reshape { shape: [ ] }"), _DIMS, model=through(["n"])),
    Case("without_a_rank", _both("[ 1 ]"), _INPUTS, model=through(None)),
    Case("free_dims", _both("[ -1, 3 ]"), _DIMS, model=through(["n", 3])),
    Case("free_input_fixed_by_config", BACKEND + _said("input", "X", "[ 5, 3 ]") + _said("output", "Y", "[ -1, 3 ]"),
         _DIMS, model=through(["n", 3])),
    Case("batch_and_dims", _both("[ 3 ]", BATCH), _DIMS, model=through(["n", 3])),
    Case("inferred_dims", BACKEND + _said("input", "X", "[ -1 ]") + _said("output", "Y", "[ 4 ]"), _OUTPUTS,
         model=inferred),
    Case("texts", _both("[ -1 ]", datatype="STRING"), _INPUTS, model=through(["n"], TensorProto.STRING)),
    Case("default_left_out", _both("[ -1 ]"), _INPUTS, model=with_default),
    Case("default_optional", BACKEND + _said("input", "X", "[ -1 ]") + _said("input", "SCALE", "[ 1 ]",
         more="optional: true") + _said("output", "Y", "[ -1 ]"), _INPUTS, model=with_default),
    Case("state_and_control", _sequence(_START, _STATE), _BOOLEAN, model=stateful),
    Case("state_for_callers_too", _sequence(_START, _STATE) + _said("output", "NEXT", "[ 1 ]"), _OUTPUTS,
         model=stateful),
    Case("ragged_batch", _RAGGED + _END, _INPUTS, model=ragged),
    Case("in_a_folder", BACKEND + BATCH + X + Y, "onnxruntime.cc, ModelState::LoadModel", file="model.onnx/model.onnx"),
    Case("some_outputs", BACKEND + _said("input", "X", "[ 1 ]") + _said("output", "Y", "[ 1 ]"), _OUTPUTS,
         model=lambda: graph({"X": (_FLOAT, [1])}, {"Y": (_FLOAT, [1]), "Z": (_FLOAT, [1])},
                             [helper.make_node("Identity", ["X"], [name]) for name in "YZ"])),
)  # fmt: skip


def _refused(name: str, config: str, source: str, refusal: str, says: str, model: Build) -> Case:
    return Case(name, config, source, refusal, says, Decides.BACKEND, model)


REFUSED = (
    _refused("scalar_of_many", _both("[ -1 ]"), _INPUTS, "scalar tensor 'X', should only provide 1",
             "input 'X' has no dimensions in the model, and dims [-1] in config.pbtxt; expected [1]; correct it",
             through([])),
    _refused("without_a_rank_free", _both("[ -1 ]"), _INPUTS, "scalar tensor 'X', should only provide 1",
             "input 'X' has no shape in the model, and dims [-1] in config.pbtxt; expected [1]; correct it",
             through(None)),
    _refused("input_fixed_otherwise", BACKEND + _said("input", "X", "[ -1, 4 ]") + _said("output", "Y", "[ -1, 3 ]"),
             _DIMS, "tensor 'X': the model expects 2 dimensions (shape [-1,3]) but the model configuration specifies 2 "
             "dimensions (shape [-1,4])",
             "input 'X' has dimensions [-1, 4] by config.pbtxt, and [-1, 3] in the model; expected as many, and the "
             "same where the model's are fixed; write dims: [-1, 3]", through(["n", 3])),
    _refused("input_free_where_fixed", BACKEND + _said("input", "X", "[ -1, -1 ]") + _said("output", "Y", "[ -1, 3 ]"),
             _DIMS, "tensor 'X': the model expects 2 dimensions (shape [-1,3])",
             "input 'X' has dimensions [-1, -1] by config.pbtxt, and [-1, 3] in the model; expected as many, and the "
             "same where the model's are fixed; write dims: [-1, 3]", through(["n", 3])),
    _refused("output_fixed_where_free", BACKEND + _said("input", "X", "[ -1, 3 ]") + _said("output", "Y", "[ 5, 3 ]"),
             _DIMS, "tensor 'Y': the model expects 2 dimensions (shape [-1,3])",
             "output 'Y' has dimensions [5, 3] by config.pbtxt, and [-1, 3] in the model; expected the same; write "
             "dims: [-1, 3]", through(["n", 3])),
    _refused("output_free_where_inferred", _both("[ -1 ]"), _DIMS,
             "tensor 'Y': the model expects 1 dimensions (shape [4])",
             "output 'Y' has dimensions [-1] by config.pbtxt, and [4] in the model; expected the same; write dims: [4]",
             inferred),
    _refused("dims_too_many", _both("[ 1, 3 ]", BATCH), _DIMS,
             "dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
             "making complete shape [-1,1,3])",
             "input 'X' has dimensions [-1, 1, 3] by config.pbtxt, the first for the batch, and [-1, 3] in the model; "
             "expected as many, and the same where the model's are fixed; write dims: [3]", through(["n", 3])),
    _refused("reshape_missing", _both("[ 1 ]", BATCH), _DIMS, "making complete shape [-1,1])",
             "input 'X' has dimensions [-1, 1] by config.pbtxt, the first for the batch, and [-1] in the model; "
             "expected as many, and the same where the model's are fixed; write dims: [ 1 ] with an empty reshape",
             through(["n"])),
    _refused("no_batch", _both("[ 3 ]", BATCH), _DIMS, "first dimension must be -1; but shape expected by the model is "
             "[1,3]", "input 'X' has dimensions [1, 3] in the model, and max_batch_size is more than 0; expected the "
             "first to be free for the batch; set max_batch_size: 0, or export the model with a dynamic first "
             "dimension",
             through([1, 3])),
    _refused("other_type", _both("[ -1 ]", datatype="FP64"), _INPUTS,
             "configuration expects datatype TYPE_FP64 for input 'X', model provides TYPE_FP32",
             "input 'X' is FP64 in config.pbtxt and FP32 in the model; expected the same; write data_type: TYPE_FP32",
             through(["n"])),
    _refused("bfloat16", _both("[ -1 ]", datatype="BF16"), _INPUTS, "unsupported datatype TYPE_BF16 for input 'X'",
             "input 'X' is of ONNX type BFLOAT16 in the model, which Triton's onnxruntime backend can't serve; "
             "expected "
             "a type such as FP32 or FP16; export the model with one", through(["n"], TensorProto.BFLOAT16)),
    _refused("unknown_input", _both("[ -1 ]").replace('"X"', '"Q"'), _INPUTS,
             "unexpected inference input 'Q', allowed inputs are: X",
             "input 'Q' is not in the model; expected X; correct its name, or remove it", through(["n"])),
    _refused("unknown_output", _both("[ -1 ]").replace('"Y"', '"Q"'), _OUTPUTS,
             "unexpected inference output 'Q', allowed outputs are: Y",
             "output 'Q' is not in the model; expected Y; correct its name, or remove it", through(["n"])),
    _refused("lacking_input", _both("[ -1 ]"), _INPUTS, "configuration expects 1 inputs, model provides 2",
             "config.pbtxt lacks the model's input 'SCALE'; expected all of X, SCALE; add it", lambda: _scaled([1])),
    _refused("input_twice", _both("[ -1 ]") + _said("input", "X", "[ -1 ]"), _INPUTS,
             "configuration expects 2 inputs, model provides 1",
             "input 'X' is there as input and as input; expected each input of the model once, since Triton counts "
             "them; "
             "remove the others", through(["n"])),
    _refused("default_not_optional", _both("[ -1 ]") + _said("input", "SCALE", "[ 1 ]"), _INPUTS,
             "configuration expects 2 inputs, model provides 1",
             "input 'SCALE' has a default in the model, and is not optional; expected optional: true; add it, or "
             "remove "
             "the input", with_default),
    _refused("optional_without_default", _both("[ -1 ]") + _said("input", "SCALE", "[ 1 ]", more="optional: true"),
             _INPUTS, "configuration expects 1 inputs, model provides 2",
             "input 'SCALE' is optional, and has no default in the model; expected optional: true for inputs with a "
             "default only; remove optional", lambda: _scaled([1])),
    _refused("optional_in_a_batch", _both("[ 1 ]", BATCH) + _said("input", "SCALE", "[ 1 ]", more="optional: true"),
             _INPUTS, "optional input 'SCALE' is not supported for models that support batching",
             "input 'SCALE' is optional, and max_batch_size is more than 0; expected one of them; set "
             "max_batch_size: 0, "
             "or remove optional",
             lambda: graph({"X": (_FLOAT, ["n", 1]), "SCALE": (_FLOAT, ["m", 1])}, {"Y": (_FLOAT, ["n", 1])},
                           [helper.make_node("Mul", ["X", "SCALE"], ["Y"])],
                           {"SCALE": np.array([[2]], np.float32)})),
    _refused("maps", _both("[ 2 ]", BATCH), _INFOS, "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O "
             "'PROBABILITIES'",
             "output 'PROBABILITIES' of the model is a sequence; expected tensors only, even where config.pbtxt does "
             "not "
             "name them; export the model so that it is one (for scikit-learn classifiers: convert_sklearn(..., "
             "options={'zipmap': False}))", zip_map),
    _refused("ragged_of_two_dims", _RAGGED + _END, _INPUTS, "model provides input with shape [-1]  for ragged input "
             "'X'",
             "input 'X' is ragged, and has dimensions [-1, -1] in the model; expected [-1], with the elements of all "
             "requests in one row; remove allow_ragged_batch, or export the model so",
             lambda: graph({"X": (_FLOAT, ["b", "n"]), "END": (_FLOAT, ["requests"])}, {"Y": (_FLOAT, ["b", "n"])},
                           [helper.make_node("Add", ["X", "END"], ["Y"])])),
    _refused("batch_input_left_out", _RAGGED, _INPUTS, "configuration expects 1 inputs, model provides 2",
             "config.pbtxt lacks the model's input 'END'; expected all of X, END; add it", ragged),
    _refused("control_left_out", _sequence(_STATE), _INPUTS, "configuration expects 2 inputs, model provides 3",
             "config.pbtxt lacks the model's input 'START'; expected all of X, START, SUM; add it", stateful),
    _refused("state_left_out", _sequence(_START), _INPUTS, "configuration expects 2 inputs, model provides 3",
             "config.pbtxt lacks the model's input 'SUM'; expected all of X, START, SUM; add it", stateful),
    _refused("control_unknown", _sequence(_START.replace('"START"', '"Q"'), _STATE), _BOOLEAN,
             "configuration specified sequence control 'Q', but model does not provide that input",
             "control_input 'Q', CONTROL_SEQUENCE_START, is no input of the model; expected one of X, START, SUM; "
             "correct "
             "its name", stateful),
    _refused("control_of_another_type", _sequence(_START.replace("fp32", "int32"), _STATE), _BOOLEAN,
             "sequence control 'START', the model expects data-type",
             "control_input 'START', CONTROL_SEQUENCE_START, is INT32 in config.pbtxt and FP32 in the model; expected "
             "the same; correct it", stateful),
    _refused("control_of_many", BACKEND + BATCH + X + _said("output", "Y", "[ 2 ]") + "sequence_batching { "
             "control_input "
             '[ { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT64 } ] } ] }\n', _TYPED,
             "sequence control 'ID' in model has dims [2] but dims [1] is expected",
             "control_input 'ID', CONTROL_SEQUENCE_CORRID, has dimensions [-1, 2] in the model; expected [-1, 1]; "
             "export "
             "the model so",
             lambda: graph({"X": (_FLOAT, ["n", 1]), "ID": (TensorProto.INT64, ["n", 2])}, {"Y": (_FLOAT, ["n", 2])},
                           [helper.make_node("Cast", ["ID"], ["id"], to=_FLOAT),
                            helper.make_node("Add", ["X", "id"], ["Y"])])),
)  # fmt: skip


def _fails(name: str, config: str, source: str, says: str, model: Build) -> Case:
    return Case(name, config, source, "", says, Decides.REQUEST, model)


FAILING = (
    _fails("state_unknown", _sequence(_START, _STATE.replace('"SUM"', '"Q"')), _FEED,
           "the state 'Q' is no input of the model; expected one of X, START, SUM; correct input_name", stateful),
    _fails("state_from_nowhere", _sequence(_START, _STATE.replace('"NEXT"', '"Q"')), _BIND,
           "the state 'SUM' comes from 'Q', which is no output of the model; expected one of Y, NEXT; correct "
           "output_name", stateful),
    _fails("state_of_another_type", _sequence(_START, _STATE.replace("FP32", "INT64")), _FEED,
           "the state 'SUM' is INT64 in config.pbtxt, and the model's input 'SUM' is FP32; expected the same; correct "
           "data_type", stateful),
    _fails("state_of_other_dims", _sequence(_START, _STATE.replace("[ 1 ]", "[ 2 ]")), _FEED,
           "the state 'SUM' has dims [2] in config.pbtxt, and the model's input 'SUM' has [-1, 1], the first for the "
           "batch; expected dims that fit, where Triton begins with 1 for each -1; correct dims", stateful),
    _fails("batch_input_unknown", _RAGGED + _END.replace('"END"', '"Q"'), _FEED,
           "batch_input 'Q' is no input of the model; expected one of X, END; correct it", ragged),
    _fails("batch_input_of_another_type", _RAGGED + _END.replace("FP32", "INT32"), _FEED,
           "batch_input 'END' is INT32 in config.pbtxt and FP32 in the model; expected the same; correct its data_type",
           ragged),
)  # fmt: skip

"""Cases that Triton's core decides by the configuration alone; see `triton_rules`."""

from __future__ import annotations

from publisher_testing.triton_rules import BACKEND, BATCH, Case, X, Y, ensemble, step

_SHAPE = "model_config_utils.cc, ValidateIOShape"
_CONFIG = "model_config_utils.cc, ValidateModelConfig"
_GROUP = "model_config_utils.cc, ValidateInstanceGroup"
_BATCH_IO = "model_config_utils.cc, ValidateBatchIO"
_BOOLEAN = "model_config_utils.cc, GetBooleanSequenceControlProperties"
_TYPED = "model_config_utils.cc, GetTypedSequenceControlProperties"
_PLAN = "model_config_utils.cc, ValidateEnsembleSchedulingConfig"
_WARMUP = "backend_model_instance.cc, GenerateWarmupData"
_STATE = "sequence_batch_scheduler.cc, GenerateInitialStateData"
_GOOD = BACKEND + BATCH + X + Y


def _input(more: str, dims: str = "[ 1 ]") -> str:
    return BACKEND + BATCH + X.replace("dims: [ 1 ]", f"dims: {dims} {more}") + Y


def _control(text: str) -> str:
    return _GOOD + f"sequence_batching {{ {text} }}\n"


def _start(values: str, name: str = "START") -> str:
    return f'control_input [ {{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_START {values} }} ] }} ]'


def _warm(text: str) -> str:
    return _GOOD + f'model_warmup [ {{ name: "w" {text} }} ]\n'


CASES = (
    Case("plain", _GOOD, _CONFIG),
    Case("backend_by_file", BATCH + X + Y, "model_config_utils.cc, AutoCompleteBackendFields"),
    Case("backend_by_file_name", 'default_model_filename: "model.onnx"\n' + BATCH + X + Y,
         "model_config_utils.cc, AutoCompleteBackendFields"),
    Case("preferred_sizes", _GOOD + "dynamic_batching { preferred_batch_size: [ 1, 8 ] }\n", _CONFIG),
    Case("reshaped", BACKEND + BATCH + X.replace("[ 1 ]", "[ 1, 1 ] reshape { shape: [ 1 ] }") + Y, _SHAPE),
    Case("warm_up", _warm('batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true '
         '} }'),
         _WARMUP),
    Case("warm_up_of_batch_0", _warm('inputs { key: "X" value { data_type: TYPE_FP32 dims: [ -1 ] } }'), _WARMUP),
    Case("negative_batch", BACKEND + "max_batch_size: -1\n" + X + Y, _CONFIG,
         "'max_batch_size' must be non-negative value",
         "max_batch_size is -1; expected 0 for none, or from 1; correct it"),
    Case("pair", 'platform: "tensorrt_plan"\n' + _GOOD, _CONFIG,
         "unexpected 'platform' and 'backend' pair, got:tensorrt_plan, onnxruntime",
         "config.pbtxt has backend 'onnxruntime' and platform 'tensorrt_plan'; expected onnxruntime_onnx with this "
         "backend; remove the platform"),
    Case("platform", 'platform: "onnx"\n' + BATCH + X + Y, _CONFIG, "unexpected platform type 'onnx'",
         "config.pbtxt names the platform 'onnx', which is none of Triton's; expected one such as backend: "
         '"onnxruntime"; add it'),
    Case("preferred_too_large", _GOOD + "dynamic_batching { preferred_batch_size: [ 9 ] }\n", _CONFIG,
         "dynamic batching preferred size must be <= max batch size",
         "dynamic_batching prefers batches of 9; expected from 1 to max_batch_size, which is 8; correct "
         "preferred_batch_size"),
    Case("preferred_zero", _GOOD + "dynamic_batching { preferred_batch_size: [ 0 ] }\n", _CONFIG,
         "dynamic batching preferred size must be positive",
         "dynamic_batching prefers batches of 0; expected from 1 to max_batch_size, which is 8; correct "
         "preferred_batch_size"),
    Case("default_level", _GOOD + "dynamic_batching { priority_levels: 2 }\n", _CONFIG,
         "default priority level must be in range [1, 2]",
         "default_priority_level is 0; expected from 1 to priority_levels, which is 2; correct it"),
    Case("policy_level", _GOOD + "dynamic_batching { priority_levels: 2 default_priority_level: 1 "
         "priority_queue_policy { key: 3 value { } } }\n", _CONFIG,
         "priority queue policy must have priority level in range [1, 2]",
         "priority_queue_policy has the level 3; expected from 1 to priority_levels, which is 2; correct it"),
    Case("ordered_levels", _GOOD + "dynamic_batching { priority_levels: 2 default_priority_level: 1 "
         "preserve_ordering: true }\n", _CONFIG,
         "Only one priority level is allowed when 'preserve_ordering' is true",
         "preserve_ordering is on, with 2 priority_levels; expected one at most; remove one of them"),
    Case("ordered_delay", _GOOD + "dynamic_batching { preserve_ordering: true default_queue_policy { "
         "timeout_action: DELAY default_timeout_microseconds: 5 } }\n", _CONFIG,
         "Queue policy can not have DELAY as timeout action",
         "preserve_ordering is on, with the timeout_action DELAY; expected REJECT; correct one of them"),
    Case("no_data_type", _GOOD.replace("data_type: TYPE_FP32", "", 1), _SHAPE,
         "model input 'X' must specify 'data_type'",
         "input 'X' has no data_type; expected one such as TYPE_FP32; add it"),
    Case("no_name", _GOOD.replace('name: "X"', ""), _SHAPE, "model input must specify 'name'",
         "an input has no name; expected the name that it has in the model; add it"),
    Case("no_dims", _GOOD.replace("dims: [ 1 ]", "", 1), _SHAPE, "model input 'X' must specify 'dims'",
         "input 'X' has no dims; expected at least one; for a tensor without dimensions write dims: [ 1 ]"),
    Case("zero_dim", _input("", "[ 0 ]"), _SHAPE, "model input 'X' dimension must be integer >= 1, or -1",
         "input 'X' has dims [0]; expected each to be -1 or from 1; correct them"),
    Case("empty_reshape_without_batch", (BACKEND + X + Y).replace("[ 1 ]", "[ 1 ] reshape { }", 1), _SHAPE,
         "model input 'X' cannot have empty reshape for non-batching model as scalar tensors are not supported",
         "input 'X' has an empty reshape, and max_batch_size is 0; expected none, since a scalar is served as dims: "
         "[ 1 ]; remove the reshape"),
    Case("reshape_zero", _input("reshape { shape: [ 0 ] }"), _SHAPE, "reshape dimensions must be integer >= 1, or -1",
         "input 'X' has the reshape [0]; expected each dimension to be -1 or from 1; correct it"),
    Case("reshape_size", _input("reshape { shape: [ 3 ] }", "[ 2, 2 ]"), _SHAPE,
         "has different size for dims and reshape",
         "input 'X' is reshaped from [2, 2] to [3]; expected equal numbers of elements, before and after each -1 too; "
         "correct one of them"),
    Case("reshape_around_free", _input("reshape { shape: [ -1, 2 ] }", "[ 2, -1 ]"), _SHAPE,
         "has different size for dims and reshape",
         "input 'X' is reshaped from [2, -1] to [-1, 2]; expected equal numbers of elements, before and after each -1 "
         "too; correct one of them"),
    Case("reshape_free", _input("reshape { shape: [ 2, 2 ] }", "[ -1 ]"), _SHAPE,
         "has different size for dims and reshape",
         "input 'X' is reshaped from [-1] to [2, 2]; expected equal numbers of elements, before and after each -1 too; "
         "correct one of them"),
    Case("picture", _input("format: FORMAT_NHWC"), "model_config_utils.cc, ValidateModelInput",
         "model input NHWC/NCHW require 3 dims",
         "input 'X' has format FORMAT_NHWC and dims [1]; expected 3 dims, without the batch; correct them, or remove "
         "the format"),
    Case("shape_tensor", _input("is_shape_tensor: true"), "model_config_utils.cc, ValidateModelInput",
         "shape tensors are only supported for TensorRT platform",
         "input 'X' is a shape tensor or of a non-linear format; expected these with TensorRT only; remove "
         "is_shape_tensor and is_non_linear_format_io"),
    Case("batch_input_source", _GOOD + 'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" '
         'data_type: TYPE_FP32 source_input: "Q" } ]\n', _BATCH_IO, "unknown source input name 'Q'",
         "batch_input N comes from the input 'Q', which config.pbtxt lacks; expected one of X; correct source_input"),
    Case("batch_input_type", _GOOD + 'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" '
         'data_type: TYPE_INT64 source_input: "X" } ]\n', _BATCH_IO,
         "batch input data type must be TYPE_INT32 or TYPE_FP32",
         "batch_input N is of TYPE_INT64; expected TYPE_INT32 or TYPE_FP32; correct its data_type"),
    Case("batch_input_sources", _GOOD + 'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" '
         "data_type: TYPE_FP32 } ]\n", _BATCH_IO, "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, "
         "got 0",
         "batch_input N has 0 entries in source_input; expected one; correct it"),
    Case("batch_output_target", _GOOD + 'batch_output [ { target_name: "Q" source_input: "X" } ]\n', _BATCH_IO,
         "unknown target output name 'Q'",
         "batch_output is for the output 'Q', which config.pbtxt lacks; expected one of Y; correct target_name"),
    Case("batch_output_twice", _GOOD + 'batch_output [ { target_name: ["Y", "Y"] source_input: "X" } ]\n', _BATCH_IO,
         "target output name 'Y' can only be specified once",
         "batch_output Y, Y names an output twice; expected each once; remove the other"),
    Case("cached_sequences", _control("") + "response_cache { enable: true }\n", _CONFIG,
         "Response Cache does not currently support model",
         "response_cache is on, with sequence_batching; expected one of them; remove response_cache"),
    Case("cached_decoupled", _GOOD + "response_cache { enable: true } model_transaction_policy { decoupled: true }\n",
         _CONFIG, "with 'decoupled' transaction policy",
         "response_cache is on for a decoupled model; expected one of them; remove response_cache"),
    Case("control_without_values", _control(_start("")), _BOOLEAN,
         "sequence batching must specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true'",
         "control_input 'START', CONTROL_SEQUENCE_START, has no values; expected one of int32_false_true, "
         "fp32_false_true, bool_false_true; correct it"),
    Case("control_of_two_types", _control(_start("int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ]")), _BOOLEAN,
         "sequence batching specifies more than one from",
         "control_input 'START', CONTROL_SEQUENCE_START, has int32_false_true, fp32_false_true; expected one of "
         "int32_false_true, fp32_false_true, bool_false_true; correct it"),
    Case("control_of_one_value", _control(_start("fp32_false_true: [ 1 ]")), _BOOLEAN,
         "sequence batching control 'fp32_false_true' must have exactly 2 entries",
         "control_input 'START', CONTROL_SEQUENCE_START, has 1 values; expected two, for false and true; correct it"),
    Case("control_without_name", _control(_start("fp32_false_true: [ 0, 1 ]", "")), _BOOLEAN,
         "sequence batching control tensor must have a name",
         "a control_input has no name; expected the model's name of that input; add it"),
    Case("control_twice", _control(_start("fp32_false_true: [ 0, 1 ]") + _start("fp32_false_true: [ 0, 1 ]", "B")),
         _BOOLEAN, "sequence batching specifies multiple CONTROL_SEQUENCE_START tensors",
         "control_input 'B', CONTROL_SEQUENCE_START, is there twice; expected each kind once; remove the other"),
    Case("id_type", _control('control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID '
         "data_type: TYPE_FP32 } ] } ]"), _CONFIG, "unexpected data type for control CONTROL_SEQUENCE_CORRID",
         "control_input 'C', CONTROL_SEQUENCE_CORRID, is of TYPE_FP32; expected TYPE_UINT64, TYPE_INT64, TYPE_UINT32, "
         "TYPE_INT32 or TYPE_STRING; correct its data_type"),
    Case("id_values", _control('control_input [ { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID '
         "data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ] } ] } ]"), _TYPED,
         "sequence batching must not specify either 'int32_false_true'",
         "control_input 'C', CONTROL_SEQUENCE_CORRID, has int32_false_true; expected a data_type alone; remove them"),
    Case("oldest_size", _control("oldest { preferred_batch_size: [ 9 ] }"), _CONFIG,
         "sequence batching preferred batch size must be <= max batch size",
         "sequence_batching prefers batches of 9; expected from 1 to max_batch_size, which is 8; correct "
         "preferred_batch_size"),
    Case("slots", _control("direct { minimum_slot_utilization: 1.5 }"), _CONFIG,
         "sequence batching minimum slot utilization must be in range (0.0, 1.0]",
         "minimum_slot_utilization is 1.5; expected from 0 to 1; correct it"),
    Case("cpu_with_gpus", _GOOD + "instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]\n", _GROUP,
         "has kind KIND_CPU but specifies one or more GPUs",
         "instance_group 0 is of KIND_CPU and has gpus [0]; expected these with KIND_GPU only; remove them, or correct "
         "the kind"),
    Case("profile", _GOOD + 'instance_group [ { kind: KIND_CPU profile: [ "0" ] } ]\n', _GROUP,
         "specifies profile field which is only supported for TensorRT models",
         "instance_group 0 has a profile; expected one with TensorRT only; remove it"),
    Case("warm_up_free", _warm('batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP32 dims: [ -1 ] '
         "zero_data: true } }"), _WARMUP,
         "warmup setting expects all variable-size dimensions are specified for input 'X'",
         "model_warmup 'w', input 'X', has dims [-1]; expected numbers that fit [1]; correct them"),
    Case("warm_up_without_data", _warm('batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 1 ] } }'),
         _WARMUP, "warmup setting expects input 'X' to have input_data_type set",
         "model_warmup 'w', input 'X', has no data; expected zero_data: true or random_data: true; add one"),
    Case("warm_up_without_input", _warm("batch_size: 1"), "infer_request.cc, InferenceRequest::Normalize",
         "expected 1 inputs but got 0 inputs", "model_warmup 'w' lacks the input 'X'; expected all that are not "
         "optional; add it"),
    Case("warm_up_type", _warm('batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP64 dims: [ 1 ] '
         "zero_data: true } }"), "infer_request.cc, InferenceRequest::Normalize",
         "inference input 'X' data-type is 'FP64', but model 'warm_up_type' expects 'FP32'",
         "model_warmup 'w', input 'X', is FP64; expected FP32; correct its data_type"),
    Case("ensemble_without_plan", 'platform: "ensemble"\n' + BATCH + X + Y, _CONFIG,
         "ensemble scheduling must be set for ensemble",
         "the platform is 'ensemble', without ensemble_scheduling; expected its steps there; add them", model=None),
    Case("ensemble_with_backend", BACKEND + ensemble(), _CONFIG, "must have platform type 'ensemble' and empty backend",
         "config.pbtxt has backend 'onnxruntime' and platform 'ensemble'; expected an ensemble without backend; remove "
         "one of them", model=None),
    Case("ensemble_with_instances", ensemble(more="instance_group [ { count: 2 } ]\n"), _PLAN,
         "instance group should not be specified for ensemble",
         "an ensemble has instance_group; expected it in the steps' own models; remove it", model=None),
    Case("ensemble_with_optimization", ensemble(more="optimization { }\n"), _PLAN,
         "optimization should not be specified for ensemble",
         "an ensemble has optimization; expected it in the steps' own models; remove it", model=None),
    Case("ensemble_without_steps", ensemble(" "), _PLAN, "must specify 'step' for ensemble",
         "ensemble_scheduling has no step; expected at least one; add it", model=None),
    Case("step_without_model", ensemble(step("X", "Y", model="")), "model_config_utils.cc, BuildEnsembleGraph",
         "must specify 'model_name' in step 0", "step 0 has no model_name; expected one; add it", model=None),
    Case("made_twice", ensemble(step("X", "Y") + step("X", "Y")), "model_config_utils.cc, BuildEnsembleGraph",
         "ensemble tensor 'Y' can appear in an output map only once",
         "the tensor 'Y' comes from step 0 and from step 1; expected from one; rename one of them", model=None),
    Case("input_unused", ensemble(inputs=X + X.replace('"X"', '"Q"')), _PLAN, "ensemble input 'Q' for ensemble",
         "the ensemble's input 'Q' goes into no step; expected one that takes it; map it, or remove it", model=None),
    Case("output_unmade", ensemble(outputs=Y + Y.replace('"Y"', '"Q"')), _PLAN, "ensemble output 'Q' for ensemble",
         "the ensemble's output 'Q' comes from no step; expected one that makes it; map it, or remove it", model=None),
    Case("out_of_nowhere", ensemble(step("Q", "Y"), inputs=""), _PLAN,
         "output 'Y' for ensemble 'out_of_nowhere' is not written: at least one of its depending tensors, 'Q', is not "
         "connected", "the tensor 'Q' comes from no step and is no input; expected every tensor to come from the "
         "ensemble's inputs; correct the input_map, or add the input", model=None),
    Case("waiting_for_each_other", ensemble(step("X", "Y") + step("P", "Q") + step("Q", "P")), _PLAN, "is unused in "
         "ensemble",
         "the tensors P, Q wait for each other; expected each to come from the ensemble's inputs; correct the "
         "input_map",
         model=None),
    Case("goes_nowhere", ensemble(step("X", "Y") + step("X", "Q")), _PLAN,
         "ensemble tensor 'Q' is unused in ensemble",
         "the tensor 'Q' goes nowhere; expected a step or an output that takes it; remove it, or map it", model=None),
)  # fmt: skip

# Beside the model `publisher_testing.models.adder`, of its NAME, in version 1.
BESIDE = (
    Case("ensemble", ensemble(), "ensemble_utils.cc, ValidateEnsembleConfig", model=None),
    Case("ensemble_without_batch", ensemble(batch="", inputs=X.replace("[ 1 ]", "[ -1, 1 ]"), outputs=Y.replace(
         "[ 1 ]", "[ -1, 1 ]")), "ensemble_utils.cc, ValidateTensorConsistency", model=None),
    Case("ensemble_of_two", ensemble(step("X", "between") + step("between", "Y")),
         "ensemble_utils.cc, ValidateTensorMapping", model=None),
    Case("step_gone", ensemble(step("X", "Y", model="gone")), "model_repository_manager.cc, ConnectDependencyGraph",
         "contains models that are not available or ambiguous: gone",
         "step 0 wants the model 'gone', which the repository lacks; expected it to be there first; publish it, or "
         "correct model_name", model=None),
    Case("step_version", ensemble(step("X", "Y", version="model_version: 7")),
         "model_repository_manager.cc, CheckNode", "depends on 'adder' whose required version 7 is not loaded",
         "step 0 wants version 7 of 'adder', of which serve: 1; expected one of them, or model_version: -1 for the "
         "latest; correct it", model=None),
    Case("step_without_version", ensemble(step("X", "Y", version="")), "model_repository_manager.cc, CheckNode",
         "depends on 'adder' whose required version 0 is not loaded",
         "step 0 wants version 0 of 'adder', of which serve: 1; expected one of them, or model_version: -1 for the "
         "latest; correct it", model=None),
    Case("circle", ensemble(step("X", "Y", model="circle")), "model_repository_manager.cc, CircularcyCheck",
         "circular dependency between ensembles: circle",
         "step 0 is the model 'circle', which needs this ensemble itself; expected no circle; correct model_name",
         model=None),
    Case("batch_above", ensemble(batch="max_batch_size: 9\n"), "ensemble_utils.cc, ValidateEnsembleConfig",
         "allows maximum batch size 9, but it contains model adder which only allows maximum batch size to be 8",
         "the ensemble takes batches of 9, and step 0, adder, of 8; expected at most 8; correct max_batch_size",
         model=None),
    Case("step_dims", ensemble(inputs=X.replace("[ 1 ]", "[ 2 ]")), "ensemble_utils.cc, ValidateTensorConsistency",
         "ensemble tensor X: inconsistent shape: [-1,2] is inferred from model step_dims while [-1,1] is inferred from "
         "model adder",
         "the tensor 'X' has dimensions [-1, 2] by step_dims and [-1, 1] by adder, batch included; expected equal "
         "ones, where -1 fits any; correct one of them", model=None),
    Case("step_type", ensemble(inputs=X.replace("FP32", "FP16")), "ensemble_utils.cc, ValidateTensorConsistency",
         "ensemble tensor X: inconsistent data type: TYPE_FP16 is inferred from model step_type while TYPE_FP32 is "
         "inferred from model adder",
         "the tensor 'X' is TYPE_FP16 by step_type and TYPE_FP32 by adder; expected one type; correct one of them",
         model=None),
    Case("step_input", ensemble(step("X", "Y").replace("input_map", 'input_map { key: "Q" value: "X" } input_map')),
         "ensemble_utils.cc, ValidateTensorMapping", "ensemble tensor X is mapping to non-existing input Q in model "
         "adder",
         "step 0, adder, has no input 'Q'; expected one of X; correct its input_map", model=None),
    Case("step_output", ensemble(step("X", "Y").replace('key: "Y"', 'key: "Q"')),
         "ensemble_utils.cc, ValidateTensorMapping",
         "ensemble tensor Y is mapped from non-existing output Q in model adder",
         "step 0, adder, has no output 'Q'; expected one of Y; correct its output_map", model=None),
)  # fmt: skip

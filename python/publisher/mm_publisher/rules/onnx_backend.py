"""A configuration against an ONNX model: what Triton's onnxruntime backend refuses.

ValidateInputs, ValidateOutputs, ValidateBooleanSequenceControl and ValidateTypedSequenceControl in onnxruntime.cc of
triton-inference-server/onnxruntime_backend, and InputOutputInitializerInfos and CompareDimsSupported in its
onnxruntime_utils.cc. What these let pass although every request would then fail is refused as well: the backend looks
at neither states nor batch inputs by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mm_publisher import fed
from mm_publisher.config import FILE, ModelConfig, Tensor
from mm_publisher.onnx_model import SCIKIT_LEARN, Graph, Value


def disagreements(graph: Graph, config: ModelConfig) -> list[str]:
    """Where a configuration says something else than the model.

    Args:
        graph: of the model's file.
        config: the configuration, in which `core` finds nothing wrong.

    Returns:
        A sentence for each thing that would keep Triton from loading or serving the model: what is wrong, what is
        expected, what to do.
    """
    batching = config.max_batch_size > 0
    return [
        *_kinds(graph),
        *_inputs(graph, config, batching=batching),
        *_outputs(graph, config, batching=batching),
        *_controls(graph, config, batching=batching),
        *_states(graph, config, batching=batching),
        *_batch_inputs(graph, config),
    ]


def _kinds(graph: Graph) -> Iterator[str]:
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values.values():
            if not value.is_tensor:
                hint = f" ({SCIKIT_LEARN})" if "sequence" in value.kind else ""
                yield (
                    f"{kind} {value.name!r} of the model is {value.kind}; expected tensors only, even where {FILE} "
                    f"does not name them; export the model so that it is one{hint}"
                )


def _inputs(graph: Graph, config: ModelConfig, *, batching: bool) -> Iterator[str]:
    claims = fed.claims(config)
    for name in graph.needed:
        if name not in claims:
            yield f"{FILE} lacks the model's input {name!r}; expected all of {_listed(graph.needed)}; add it"
    for name, places in claims.items():
        if len(places) > 1:
            yield (
                f"input {name!r} is there as {' and as '.join(places)}; expected each input of the model once, since "
                "Triton counts them; remove the others"
            )
    for tensor in config.inputs:
        named = graph.inputs.get(tensor.name)
        if named is None:
            yield _unknown("input", tensor.name, graph.inputs)
        elif named.is_tensor:
            yield from _optional(tensor, named, batching=batching)
            yield from _type("input", tensor, named)
            if tensor.ragged:
                yield from _ragged(tensor, named)
            else:
                yield from _dims("input", tensor, named, batching=batching)


def _optional(tensor: Tensor, value: Value, *, batching: bool) -> Iterator[str]:
    if tensor.optional and batching:
        yield (
            f"input {tensor.name!r} is optional, and max_batch_size is more than 0; expected one of them; "
            "set max_batch_size: 0, or remove optional"
        )
    elif tensor.optional and not value.optional:
        yield (
            f"input {tensor.name!r} is optional, and has no default in the model; expected optional: true for inputs "
            "with a default only; remove optional"
        )
    elif value.optional and not tensor.optional:
        yield (
            f"input {tensor.name!r} has a default in the model, and is not optional; expected optional: true; add it, "
            "or remove the input"
        )


def _type(kind: str, tensor: Tensor, value: Value) -> Iterator[str]:
    if not value.datatype:
        yield (
            f"{kind} {tensor.name!r} is {value.kind} in the model, which Triton's onnxruntime backend can't serve; "
            "expected a type such as FP32 or FP16; export the model with one"
        )
    elif value.datatype != tensor.datatype:
        yield (
            f"{kind} {tensor.name!r} is {tensor.datatype} in {FILE} and {value.datatype} in the model; expected the "
            f"same; write data_type: TYPE_{value.datatype.replace('BYTES', 'STRING')}"
        )


def _ragged(tensor: Tensor, value: Value) -> Iterator[str]:
    if tensor.optional:
        yield f"input {tensor.name!r} is ragged and optional; expected one of them; remove optional"
    elif value.dims != (-1,):
        yield (
            f"input {tensor.name!r} is ragged, and has dimensions {_shape(value)} in the model; expected [-1], with "
            "the elements of all requests in one row; remove allow_ragged_batch, or export the model so"
        )


def _outputs(graph: Graph, config: ModelConfig, *, batching: bool) -> Iterator[str]:
    cut_up = fed.batch_output_names(config)
    for tensor in config.outputs:
        value = graph.outputs.get(tensor.name)
        if value is None:
            yield _unknown("output", tensor.name, graph.outputs)
        elif value.is_tensor:
            yield from _type("output", tensor, value)
            if tensor.name not in cut_up:
                yield from _dims("output", tensor, value, batching=batching, exact=not value.guessed)


def _dims(kind: str, tensor: Tensor, value: Value, *, batching: bool, exact: bool = False) -> Iterator[str]:
    said = f"{kind} {tensor.name!r}"
    if not value.dims:
        # Without a rank, the backend takes it for a scalar as well.
        if any(dim != 1 for dim in tensor.model_dims):
            what = "no shape" if value.dims is None else "no dimensions"
            dims = list(tensor.model_dims)
            yield f"{said} has {what} in the model, and dims {dims} in {FILE}; expected [1]; correct it"
        return
    if batching and value.dims[0] != -1:
        yield (
            f"{said} has dimensions {list(value.dims)} in the model, and max_batch_size is more than 0; expected the "
            "first to be free for the batch; set max_batch_size: 0, or export the model with a dynamic first dimension"
        )
        return
    wanted = ((-1,) if batching else ()) + tensor.model_dims
    fits = len(wanted) == len(value.dims) and all(
        ours == theirs or (not exact and theirs == -1) for ours, theirs in zip(wanted, value.dims, strict=True)
    )
    if not fits:
        batch = ", the first for the batch" if batching else ""
        rule = "the same" if exact or kind == "output" else "as many, and the same where the model's are fixed"
        dims = list(value.dims[1:] if batching else value.dims)
        advice = "dims: [ 1 ] with an empty reshape" if not dims else f"dims: {dims}"
        yield (
            f"{said} has dimensions {list(wanted)} by {FILE}{batch}, and {list(value.dims)} in the model; expected "
            f"{rule}; write {advice}"
        )


def _controls(graph: Graph, config: ModelConfig, *, batching: bool) -> Iterator[str]:
    for control in fed.controls(config):
        said = f"control_input {control.name!r}, {control.kind},"
        value = graph.needed.get(control.name)
        if value is None:
            yield f"{said} is no input of the model; expected one of {_listed(graph.needed)}; correct its name"
            continue
        dims = value.dims or ()
        if dims[batching:] != (1,):
            yield (
                f"{said} has dimensions {_shape(value)} in the model; expected {'[-1, 1]' if batching else '[1]'}; "
                "export the model so"
            )
        if value.datatype != control.datatype:
            yield (
                f"{said} is {control.datatype} in {FILE} and {value.kind} in the model; expected the same; correct it"
            )


def _states(graph: Graph, config: ModelConfig, *, batching: bool) -> Iterator[str]:
    for state in fed.states(config):
        said = f"the state {state.input_name!r}"
        before, after = graph.needed.get(state.input_name), graph.outputs.get(state.output_name)
        if before is None:
            yield f"{said} is no input of the model; expected one of {_listed(graph.needed)}; correct input_name"
        if after is None:
            yield (
                f"{said} comes from {state.output_name!r}, which is no output of the model; expected one of "
                f"{_listed(graph.outputs)}; correct output_name"
            )
        for kind, value in (("input", before), ("output", after)):
            if value is None:
                continue
            if value.datatype != state.datatype:
                yield (
                    f"{said} is {state.datatype} in {FILE}, and the model's {kind} {value.name!r} is {value.kind}; "
                    "expected the same; correct data_type"
                )
            dims = ((1,) if batching else ()) + (state.first_dims if kind == "input" else state.dims)
            if value.dims and not _may_be(dims, value.dims):
                yield (
                    f"{said} has dims {list(state.dims)} in {FILE}, and the model's {kind} {value.name!r} has "
                    f"{list(value.dims)}{', the first for the batch' if batching else ''}; expected dims that fit, "
                    "where Triton begins with 1 for each -1; correct dims"
                )


def _batch_inputs(graph: Graph, config: ModelConfig) -> Iterator[str]:
    for item in fed.batch_inputs(config):
        if len(item.targets) != 1:
            yield (
                f"batch_input {item.kind} has {len(item.targets)} names in target_name; expected one with the "
                "onnxruntime backend; write a batch_input for each"
            )
        for name in item.targets:
            value = graph.needed.get(name)
            if value is None:
                needed = _listed(graph.needed)
                yield f"batch_input {name!r} is no input of the model; expected one of {needed}; correct it"
            elif value.datatype != item.datatype:
                yield (
                    f"batch_input {name!r} is {item.datatype} in {FILE} and {value.kind} in the model; expected the "
                    "same; correct its data_type"
                )


def _may_be(dims: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(dims) == len(shape) and all(-1 in pair or pair[0] == pair[1] for pair in zip(dims, shape, strict=True))


def _unknown(kind: str, name: str, values: Mapping[str, Value]) -> str:
    return f"{kind} {name!r} is not in the model; expected {_listed(values)}; correct its name, or remove it"


def _shape(value: Value) -> str:
    return "of unknown number" if value.dims is None else str(list(value.dims))


def _listed(values: Mapping[str, Value]) -> str:
    return ", ".join(values) or "none"

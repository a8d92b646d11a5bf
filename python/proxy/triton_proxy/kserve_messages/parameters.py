"""Parameters: the map of `InferParameter` in requests, outputs and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping

from tritonclient.grpc import service_pb2

from triton_proxy.inference.parameters import Parameter, ParameterKind, Parameters

_FIELDS = {
    ParameterKind.BOOL: "bool_param",
    ParameterKind.INT64: "int64_param",
    ParameterKind.UINT64: "uint64_param",
    ParameterKind.DOUBLE: "double_param",
    ParameterKind.STRING: "string_param",
}
_KINDS = {field: kind for kind, field in _FIELDS.items()}


def read(given: Mapping[str, service_pb2.InferParameter]) -> Parameters:
    """The parameters of a message, in the order of their names: a map has none of its own.

    Args:
        given: the message's map.
    """
    if not given:
        return ()
    return tuple(_parameter(name, given[name]) for name in sorted(given))


def _parameter(name: str, given: service_pb2.InferParameter) -> Parameter:
    field = given.WhichOneof("parameter_choice")
    if field is None:
        return Parameter(name, ParameterKind.UNSET, None)
    return Parameter(name, _KINDS[field], getattr(given, field))


def write(parameters: Iterable[Parameter], to: MutableMapping[str, service_pb2.InferParameter]) -> None:
    """Adds parameters to a message.

    Args:
        parameters: what to add.
        to: the message's map.
    """
    for parameter in parameters:
        entry = to[parameter.name]  # Being looked up, it is there, if without a value.
        if parameter.kind is not ParameterKind.UNSET:
            setattr(entry, _FIELDS[parameter.kind], parameter.value)

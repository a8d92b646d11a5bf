"""Reading a request of /infer: JSON, and behind it the tensors that came as binary data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multimodal_contract.dtypes import BY_NAME
from multimodal_contract.wire import Buffer
from triton_proxy.inference.elements import expected_size
from triton_proxy.inference.parameters import Parameter, ParameterKind, Parameters
from triton_proxy.inference.request import InferenceRequest, InputTensor
from triton_proxy.protocols.rest.json_text import check_size
from triton_proxy.protocols.rest.json_work import Elements, JsonWork
from triton_proxy.protocols.rest.refused import BodyRefused, quoted

# All of them are looked at, one by one, where other callers wait.
_MOST_ENTRIES = 256
# numpy's own limit in its first major version.
_MOST_DIMENSIONS = 32
_LARGEST = 2**63 - 1
# Names are Triton's to know, but not megabytes of them.
_LONGEST_NAME = 1024
_BINARY_SIZE, _BINARY, _BINARY_OUTPUT = "binary_data_size", "binary_data", "binary_data_output"
# Of an output, what Triton has to know; the rest says how the answer is written.
_WRITTEN = {_BINARY, _BINARY_SIZE}
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True)
class Target:
    """The model that a request's path names.

    Attributes:
        model: its name.
        version: its version; "" for Triton's choice.
    """

    model: str
    version: str


@dataclass(frozen=True)
class InferBody:
    """A body, read.

    Attributes:
        request: what it asks for.
        id: its own name; "" where it gives none.
        binary: whether outputs are to come as binary data, where `binary_outputs` does not say.
        binary_outputs: the same of single outputs.
    """

    request: InferenceRequest
    id: str
    binary: bool
    binary_outputs: Mapping[str, bool]


def read(raw: Buffer, json_bytes: int | None, target: Target, work: JsonWork) -> InferBody:
    """Reads a body.

    Args:
        raw: the body, expanded.
        json_bytes: how much of it is JSON, by the field Inference-Header-Content-Length; None for all.
        target: the model.
        work: reads its JSON.

    Raises:
        BodyRefused: it is not well-formed.
    """
    view = memoryview(raw)
    if json_bytes is not None and not 0 <= json_bytes <= len(view):
        raise BodyRefused(
            f"Inference-Header-Content-Length is {json_bytes}, and the body has {len(view)} bytes; send the length of"
            " the JSON that it begins with"
        )
    text, binary = (view, view[:0]) if json_bytes is None else (view[:json_bytes], view[json_bytes:])
    check_size(len(text))
    return _read(work.infer_body(text), binary, target)


def _read(body: Mapping[str, Any], binary: memoryview, target: Target) -> InferBody:
    parameters = _object(body.get("parameters"), "parameters")
    tensors = _Tensors(binary)
    inputs = tuple(tensors.read(each) for each in _list(body, "inputs"))
    tensors.end()
    _check_repeats("inputs", [each.name for each in inputs])
    outputs = [_output(each) for each in (_list(body, "outputs") if "outputs" in body else ())]
    _check_repeats("outputs", [name for name, _ in outputs])
    given = parameters.pop(_BINARY_OUTPUT, False)
    if not isinstance(given, bool):
        raise BodyRefused(f"parameters.{_BINARY_OUTPUT} is {quoted(given)}; expected true or false")
    name = _text(body.get("id", ""), "id")
    request = request_of(target, inputs, tuple(name for name, _ in outputs), parameters)
    for_triton = tuple(_parameters({k: v for k, v in each.items() if k not in _WRITTEN}) for _, each in outputs)
    if any(for_triton):
        request = InferenceRequest(**{**vars(request), "output_parameters": for_triton})
    return InferBody(
        request,
        name,
        binary=given,
        binary_outputs={output: _flag(each[_BINARY]) for output, each in outputs if _BINARY in each},
    )


def request_of(
    target: Target, inputs: tuple[InputTensor, ...], outputs: tuple[str, ...], parameters: dict[str, Any]
) -> InferenceRequest:
    """What is asked of Triton.

    Args:
        target: the model.
        inputs: its inputs.
        outputs: the outputs that are wanted; none for all.
        parameters: of the request, as JSON has them.

    Raises:
        BodyRefused: one is no bool, number or text.
    """
    sequence_id = parameters.pop("sequence_id", None)
    if sequence_id is not None and (isinstance(sequence_id, bool) or not isinstance(sequence_id, int | str)):
        raise BodyRefused(f"parameters.sequence_id is {quoted(sequence_id)}; expected a number or a text")
    start, end = (_flag(parameters.pop(name, False)) for name in _SEQUENCE[1:])
    return InferenceRequest(
        model=target.model,
        model_version=target.version,
        inputs=inputs,
        outputs=outputs,
        sequence_start=start,
        sequence_end=end,
        verbatim=True,
        sequence_id=sequence_id,
        parameters=_parameters(parameters),
        described_by="the request",
    )


class _Tensors:
    """The binary data behind the JSON, of which inputs take their parts in order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def read(self, described: Any) -> InputTensor:
        name = _text(_object(described, "an input").get("name"), "name of an input")
        where = f"input {quoted(name)}"
        datatype = described.get("datatype")
        dtype = BY_NAME.get(datatype) if isinstance(datatype, str) else None
        if dtype is None:
            raise BodyRefused(f"{where} has the datatype {quoted(datatype)}; expected one of {', '.join(BY_NAME)}")
        shape = _shape(described.get("shape"), where)
        parameters = _object(described.get("parameters"), f"parameters of {where}")
        _check_shared_memory(parameters, where)
        data: Buffer
        if _BINARY_SIZE in parameters:
            if "data" in described:
                raise BodyRefused(f"{where} has data and {_BINARY_SIZE}; send its elements once")
            data = self._take(parameters[_BINARY_SIZE], where)
        elif "data" in described:
            given = described["data"]
            assert isinstance(given, Elements)  # noqa: S101 - what `infer_body` has made of it
            data = given.data
        else:
            raise BodyRefused(f"{where} has no data; send a list, or {_BINARY_SIZE} and the bytes behind the JSON")
        expected = expected_size(dtype, shape, data)
        if expected is not None:
            raise BodyRefused(
                f"{where} of {dtype.name} {list(shape)} has {len(data)} bytes of data; expected {expected}: shape and"
                " data must fit"
            )
        return InputTensor(name, dtype, shape, data)

    def _take(self, size: Any, where: str) -> memoryview:
        left = len(self._data) - self._at
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise BodyRefused(f"{_BINARY_SIZE} of {where} is {quoted(size)}; expected a number of bytes, 0 or more")
        if size > left:
            raise BodyRefused(
                f"{_BINARY_SIZE} of {where} is {size}, and {left} bytes are left behind the JSON; send each tensor's"
                " bytes in the order of the inputs, and Inference-Header-Content-Length"
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def end(self) -> None:
        left = len(self._data) - self._at
        if left:
            raise BodyRefused(f"{left} bytes behind the JSON belong to no input; give each input its {_BINARY_SIZE}")


def _output(described: Any) -> tuple[str, dict[str, Any]]:
    name = _text(_object(described, "an output").get("name"), "name of an output")
    parameters = _object(described.get("parameters"), f"parameters of output {quoted(name)}")
    _check_shared_memory(parameters, f"output {quoted(name)}")
    return name, parameters


def _check_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    if any(name.startswith("shared_memory") for name in parameters):
        raise BodyRefused(
            f"{where} is in shared memory, which callers and Triton do not have here; send its bytes with the request"
        )


def _shape(given: Any, where: str) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > _MOST_DIMENSIONS:
        raise BodyRefused(f"shape of {where} is {quoted(given)}; expected a list of at most {_MOST_DIMENSIONS} numbers")
    for each in given:
        if type(each) is not int or not 0 <= each <= _LARGEST:
            raise BodyRefused(f"shape of {where} holds {quoted(each)}; expected numbers of elements, 0 or more")
    if math.prod(given) > _LARGEST:
        raise BodyRefused(f"shape of {where} has more elements than can be counted; send what the data has")
    return tuple(given)


def _parameters(given: Mapping[str, Any]) -> Parameters:
    return tuple(Parameter(name, _kind(name, value), value) for name, value in sorted(given.items()))


def _kind(name: str, value: Any) -> ParameterKind:
    if isinstance(value, bool):
        return ParameterKind.BOOL
    if isinstance(value, int) and -_LARGEST - 1 <= value <= 2 * _LARGEST + 1:
        return ParameterKind.INT64 if value <= _LARGEST else ParameterKind.UINT64
    if isinstance(value, float):
        return ParameterKind.DOUBLE
    if isinstance(value, str):
        return ParameterKind.STRING
    raise BodyRefused(f"parameter {quoted(name)} is {quoted(value)}; expected true, false, a number or a text")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BodyRefused(f"a parameter that is true or false is {quoted(value)}; send one of these")
    return value


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    given = body.get(name)
    if not isinstance(given, list):
        raise BodyRefused(f"{name} is {quoted(given)}; expected a list of objects")
    if len(given) > _MOST_ENTRIES:
        raise BodyRefused(f"{name} has {len(given)} entries; expected at most {_MOST_ENTRIES}")
    return given


def _object(given: Any, what: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BodyRefused(f"{what} is {quoted(given)}; expected an object")
    if len(given) > _MOST_ENTRIES:
        raise BodyRefused(f"{what} has {len(given)} entries; expected at most {_MOST_ENTRIES}")
    return given


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str) or len(given) > _LONGEST_NAME:
        raise BodyRefused(f"{what} is {quoted(given)}; expected a text of at most {_LONGEST_NAME} characters")
    return given


def _check_repeats(what: str, names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise BodyRefused(f"{what} repeats the name {quoted(name)}; each name may stand once")
        seen.add(name)

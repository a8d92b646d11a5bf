"""Whether a ModelInferRequest is well-formed: the pure module through which every byte of one goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from multimodal_contract.dtypes import BY_NAME, TABLE, DType
from multimodal_contract.wire import Buffer, EnvelopeTooLargeError, Lifter
from triton_proxy.inference.elements import expected_size
from triton_proxy.inference.parameters import Parameter, ParameterKind, Parameters
from triton_proxy.inference.request import InferenceRequest, InputTensor
from triton_proxy.kserve_messages import parameters as kserve_parameters
from triton_proxy.protocols.kserve import contents
from triton_proxy.protocols.kserve.reasons import (
    MAX_ENTRIES,
    MAX_ENVELOPE_BYTES,
    MAX_RANK,
    InvalidRequest,
    Reason,
    quoted,
)

_LIFTER = Lifter(service_pb2.ModelInferRequest.DESCRIPTOR, "raw_input_contents", "inputs.contents")
_SHARED_MEMORY = "shared_memory_"
_DTYPES = ", ".join(dtype.name for dtype in TABLE)
# Parameters that are not passed on as they are, and the kinds that each may be.
_SEQUENCE_ID, _SEQUENCE_START, _SEQUENCE_END = "sequence_id", "sequence_start", "sequence_end"
_EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
_KINDS = {
    _SEQUENCE_ID: (ParameterKind.INT64, ParameterKind.STRING),
    _SEQUENCE_START: (ParameterKind.BOOL,),
    _SEQUENCE_END: (ParameterKind.BOOL,),
    _EMPTY_FINAL_RESPONSE: (ParameterKind.BOOL,),
}


@dataclass(frozen=True)
class Refused:
    """The request is answered without an inference.

    Attributes:
        request_id: its id, where it could be read.
        model: the model that it names, where that could be read.
        model_version: the same for the version.
        text: what is wrong with it.
    """

    request_id: str
    model: str
    model_version: str
    text: str


@dataclass(frozen=True)
class Accepted:
    """The request may go to Triton.

    Attributes:
        request_id: its id; may be empty.
        request: what it asks for.
        empty_final_response: whether its caller wants an answer that says no more than that it is the last.
    """

    request_id: str
    request: InferenceRequest
    empty_final_response: bool


def read(raw: bytes) -> Accepted | Refused:
    """Parses and checks one request.

    Args:
        raw: a serialized ModelInferRequest.
    """
    message = service_pb2.ModelInferRequest()
    try:
        lifted = _LIFTER.parse_bounded(raw, message, most_bytes=MAX_ENVELOPE_BYTES)
    except EnvelopeTooLargeError:
        return Refused("", "", "", Reason.ENVELOPE_TOO_LARGE.value)
    except DecodeError:
        return Refused("", "", "", Reason.NOT_A_MESSAGE.value.format(message="ModelInferRequest"))
    try:
        return _read(message, lifted)
    except InvalidRequest as refusal:
        return Refused(message.id, message.model_name, message.model_version, str(refusal))


def _read(message: service_pb2.ModelInferRequest, lifted: tuple[list[memoryview], ...] | None) -> Accepted:
    raw: Sequence[Buffer] = message.raw_input_contents if lifted is None else lifted[0]
    for field, entries in (
        ("inputs", message.inputs),
        ("outputs", message.outputs),
        ("parameters", message.parameters),
    ):
        if len(entries) > MAX_ENTRIES:
            raise InvalidRequest(Reason.TOO_MANY, field=field, got=len(entries), expected=MAX_ENTRIES)
    if not message.model_name:
        raise InvalidRequest(Reason.NO_MODEL)
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(Reason.RAW_COUNT, got=len(raw), expected=len(message.inputs))
    inputs = tuple(_input(message, lifted, raw, index) for index in range(len(message.inputs)))
    seen: set[str] = set()
    for item in inputs:
        if item.name in seen:
            raise InvalidRequest(Reason.REPEATED_INPUT, name=quoted(item.name))
        seen.add(item.name)
    given = {each.name: each for each in kserve_parameters.read(message.parameters)}
    sequence_id = _value(given, _SEQUENCE_ID)
    request = InferenceRequest(
        model=message.model_name,
        model_version=message.model_version,
        inputs=inputs,
        outputs=tuple(output.name for output in message.outputs),
        verbatim=True,
        sequence_id=cast("int | str | None", sequence_id),
        sequence_start=bool(_value(given, _SEQUENCE_START)),
        sequence_end=bool(_value(given, _SEQUENCE_END)),
        parameters=tuple(each for each in given.values() if each.name not in _KINDS),
        output_parameters=_output_parameters(message),
        described_by="the request",
    )
    return Accepted(message.id, request, bool(_value(given, _EMPTY_FINAL_RESPONSE)))


def _value(given: dict[str, Parameter], name: str) -> object:
    parameter = given.get(name)
    if parameter is None:
        return None
    kinds = _KINDS[name]
    if parameter.kind not in kinds:
        raise InvalidRequest(
            Reason.BAD_PARAMETER,
            name=name,
            got=_kind(parameter.kind),
            expected=" or ".join(_kind(kind) for kind in kinds),
        )
    return parameter.value


def _kind(kind: ParameterKind) -> str:
    return f"{kind.name.lower()}_param" if kind is not ParameterKind.UNSET else "without a value"


def _output_parameters(message: service_pb2.ModelInferRequest) -> tuple[Parameters, ...]:
    if not any(output.parameters for output in message.outputs):
        return ()
    for index, output in enumerate(message.outputs):
        _check_no_shared_memory(f"outputs[{index}].parameters", output)
    return tuple(kserve_parameters.read(output.parameters) for output in message.outputs)


def _check_no_shared_memory(
    field: str,
    described: service_pb2.ModelInferRequest.InferInputTensor
    | service_pb2.ModelInferRequest.InferRequestedOutputTensor,
) -> None:
    for name in sorted(described.parameters):
        if name.startswith(_SHARED_MEMORY):
            raise InvalidRequest(Reason.SHARED_MEMORY, field=field, name=quoted(name))


def _input(
    message: service_pb2.ModelInferRequest,
    lifted: tuple[list[memoryview], ...] | None,
    raw: Sequence[Buffer],
    index: int,
) -> InputTensor:
    described = message.inputs[index]
    _check_no_shared_memory(f"inputs[{index}].parameters", described)
    dtype = BY_NAME.get(described.datatype)
    if dtype is None:
        raise InvalidRequest(Reason.UNKNOWN_DTYPE, index=index, got=quoted(described.datatype), expected=_DTYPES)
    if len(described.shape) > MAX_RANK:
        raise InvalidRequest(Reason.TOO_MANY_DIMENSIONS, index=index, got=len(described.shape), expected=MAX_RANK)
    shape = tuple(described.shape)
    if any(dimension < 0 for dimension in shape):
        raise InvalidRequest(Reason.NEGATIVE_DIMENSION, index=index, got=list(shape))
    typed: contents.Contents = described.contents if lifted is None else lifted[1][index]
    data = _data(index, dtype, typed, raw)
    expected = expected_size(dtype, shape, data)
    if expected is not None:
        raise InvalidRequest(
            Reason.SIZE_MISMATCH, index=index, got=len(data), expected=expected, dtype=dtype.name, shape=list(shape)
        )
    return InputTensor(described.name, dtype, shape, data)


def _data(index: int, dtype: DType, typed: contents.Contents, raw: Sequence[Buffer]) -> Buffer:
    if not raw:
        return contents.raw(index, dtype, typed)
    empty = not len(typed) if isinstance(typed, memoryview) else not typed.ByteSize()
    if not empty:
        raise InvalidRequest(Reason.BOTH_CONTENTS, index=index)
    return raw[index]

"""The serialized packet of a request: what is the same for every one like it is kept, the data is copied once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mm_client_api.errors import InvalidRequest
from mm_client_api.request import InferenceRequest
from mm_client_api.tensors import Pieces, Tensor, Value, check_datatype, encode_view
from multimodal_contract import pb, wire
from multimodal_contract.dtypes import BY_NAME

# Distinct heads that are kept, each some hundred bytes. Inputs of ever new shapes need a new one each time.
_KEPT_HEADS = 256
_META = pb.DataPacket.META_FIELD_NUMBER
_CORRELATION_ID = pb.Meta.CORRELATION_ID_FIELD_NUMBER
_TENSOR, _TENSORS = pb.DataPacket.TENSOR_FIELD_NUMBER, pb.DataPacket.TENSORS_FIELD_NUMBER
_NAMED_NAME, _NAMED_TENSOR = pb.NamedTensor.NAME_FIELD_NUMBER, pb.NamedTensor.TENSOR_FIELD_NUMBER
_DATA = pb.Tensor.DATA_FIELD_NUMBER


class Described(NamedTuple):
    """An input without its data: the model's name for it, Triton's name of the element type, and dimensions."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class _Head(NamedTuple):
    # Control and event, serialized.
    control: bytes
    # Of each input what stands in the contract's Tensor before the data.
    tensors: tuple[bytes, ...]


def to_packet(request: InferenceRequest, correlation_id: str) -> bytes:
    """Serialize the packet: one input travels as the payload, which every proxy knows, several as named tensors.

    Raises:
        InvalidRequest: an input cannot be encoded, `outputs` is a single text, or a sequence would be of one request.
    """
    if isinstance(request.outputs, str):
        raise InvalidRequest(
            f"not sent: outputs is the text {request.outputs!r}; expected a list of names", status="BAD_REQUEST"
        )
    if request.sequence_start and request.sequence_end:
        raise InvalidRequest(
            "not sent: sequence_start and sequence_end are both set; expected a sequence of two requests or more, "
            "since a packet tells one of the two",
            status="BAD_REQUEST",
            correlation_id=correlation_id,
        )
    tensors = {name: encoded(name, value, correlation_id) for name, value in request.inputs.items()}
    head = head_of(
        request.model,
        request.model_version,
        tuple(request.outputs),
        request.timeout_secs,
        request.raw_outputs,
        pb.SEV_START if request.sequence_start else pb.SEV_END if request.sequence_end else pb.SEV_DATA,
        tuple(Described(name, tensor.datatype, tuple(tensor.shape)) for name, tensor in tensors.items()),
    )
    parts = [*wire.field(_META, wire.field(_CORRELATION_ID, [correlation_id.encode()])), head.control]
    parts += _payload(tensors, head)
    return b"".join(parts)


def _payload(tensors: Mapping[str, Tensor | Pieces], head: _Head) -> list[wire.Buffer]:
    parts: list[wire.Buffer] = []
    for (name, tensor), tensor_head in zip(tensors.items(), head.tensors):
        content = [tensor_head, *wire.field(_DATA, tensor.parts)]
        if len(tensors) == 1:
            parts += wire.field(_TENSOR, content)
        else:
            parts += wire.field(
                _TENSORS, [*wire.field(_NAMED_NAME, [name.encode()]), *wire.field(_NAMED_TENSOR, content)]
            )
    return parts


@lru_cache(_KEPT_HEADS)
def head_of(
    model: str,
    model_version: str,
    outputs: tuple[str, ...],
    timeout_secs: float,
    raw_outputs: bool,
    event: pb.StreamEvent.ValueType,
    inputs: tuple[Described, ...],
) -> _Head:
    """Return the part of a packet that is the same for every request like it; the latest are kept."""
    control = pb.Control(
        model=model,
        model_version=model_version,
        outputs=[pb.OutputSpec(name=name) for name in outputs],
        timeout_secs=timeout_secs,
        output_encoding=pb.OE_RAW if raw_outputs else pb.OE_BASE64_JSON,
    )
    tensors = []
    for described in inputs:
        tensor = pb.Tensor(dtype=BY_NAME[described.datatype].number, shape=pb.Shape(dims=described.shape))
        spec = control.inputs.add(name=described.name, dtype=tensor.dtype, shape=tensor.shape)
        setattr(spec, "from", pb.SRC_TENSOR)
        tensors.append(tensor.SerializeToString())
    return _Head(pb.DataPacket(control=control, event=event).SerializeToString(), tuple(tensors))


def encoded(name: str, value: Value | Tensor | Pieces, correlation_id: str) -> Tensor | Pieces:
    """Return an input as a tensor, which is a view where it can be one.

    Raises:
        InvalidRequest: it cannot be one.
    """
    try:
        if not isinstance(value, (Tensor, Pieces)):
            return encode_view(value)
        check_datatype(value.datatype)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"input {name!r} {error.detail}", status=error.status, correlation_id=correlation_id
        ) from error
    return value

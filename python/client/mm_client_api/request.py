"""One inference as the caller describes it, and the packet that carries it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm_client_api.errors import InvalidRequest
from mm_client_api.tensors import Array, Tensor, encode
from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NAME

DEFAULT_TIMEOUT_SECS = 60.0


@dataclass(frozen=True)
class InferenceRequest:
    """One inference of one model.

    Attributes:
        model: name in Triton's repository.
        inputs: by the names of the model's inputs. Arrays are sent in their own element type; a `Tensor` as it is
            (`encode(array, "BF16")` makes one).
        outputs: names of the wanted outputs. One that the model lacks comes back as missing.
        model_version: such as "1"; empty leaves it to Triton, where the proxy allows that.
        timeout_secs: longest time Triton may take; 0 means the proxy's default.
        correlation_id: given back in the answer, unique within a stream; empty makes one.
        raw_outputs: False asks for base64 in JSON, the published form, which costs a third more bytes.
    """

    model: str
    inputs: Mapping[str, Array | Tensor]
    outputs: Sequence[str]
    model_version: str = ""
    timeout_secs: float = DEFAULT_TIMEOUT_SECS
    correlation_id: str = ""
    raw_outputs: bool = True


class CorrelationIds:
    """Ids for requests that came without one: unique among clients, counted within one."""

    def __init__(self) -> None:
        self._prefix = uuid.uuid4().hex[:12]
        # next() of an itertools.count is atomic, so threads may share it.
        self._counter = itertools.count()

    def fill(self, request: InferenceRequest) -> str:
        """Return the request's own id, or a new one."""
        return request.correlation_id or f"{self._prefix}-{next(self._counter):08d}"


def to_packet(request: InferenceRequest, correlation_id: str) -> pb.DataPacket:
    """Build the packet: one input travels as the payload, which every proxy knows, several as named tensors.

    Raises:
        InvalidRequest: an input cannot be encoded, or `outputs` is a single text.
    """
    if isinstance(request.outputs, str):
        raise InvalidRequest(
            f"not sent: outputs is the text {request.outputs!r}; expected a list of names", status="BAD_REQUEST"
        )
    packet = pb.DataPacket(
        meta=pb.Meta(correlation_id=correlation_id),
        control=pb.Control(
            model=request.model,
            model_version=request.model_version,
            outputs=[pb.OutputSpec(name=name) for name in request.outputs],
            timeout_secs=request.timeout_secs,
            output_encoding=pb.OE_RAW if request.raw_outputs else pb.OE_BASE64_JSON,
        ),
        event=pb.SEV_DATA,
    )
    for name, value in request.inputs.items():
        tensor = value if isinstance(value, Tensor) else _encode_named(name, value, correlation_id)
        number = BY_NAME[tensor.datatype].number
        spec = packet.control.inputs.add(name=name, dtype=number)
        spec.shape.dims.extend(tensor.shape)
        setattr(spec, "from", pb.SRC_TENSOR)
        wire = packet.tensor if len(request.inputs) == 1 else packet.tensors.add(name=name).tensor
        wire.dtype = number
        wire.shape.dims.extend(tensor.shape)
        wire.data = tensor.data
    return packet


def _encode_named(name: str, array: Array, correlation_id: str) -> Tensor:
    try:
        return encode(array)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"input {name!r} {error.detail}", status=error.status, correlation_id=correlation_id
        ) from error

"""What came back for one request."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from mm_client_api.errors import AckError, ProtocolError, error_of_ack
from mm_client_api.tensors import Array, Tensor, decode
from multimodal_contract import pb


class Timing(NamedTuple):
    """How long the parts of the work took at the proxy, in milliseconds; 0 where it was not told."""

    recv_to_decode_ms: float
    preprocess_ms: float
    triton_queue_ms: float
    triton_infer_ms: float
    postprocess_ms: float
    total_ms: float


class InferenceResult:
    """The answer to one request.

    Attributes:
        correlation_id: the request's.
        status: "OK", "BAD_REQUEST", "TIMEOUT", "INTERNAL", "UNSUPPORTED", or the number of one not known here.
        message: the proxy's JSON, parsed; in the published form it holds the outputs as base64.
        model: name of the model.
        model_version: the version that served.
        timing: see `Timing`.
        bytes_seen: size of the packet as the proxy received it, in bytes.
        final: False where more answers to the same request follow.
        error: None, or the exception that `raise_for_status` raises.
    """

    def __init__(self, ack: pb.Ack) -> None:
        self._ack = ack
        self.correlation_id = ack.correlation_id
        self.status = _status_name(ack.status)
        self.message = _parse_message(ack)
        self.model = str(self.message.get("model") or ack.resolved_control.model)
        self.model_version = str(self.message.get("model_version") or ack.resolved_control.model_version)
        self.timing = Timing(*(getattr(ack.timing, field) for field in Timing._fields))
        self.bytes_seen = ack.bytes_seen
        # A proxy of the published contract sends one Ack, without the mark and without raw outputs.
        self.final = ack.final or not ack.outputs
        self.error: AckError | None = None
        if ack.status != pb.OK:
            self.error = error_of_ack(self.status, self.message, ack.correlation_id)

    def raise_for_status(self) -> InferenceResult:
        """Return this result if it is good.

        Raises:
            AckError: it is not; the subclass says which kind.
        """
        if self.error is not None:
            raise self.error
        return self

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the requested outputs that the model does not have."""
        return tuple(name for name, told in self._told_outputs.items() if "error" in told)

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The outputs by name, not decoded.

        Raises:
            ProtocolError: the answer's outputs cannot be read.
        """
        tensors = {
            output.name: Tensor(output.datatype, tuple(output.shape.dims), output.data) for output in self._ack.outputs
        }
        for name, told in self._told_outputs.items():
            if name not in tensors and "error" not in told:
                tensors[name] = self._from_json(name, told)
        return tensors

    @cached_property
    def outputs(self) -> Mapping[str, Array]:
        """The outputs by name as numpy arrays, decoded when first asked for; see `tensors.decode`.

        Raises:
            ProtocolError: the answer's outputs cannot be read.
        """
        outputs = {}
        for name, tensor in self.tensors.items():
            try:
                outputs[name] = decode(tensor)
            except ProtocolError as error:
                raise self._unreadable(name, error.detail) from error
        return outputs

    @property
    def _told_outputs(self) -> Mapping[str, Mapping[str, Any]]:
        told = self.message.get("outputs")
        if not isinstance(told, dict):
            return {}
        return {name: value for name, value in told.items() if isinstance(value, dict)}

    def _from_json(self, name: str, told: Mapping[str, Any]) -> Tensor:
        try:
            shape = tuple(int(dim) for dim in told["shape"])
            return Tensor(str(told["dtype"]), shape, base64.b64decode(told["b64"], validate=True))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise self._unreadable(name, f"expected dtype, shape and b64 in the JSON ({error!r})") from error

    def _unreadable(self, name: str, detail: str) -> ProtocolError:
        return ProtocolError(f"output {name!r} cannot be read: {detail}", correlation_id=self.correlation_id)

    def __repr__(self) -> str:
        return (
            f"InferenceResult(correlation_id={self.correlation_id!r}, status={self.status!r}, model={self.model!r}, "
            f"model_version={self.model_version!r})"
        )


def _status_name(number: int) -> str:
    try:
        return pb.StatusCode.Name(pb.StatusCode.ValueType(number))
    except ValueError:
        return str(number)


def _parse_message(ack: pb.Ack) -> dict[str, Any]:
    try:
        message = json.loads(ack.message or "{}")
    except ValueError:
        message = None
    if isinstance(message, dict):
        return message
    if ack.status == pb.OK:
        raise ProtocolError("the Ack's message is not a JSON object", correlation_id=ack.correlation_id)
    return {"error": ack.message}

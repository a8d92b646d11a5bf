"""What came back for one request."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from mm_client_api.errors import AckError, ProtocolError, error_of_ack
from mm_client_api.html import table
from mm_client_api.summaries import first_values, spread
from mm_client_api.tensors import Array, Tensor, decode
from multimodal_contract import pb, wire

_LIFTER = wire.Lifter(pb.Ack.DESCRIPTOR, "outputs.data")


class Timing(NamedTuple):
    """How long the parts of the work took at the proxy, in milliseconds; 0 where the proxy does not report it."""

    recv_to_decode_ms: float
    preprocess_ms: float
    triton_queue_ms: float
    triton_infer_ms: float
    postprocess_ms: float
    total_ms: float


class InferenceResult:
    """The answer to one request. What is costly to read out of it is read when it is first asked for.

    Attributes:
        correlation_id: the request's.
        status: "OK", "BAD_REQUEST", "TIMEOUT", "INTERNAL", "UNSUPPORTED", or the number of one not known here.
        final: False where more answers to the same request follow.
        error: None, or the exception that `raise_for_status` raises.
    """

    def __init__(
        self,
        ack: pb.Ack,
        data: Sequence[bytes | memoryview] | None = None,
        *,
        marks_last: bool = False,
        correlation_id: str | None = None,
    ) -> None:
        """Make the result out of an Ack.

        Args:
            ack: the answer.
            data: of each of its outputs; None where they are in the Ack.
            marks_last: the proxy marks the last Ack for a packet. One of the published contract does not, and sends
                one Ack, without raw outputs.
            correlation_id: of the request, where it is not the Ack's.
        """
        self._ack = ack
        self._data = data
        self.correlation_id = ack.correlation_id if correlation_id is None else correlation_id
        self.status = _status_name(ack.status)
        self.final = ack.final or not (marks_last or ack.outputs)
        self.error: AckError | None = None
        if ack.status != pb.OK:
            self.error = error_of_ack(self.status, self.message, self.correlation_id)

    @cached_property
    def message(self) -> dict[str, Any]:
        """The proxy's JSON, parsed; in the published form it holds the outputs as base64.

        Raises:
            ProtocolError: the request is answered with OK, and not with a JSON object.
        """
        try:
            message = json.loads(self._ack.message or "{}")
        except ValueError:
            message = None
        if isinstance(message, dict):
            return message
        if self._ack.status == pb.OK:
            raise ProtocolError("the Ack's message is not a JSON object", correlation_id=self.correlation_id)
        return {"error": self._ack.message}

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.message.get("model") or self._ack.resolved_control.model)

    @property
    def model_version(self) -> str:
        """The version that served."""
        return str(self.message.get("model_version") or self._ack.resolved_control.model_version)

    @property
    def timing(self) -> Timing:
        """See `Timing`."""
        return Timing(*(getattr(self._ack.timing, field) for field in Timing._fields))

    @property
    def bytes_seen(self) -> int:
        """Size of the packet as the proxy received it, in bytes."""
        return self._ack.bytes_seen

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
        return tuple(name for name, reported in self._reported_outputs.items() if "error" in reported)

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The outputs by name, not decoded. Those that came as raw bytes are views on the received message.

        Raises:
            ProtocolError: the answer's outputs cannot be read.
        """
        if self._ack.outputs:
            data = [output.data for output in self._ack.outputs] if self._data is None else self._data
            return {
                output.name: Tensor(output.datatype, tuple(output.shape.dims), one)
                for output, one in zip(self._ack.outputs, data)
            }
        reported = self._reported_outputs
        return {name: self._from_json(name, one) for name, one in reported.items() if "error" not in one}

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
    def _reported_outputs(self) -> Mapping[str, Mapping[str, Any]]:
        reported = self.message.get("outputs")
        if not isinstance(reported, dict):
            return {}
        return {name: value for name, value in reported.items() if isinstance(value, dict)}

    def _from_json(self, name: str, reported: Mapping[str, Any]) -> Tensor:
        try:
            shape = tuple(int(dim) for dim in reported["shape"])
            return Tensor(str(reported["dtype"]), shape, base64.b64decode(reported["b64"], validate=True))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise self._unreadable(name, f"expected dtype, shape and b64 in the JSON ({error!r})") from error

    def _unreadable(self, name: str, detail: str) -> ProtocolError:
        return ProtocolError(f"output {name!r} cannot be read: {detail}", correlation_id=self.correlation_id)

    def _repr_html_(self) -> str:
        if self.error is not None:
            return self.error._repr_html_()
        rows = [
            (name, self.tensors[name].datatype, str(list(array.shape)), first_values(array), spread(array))
            for name, array in self.outputs.items()
        ]
        rows += [(name, "", "", "the model has no such output", "") for name in self.missing]
        times = f"{self.timing.triton_infer_ms:.1f} ms in Triton, {self.timing.total_ms:.1f} ms in all"
        head = f"{self.model} version {self.model_version}: {times}"
        return table(("output", "datatype", "shape", "values", ""), rows, [head])

    def __repr__(self) -> str:
        return (
            f"InferenceResult(correlation_id={self.correlation_id!r}, status={self.status!r}, model={self.model!r}, "
            f"model_version={self.model_version!r})"
        )


def read_answer(raw: bytes, *, marks_last: bool = False) -> InferenceResult:
    """Parse an answer; large outputs are not copied out of it.

    Args:
        raw: the serialized Ack.
        marks_last: see `InferenceResult`.

    Raises:
        ProtocolError: it is none.
    """
    ack = pb.Ack()
    try:
        data = _LIFTER.parse(raw, ack)
    except DecodeError as error:
        raise ProtocolError(f"{len(raw)} bytes came that are no Ack") from error
    return InferenceResult(ack, None if data is None else data[0], marks_last=marks_last)


def _status_name(number: int) -> str:
    try:
        return pb.StatusCode.Name(pb.StatusCode.ValueType(number))
    except ValueError:
        return str(number)

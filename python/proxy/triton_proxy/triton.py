"""Asking Triton: with `link`, the only module that speaks `inference.*`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2

from triton_proxy.link import Link
from triton_proxy.packet import Input
from triton_proxy.reply import Output

# ModelInferRequest.raw_input_contents: field 7, length-delimited.
_RAW_INPUT_TAG = b"\x3a"


class TritonError(Exception):
    """The inference did not happen; the text is Triton's own, or says which limit was passed."""


@dataclass(frozen=True)
class TimeLimit:
    """How long an inference may take, and who said so.

    Attributes:
        secs: the limit in seconds.
        source: the field or setting it comes from, for the caller to read.
    """

    secs: float
    source: str


class Inference:
    """One inference under way."""

    def __init__(self, call: grpc.Future[service_pb2.ModelInferResponse], limit: TimeLimit) -> None:
        self._call = call
        self._limit = limit
        self._started = time.perf_counter()
        self._ended: float | None = None
        call.add_done_callback(self._stop_clock)

    def _stop_clock(self, _: object) -> None:
        self._ended = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        """How long Triton took, or has taken so far."""
        return ((self._ended or time.perf_counter()) - self._started) * 1000

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Calls back once, when Triton has answered or will not; soon, in a thread that must not be held up."""
        self._call.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        """Tells Triton that nobody waits any more."""
        self._call.cancel()

    def result(self) -> tuple[str, dict[str, Output]]:
        """Waits for the answer: the version that served and every output by name.

        Raises:
            TritonError: Triton refused, failed, was not reachable or took too long.
            grpc.FutureCancelledError: `cancel` came first.
        """
        try:
            response = self._call.result()
        except grpc.RpcError as error:
            raise TritonError(self._words(error)) from None
        if len(response.raw_output_contents) != len(response.outputs):
            raise TritonError(
                f"Triton answered {len(response.outputs)} outputs with {len(response.raw_output_contents)} contents"
            )
        outputs = {
            described.name: Output(described.datatype, tuple(described.shape), data)
            for described, data in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        return response.model_version, outputs

    def _words(self, error: grpc.RpcError) -> str:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"timeout: Triton did not answer within {self._limit.secs:g} s ({self._limit.source})"
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and (error.details() or "").startswith("CLIENT:"):
            return f"the model's answer is larger than MAX_MESSAGE_MB allows: {error.details()}"
        return error.details() or error.code().name


class Triton:
    """One Triton, shared by all streams."""

    def __init__(self, link: Link) -> None:
        """Takes over the connection."""
        self._link = link

    def close(self) -> None:
        """Ends the connection and whatever is under way on it."""
        self._link.close()

    def ready(self, timeout_secs: float) -> bool:
        """Whether Triton says it is ready."""
        return self._link.ready(timeout_secs=timeout_secs)

    def infer(
        self, model: str, model_version: str, inputs: Sequence[Input], *, cid: str, limit: TimeLimit
    ) -> Inference:
        """Begins one inference.

        No output is asked for by name: Triton then answers with all, where an unknown name would make it refuse.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
            inputs: the checked inputs.
            cid: correlation id, which Triton shows in its own log.
            limit: longest time to wait.
        """
        request = _request(model, model_version, inputs, cid)
        return Inference(self._link.infer(request, timeout_secs=limit.secs), limit)


def _request(model: str, model_version: str, inputs: Sequence[Input], cid: str) -> bytes:
    """A serialized ModelInferRequest; the tensors are put behind its head without a message in between."""
    head = service_pb2.ModelInferRequest(model_name=model, model_version=model_version, id=cid)
    for item in inputs:
        head.inputs.add(name=item.name, datatype=item.dtype.name, shape=item.shape)
    parts = [head.SerializeToString()]
    for item in inputs:
        parts += [_RAW_INPUT_TAG, _varint(len(item.data)), item.data]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

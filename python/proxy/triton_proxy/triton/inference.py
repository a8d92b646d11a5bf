"""One inference under way, and what Triton answers to it."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import grpc
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from mm_service.status import Code
from multimodal_contract.wire import Buffer, Lifter
from triton_proxy.inference.answer import Answer, InferenceCancelled, InferenceFailed, OutputTensor
from triton_proxy.inference.request import TimeLimit
from triton_proxy.kserve_messages import parameters
from triton_proxy.triton.channel import StreamCall
from triton_proxy.triton.direct.calls import UnaryCall
from triton_proxy.triton.leavable_stream import LeavableStream
from triton_proxy.triton.patience import PatientCall

_INFERRED = Lifter(service_pb2.ModelInferResponse.DESCRIPTOR, "raw_output_contents")
_STREAMED = Lifter(service_pb2.ModelStreamInferResponse.DESCRIPTOR, "infer_response.raw_output_contents")
# Triton's parameter by which an answer says whether it is a decoupled model's last.
_FINAL_RESPONSE = "triton_final_response"


class Inference(ABC):
    """One inference under way.

    Attributes:
        decoupled: whether there may be any number of answers, the first of them long before the last.
    """

    decoupled: bool

    @property
    @abstractmethod
    def milliseconds(self) -> float:
        """How long Triton took, or has taken so far."""

    @abstractmethod
    def add_done_callback(self, callback: Callable[[int], None]) -> None:
        """Calls back once, when Triton has answered or will not; soon, in a thread that must not be held up.

        Args:
            callback: is given the number of bytes of the answer that are held until it is taken.
        """

    def add_left_callback(self, callback: Callable[[], None]) -> None:
        """Calls back once, when Triton does no more for it: later than `add_done_callback` where it was `left`."""
        self.add_done_callback(lambda _: callback())

    @property
    def left(self) -> bool:
        """Whether it is done though Triton may still be at work on it, which was not told that nobody waits."""
        return False

    @abstractmethod
    def wait(self) -> None:
        """Waits until Triton has answered or will not."""

    @abstractmethod
    def cancel(self) -> None:
        """Tells Triton that nobody waits any more."""

    def leave(self) -> None:
        """Nobody waits any more; Triton hears of it late where a cancel may end it."""
        self.cancel()

    @abstractmethod
    def answers(self) -> Iterator[Answer]:
        """Waits for the answers, of which there is one; a decoupled model gives any number and says which is the last.

        Raises:
            InferenceFailed: Triton refused, failed, was not reachable or took too long.
            InferenceCancelled: `cancel` came first.
        """


class _Clock:
    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._ended: float | None = None

    def stop(self) -> None:
        self._ended = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        return ((self._ended or time.perf_counter()) - self._started) * 1000


class _Unary(Inference):
    """By ModelInfer: one answer."""

    decoupled = False

    def __init__(self, call: UnaryCall, limit: TimeLimit) -> None:
        self._call = call
        self._limit = limit
        self._clock = _Clock()
        call.add_done_callback(lambda _: self._clock.stop())

    @property
    def milliseconds(self) -> float:
        return self._clock.milliseconds

    def add_done_callback(self, callback: Callable[[int], None]) -> None:
        def done(call: UnaryCall) -> None:
            callback(len(call.result()) if not call.cancelled() and call.exception() is None else 0)

        self._call.add_done_callback(done)

    def add_left_callback(self, callback: Callable[[], None]) -> None:
        if isinstance(self._call, PatientCall):
            self._call.add_left_callback(callback)
        else:
            super().add_left_callback(callback)

    @property
    def left(self) -> bool:
        return isinstance(self._call, PatientCall) and self._call.left

    def wait(self) -> None:
        done = threading.Event()
        self._call.add_done_callback(lambda _: done.set())
        done.wait()

    def cancel(self) -> None:
        self._call.cancel()

    def answers(self) -> Iterator[Answer]:
        raw = self._result()
        response = service_pb2.ModelInferResponse()
        lifted = _parse(_INFERRED, raw, response)
        yield _answer(response, response.raw_output_contents if lifted is None else lifted[0])

    def _result(self) -> Buffer:
        try:
            return self._call.result()
        except grpc.FutureCancelledError:
            raise InferenceCancelled from None
        except grpc.RpcError as error:
            raise _error_of(error, self._limit) from None


class _Asked(_Unary):
    """A question: one answer, which is not looked into."""

    def answers(self) -> Iterator[Answer]:
        yield Answer("", None, body=bytes(self._result()))


class _Streamed(Inference):
    """By ModelStreamInfer, with one request on the stream: any number of answers, read as they are asked for."""

    decoupled = True

    def __init__(self, call: StreamCall, limit: TimeLimit, model_version: str) -> None:
        self._call = call
        self._limit = limit
        self._model_version = model_version
        self._cancelled = False
        self._clock = _Clock()

    @property
    def milliseconds(self) -> float:
        return self._clock.milliseconds

    def add_done_callback(self, callback: Callable[[int], None]) -> None:
        if not self._call.add_callback(lambda: callback(0)):
            callback(0)

    def wait(self) -> None:
        done = threading.Event()
        self.add_done_callback(lambda _: done.set())
        done.wait()

    @property
    def left(self) -> bool:
        return isinstance(self._call, LeavableStream) and self._call.left

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()

    def leave(self) -> None:
        self._cancelled = True
        if isinstance(self._call, LeavableStream):
            self._call.leave()
        else:
            self._call.cancel()

    def answers(self) -> Iterator[Answer]:
        final = over = False
        try:
            # After the last one, too: Triton then ends the stream by itself, which a cancel could meet.
            for raw in self._call:
                if final:
                    break  # Nothing follows it: what goes on all the same is not waited for.
                self._clock.stop()
                answer = self._read(raw)
                final = answer.final
                yield answer
            else:
                over = True
        except grpc.RpcError as error:
            over = True
            if self._cancelled:
                raise InferenceCancelled from None
            if not final:
                raise _error_of(error, self._limit) from None
        finally:
            if not over:
                self.leave()
        if final:
            return
        if self.left:
            raise InferenceCancelled
        raise InferenceFailed("Triton ended the stream of answers without a last one")

    def _read(self, raw: bytes) -> Answer:
        message = service_pb2.ModelStreamInferResponse()
        lifted = _parse(_STREAMED, raw, message)
        response = message.infer_response
        # What was refused before it reached the model comes without the parameter, and nothing follows it.
        final = _FINAL_RESPONSE not in response.parameters or response.parameters[_FINAL_RESPONSE].bool_param
        if message.error_message and final:
            raise InferenceFailed(message.error_message)
        self._model_version = response.model_version or self._model_version
        if message.error_message:
            return Answer(self._model_version, None, message.error_message, final=False)
        if final and not response.outputs:
            return Answer(self._model_version, None)
        contents = response.raw_output_contents if lifted is None else lifted[0]
        answer = _answer(response, contents)
        return Answer(self._model_version, answer.outputs, final=final, parameters=answer.parameters)


def unary(call: UnaryCall, limit: TimeLimit) -> Inference:
    """An inference by ModelInfer.

    Args:
        call: for a serialized ModelInferResponse.
        limit: the call's deadline, in words.
    """
    return _Unary(call, limit)


def asked(call: UnaryCall, limit: TimeLimit) -> Inference:
    """A question, by the method that the call is of.

    Args:
        call: for a serialized answer.
        limit: the call's deadline, in words.
    """
    return _Asked(call, limit)


def streamed(call: StreamCall, limit: TimeLimit, model_version: str) -> Inference:
    """An inference by ModelStreamInfer, the only one in its call.

    Args:
        call: for serialized ModelStreamInferResponses.
        limit: the call's deadline, in words.
        model_version: the version that is thought to serve; Triton does not say where there is no answer.
    """
    return _Streamed(call, limit, model_version)


def _parse(lifter: Lifter, raw: Buffer, message: Message) -> tuple[list[memoryview], ...] | None:
    try:
        return lifter.parse(raw, message)
    except DecodeError:
        raise InferenceFailed("Triton's answer does not parse") from None


def _answer(response: service_pb2.ModelInferResponse, contents: Sequence[Buffer]) -> Answer:
    if len(contents) != len(response.outputs):
        raise InferenceFailed(f"Triton answered {len(response.outputs)} outputs with {len(contents)} contents")
    outputs = {
        described.name: OutputTensor(
            described.datatype, tuple(described.shape), data, parameters.read(described.parameters)
        )
        for described, data in zip(response.outputs, contents, strict=True)
    }
    others = tuple(each for each in parameters.read(response.parameters) if each.name != _FINAL_RESPONSE)
    return Answer(response.model_version, outputs, parameters=others)


def _error_of(error: grpc.RpcError, limit: TimeLimit) -> InferenceFailed:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"timeout: Triton did not answer within {limit.secs:g} s ({limit.source})"
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "CLIENT: Received message larger" in details:
        text = f"the model's answer is larger than MAX_MESSAGE_MB allows: {details}"
    else:
        text = details or code.name
    return InferenceFailed(text, Code[code.name])

"""Inferences as serving sees them: `ModelInfer` and `ModelStreamInfer` read requests, and these write their answers."""

from __future__ import annotations

from mm_service.status import Code, Status
from triton_proxy.inference.answer import Answer
from triton_proxy.inference.query import MayUse
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.protocols.kserve import reply as replies
from triton_proxy.protocols.kserve import request as requests
from triton_proxy.protocols.kserve.reasons import MAX_ENVELOPE_BYTES
from triton_proxy.protocols.kserve.reply import Reply
from triton_proxy.telemetry.observer import PacketInfo


class InferProtocol:
    """Reads ModelInferRequests."""

    def __init__(self, *, streamed: bool) -> None:
        """Keeps nothing else.

        Args:
            streamed: whether answers are messages of a stream, in which also errors are; otherwise the call ends for
                one.
        """
        self._streamed = streamed

    def read(self, raw: bytes) -> InferMessage:
        """Reads one serialized ModelInferRequest, whatever it holds."""
        return InferMessage(requests.read(raw), len(raw), streamed=self._streamed)


class InferMessage:
    """One ModelInferRequest, read and checked.

    Attributes:
        info: what observers may know of it.
        inferable: whether it asks for an inference, well-formed.
        query: asks for nothing else.
        event: says nothing of sequences by itself.
        fit: is complete without.
        satisfied: takes all answers.
        kept_bytes: memory that it takes until its answer was taken: its id, its model's name, and what is wrong.
    """

    query = None
    event = None
    fit = None
    satisfied = False

    def __init__(self, outcome: requests.Accepted | requests.Refused, size: int, *, streamed: bool) -> None:
        """Made by `InferProtocol.read`."""
        self._streamed = streamed
        self._id = outcome.request_id
        self._request: InferenceRequest | None = None
        self._problem = ""
        self._empty_final_response = False
        if isinstance(outcome, requests.Accepted):
            self._request = outcome.request
            self._empty_final_response = outcome.empty_final_response
            self._model, version = outcome.request.model, outcome.request.model_version
        else:
            self._problem = outcome.text
            self._model, version = outcome.model, outcome.model_version
        self.inferable = self._request is not None
        self.info = PacketInfo(size, self._model, version, self._id)
        self.kept_bytes = min(size, MAX_ENVELOPE_BYTES)

    @property
    def request(self) -> InferenceRequest:
        """What it asks for, where it is inferable and until `forget_tensors`."""
        assert self._request is not None  # noqa: S101 - what the caller has made sure of
        return self._request

    def forget_tensors(self) -> None:
        """Keeps nothing of its tensors any more."""
        self._request = None

    def reply(self) -> Reply:
        """The answer where there is nothing to infer."""
        return self._failed(self._problem, Code.INVALID_ARGUMENT)

    def rejected(self, rejection: Rejection) -> Reply:
        """The answer where the model can't take it."""
        return self._failed(f"{rejection.problem}; ModelMetadata describes the model", Code.INVALID_ARGUMENT)

    def answered(self, answer: Answer) -> Reply | None:
        """The answer with what the model answered; None for an empty last one that the caller did not ask for."""
        if answer.outputs is None and not self._empty_final_response:
            return None
        return replies.inferred(self._model, self._id, answer, streamed=self._streamed)

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """No inference is answered so."""
        raise NotImplementedError

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """The answer that says why there is no inference, in Triton's words and with its status where it was Triton."""
        del by_triton
        return self._failed(text, code, final=final)

    def _failed(self, text: str, code: Code, *, final: bool = True) -> Reply:
        if self._streamed:
            return replies.failed(self._id, text, final=final)
        return Reply(False, status=Status(code, text))

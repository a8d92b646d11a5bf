"""Questions about Triton and its models: what they name, and how much of the answer their caller may hear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from mm_service.status import Code, Status
from triton_proxy.inference.answer import Answer
from triton_proxy.inference.query import MayUse, Query, QueryMethod
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.protocols.kserve.reasons import MAX_ENVELOPE_BYTES, Reason
from triton_proxy.protocols.kserve.reply import Reply
from triton_proxy.telemetry.observer import PacketInfo

# What of Triton's extensions the proxy does not pass on.
_WITHHELD_EXTENSIONS = ("model_repository", "shared_memory", "trace", "logging")


@dataclass(frozen=True)
class _Kind:
    """One method.

    Attributes:
        request: its request, which names a model in `name` and `version` or has neither.
        heard: makes of the serialized answer what the caller hears; None for all of it.
    """

    request: type[Message]
    heard: Callable[[bytes, MayUse], bytes] | None = None


def _server_metadata(body: bytes, _may_use: MayUse) -> bytes:
    answer = service_pb2.ServerMetadataResponse.FromString(body)
    kept = [name for name in answer.extensions if not any(part in name for part in _WITHHELD_EXTENSIONS)]
    del answer.extensions[:]
    answer.extensions.extend(kept)
    return bytes(answer.SerializeToString())


def _model_statistics(body: bytes, may_use: MayUse) -> bytes:
    answer = service_pb2.ModelStatisticsResponse.FromString(body)
    _keep(answer.model_stats, may_use)
    return bytes(answer.SerializeToString())


def _repository_index(body: bytes, may_use: MayUse) -> bytes:
    answer = service_pb2.RepositoryIndexResponse.FromString(body)
    _keep(answer.models, may_use)
    return bytes(answer.SerializeToString())


def _keep(entries: Any, may_use: MayUse) -> None:
    kept = [entry for entry in entries if may_use(entry.name, entry.version)]
    del entries[:]
    entries.extend(kept)


_KINDS = {
    QueryMethod.SERVER_LIVE: _Kind(service_pb2.ServerLiveRequest),
    QueryMethod.SERVER_READY: _Kind(service_pb2.ServerReadyRequest),
    QueryMethod.SERVER_METADATA: _Kind(service_pb2.ServerMetadataRequest, _server_metadata),
    QueryMethod.MODEL_READY: _Kind(service_pb2.ModelReadyRequest),
    QueryMethod.MODEL_METADATA: _Kind(service_pb2.ModelMetadataRequest),
    QueryMethod.MODEL_CONFIG: _Kind(service_pb2.ModelConfigRequest),
    QueryMethod.MODEL_STATISTICS: _Kind(service_pb2.ModelStatisticsRequest, _model_statistics),
    QueryMethod.REPOSITORY_INDEX: _Kind(service_pb2.RepositoryIndexRequest, _repository_index),
}


class QueryProtocol:
    """Reads the requests of one method."""

    def __init__(self, method: QueryMethod) -> None:
        """Keeps nothing else.

        Args:
            method: what is asked.
        """
        self._method = method

    def read(self, raw: bytes) -> QueryMessage:
        """Reads one serialized request of the method, whatever it holds."""
        return QueryMessage(self._method, raw)


class QueryMessage:
    """One question, read and checked.

    Attributes:
        info: what observers may know of it.
        inferable: it asks for no inference.
        query: what it asks for; None where it is not well-formed, and `reply` says so.
        event: says nothing of sequences.
        fit: is complete without.
        satisfied: takes its one answer.
        kept_bytes: memory that it takes until its answer was taken.
    """

    inferable = False
    event = None
    kept_bytes = 0
    fit = None
    satisfied = False

    def __init__(self, method: QueryMethod, raw: bytes) -> None:
        """Made by `QueryProtocol.read`."""
        self._kind = _KINDS[method]
        self.query: Query | None = None
        self._problem = ""
        message = self._kind.request()
        model = version = ""
        try:
            if len(raw) > MAX_ENVELOPE_BYTES:
                self._problem = Reason.ENVELOPE_TOO_LARGE.value
            else:
                message.ParseFromString(raw)
                model, version = getattr(message, "name", ""), getattr(message, "version", "")
                # Nothing goes to Triton that this module does not know.
                message.DiscardUnknownFields()
                self.query = Query(method, message.SerializeToString())
        except DecodeError:
            self._problem = Reason.NOT_A_MESSAGE.value.format(message=message.DESCRIPTOR.name)
        self.info = PacketInfo(len(raw), model, version)

    @property
    def request(self) -> InferenceRequest:
        """It has none."""
        raise NotImplementedError

    def forget_tensors(self) -> None:
        """It has none."""

    def reply(self) -> Reply:
        """The answer where Triton is not asked."""
        return self._failed(Status(Code.INVALID_ARGUMENT, self._problem))

    def rejected(self, rejection: Rejection) -> Reply:
        """No question is held against a model."""
        raise NotImplementedError

    def answered(self, answer: Answer) -> Reply | None:
        """No question is answered so."""
        raise NotImplementedError

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """What Triton said, as far as the caller may hear it."""
        heard = self._kind.heard
        try:
            return Reply(True, [body if heard is None else heard(body, may_use)])
        except DecodeError:
            return self._failed(Status(Code.INTERNAL, "Triton's answer does not parse"))

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """Says why there is no answer, in Triton's words and with its status where it was Triton."""
        del by_triton, final
        return self._failed(Status(code, text))

    def _failed(self, status: Status) -> Reply:
        return Reply(False, status=status)

"""What is asked of Triton beside inferences, and its answers as its own REST has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from mm_service.status import Code
from triton_proxy.inference.query import MayUse, Query, QueryMethod
from triton_proxy.protocols.rest.infer import RestMessage
from triton_proxy.protocols.rest.infer_request import Target
from triton_proxy.protocols.rest.reply import Reply, Writer, refusal

# Those of Triton's extensions that are served here.
_EXTENSIONS = (
    "classification",
    "sequence",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
_MESSAGE = FieldDescriptor.TYPE_MESSAGE
_ENUM = FieldDescriptor.TYPE_ENUM


@dataclass(frozen=True)
class Question:
    """One kind of question.

    Attributes:
        method: what Triton is asked.
        request: makes its message.
        answer: the type of Triton's.
        written: what the caller is told of it; a text where that is an error.
    """

    method: QueryMethod
    request: Callable[[Target], Message]
    answer: Callable[[], Message]
    written: Callable[[Any, MayUse], Any]


class DescribeProtocol:
    """Reads a request that asks Triton a question: its body says nothing."""

    def __init__(self, question: Question, target: Target, writer: Writer) -> None:
        """Nothing was read.

        Args:
            question: what is asked.
            target: the model; its name is "" for none.
            writer: of the answer.
        """
        self._question, self._target, self._writer = question, target, writer

    def read(self, raw: bytes) -> DescribeMessage:
        """Reads the body, whatever it holds."""
        return DescribeMessage(self._question, self._target, len(raw), self._writer)


class DescribeMessage(RestMessage):
    """One question."""

    def __init__(self, question: Question, target: Target, size: int, writer: Writer) -> None:
        """Made by `DescribeProtocol.read`."""
        super().__init__(target, size, writer, None)
        self._question = question
        self.query = Query(question.method, question.request(target).SerializeToString())

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """Triton's answer, of which the caller hears no more than it may use."""
        message = self._question.answer()
        try:
            message.ParseFromString(body)
        except DecodeError:
            return refusal(Code.INTERNAL, "Triton's answer does not parse")
        value = self._question.written(message, may_use)
        return refusal(Code.INVALID_ARGUMENT, value) if isinstance(value, str) else self._writer.json(value)


def _server(message: service_pb2.ServerMetadataResponse, _: MayUse) -> Any:
    extensions = [each for each in message.extensions if each in _EXTENSIONS]
    return {"name": message.name, "version": message.version, "extensions": [*extensions, "generate"]}


def _ready(message: service_pb2.ModelReadyResponse, _: MayUse) -> Any:
    return {"ready": True} if message.ready else "Model version not ready"


def _metadata(message: service_pb2.ModelMetadataResponse, _: MayUse) -> Any:
    return as_json(message)


def _config(message: service_pb2.ModelConfigResponse, _: MayUse) -> Any:
    return as_json(message.config)


def _statistics(message: service_pb2.ModelStatisticsResponse, may_use: MayUse) -> Any:
    return {"model_stats": [as_json(each) for each in message.model_stats if may_use(each.name, each.version)]}


def _index(message: service_pb2.RepositoryIndexResponse, may_use: MayUse) -> Any:
    shown = [as_json(each) for each in message.models if may_use(each.name, each.version)]
    # Triton leaves out what it has not to say.
    return [{name: value for name, value in each.items() if value or name == "name"} for each in shown]


SERVER_METADATA = Question(
    QueryMethod.SERVER_METADATA,
    lambda _: service_pb2.ServerMetadataRequest(),
    service_pb2.ServerMetadataResponse,
    _server,
)
MODEL_READY = Question(
    QueryMethod.MODEL_READY,
    lambda target: service_pb2.ModelReadyRequest(name=target.model, version=target.version),
    service_pb2.ModelReadyResponse,
    _ready,
)
MODEL_METADATA = Question(
    QueryMethod.MODEL_METADATA,
    lambda target: service_pb2.ModelMetadataRequest(name=target.model, version=target.version),
    service_pb2.ModelMetadataResponse,
    _metadata,
)
MODEL_CONFIG = Question(
    QueryMethod.MODEL_CONFIG,
    lambda target: service_pb2.ModelConfigRequest(name=target.model, version=target.version),
    service_pb2.ModelConfigResponse,
    _config,
)
MODEL_STATISTICS = Question(
    QueryMethod.MODEL_STATISTICS,
    lambda target: service_pb2.ModelStatisticsRequest(name=target.model, version=target.version),
    service_pb2.ModelStatisticsResponse,
    _statistics,
)
REPOSITORY_INDEX = Question(
    QueryMethod.REPOSITORY_INDEX,
    lambda _: service_pb2.RepositoryIndexRequest(),
    service_pb2.RepositoryIndexResponse,
    _index,
)


def as_json(message: Message) -> dict[str, Any]:
    """A message as Triton's REST has it: names as in the proto, numbers as numbers, enums by name, all that is not set.

    protobuf's own JSON has 64-bit numbers as texts.

    Args:
        message: the message.
    """
    fields: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name["value"]
            fields[field.name] = {str(key): _one(entry, value[key]) for key in sorted(value)}
        elif field.is_repeated:
            fields[field.name] = [_one(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            fields[field.name] = _one(field, value)
    return fields


def _one(field: Any, value: Any) -> Any:
    if field.type == _MESSAGE:
        return as_json(value)
    if field.type == _ENUM:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    return value

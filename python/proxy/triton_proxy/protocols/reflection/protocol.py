"""Server reflection as serving sees it: grpc's own servicer answers, this reads its requests and writes its answers.

`grpc.reflection.v1` and `v1alpha` differ in their names alone: their messages have the same fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ErrorResponse, ServerReflectionRequest, ServerReflectionResponse

from mm_service.status import Code, Status
from triton_proxy.inference.answer import Answer, Timing
from triton_proxy.inference.query import MayUse
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.protocols.reflection.descriptors import served
from triton_proxy.telemetry.observer import PacketInfo

REFLECTION_METHODS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
)
# A request is one name, and comes back in its answer.
MAX_REQUEST_BYTES = 1024
_TOO_LARGE = (
    f"the request has more than {MAX_REQUEST_BYTES} bytes; expected the name of one file, symbol or type; "
    "ask for the services first"
)
_NOT_A_MESSAGE = (
    "the request is no serialized ServerReflectionRequest; expected protobuf; generate the client from grpc's proto"
)


@dataclass(frozen=True)
class Reply:
    """One serialized ServerReflectionResponse.

    Attributes:
        ok: whether it has what was asked for.
        parts: the message.
    """

    ok: bool
    parts: Sequence[bytes]
    status: Status | None = None

    def timed(self, timing: Timing) -> Reply:
        """The same: nothing in it says how long it took."""
        del timing
        return self

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return sum(map(len, self.parts))


class ReflectionProtocol:
    """Reads ServerReflectionRequests."""

    def __init__(self, files: Iterable[FileDescriptor], methods: Collection[str]) -> None:
        """Tells of nothing else.

        Args:
            files: where the services are described; any descriptor pool will do.
            methods: full names of the methods that are served.
        """
        pool, services = served(files, methods)
        self._servicer = ReflectionServicer(services, pool)
        # As symbols, which protobuf's pools don't find: the file is their service's.
        self._methods = {name[1:].replace("/", ".") for name in methods}

    def read(self, raw: bytes) -> ReflectionMessage:
        """Reads one serialized request, whatever it holds."""
        return ReflectionMessage(self._answer(raw), len(raw))

    def _answer(self, raw: bytes) -> ServerReflectionResponse:
        if len(raw) > MAX_REQUEST_BYTES:
            return _failure(_TOO_LARGE)
        try:
            request = ServerReflectionRequest.FromString(raw)
        except DecodeError:
            return _failure(_NOT_A_MESSAGE)
        asked = ServerReflectionRequest.FromString(raw)
        if request.file_containing_symbol in self._methods:
            asked.file_containing_symbol = request.file_containing_symbol.rpartition(".")[0]
        # The servicer asks nobody, and does not look at the call.
        answer: ServerReflectionResponse
        (answer,) = self._servicer.ServerReflectionInfo(iter([asked]), None)  # type: ignore[arg-type]  # as it says
        answer.original_request.CopyFrom(request)
        return answer


class ReflectionMessage:
    """One request, read and answered.

    Attributes:
        info: what observers may know of it.
        inferable: it asks for no inference.
        query: nor for anything that Triton knows.
        fit: what a model takes does not concern it.
        satisfied: nor what one answers.
        event: nor says it anything of sequences.
        kept_bytes: memory that it takes until its answer was taken: the answer.
    """

    inferable = False
    query = None
    fit = None
    satisfied = False
    event = None

    def __init__(self, answer: ServerReflectionResponse, size: int) -> None:
        """Made by `ReflectionProtocol.read`."""
        self.info = PacketInfo(size)
        self._reply = Reply(not answer.HasField("error_response"), [answer.SerializeToString()])
        self.kept_bytes = self._reply.size

    @property
    def request(self) -> InferenceRequest:
        """It has none."""
        raise NotImplementedError

    def forget_tensors(self) -> None:
        """It has none."""

    def reply(self) -> Reply:
        """The answer."""
        return self._reply

    def rejected(self, rejection: Rejection) -> Reply:
        """Nothing is held against a model."""
        raise NotImplementedError

    def answered(self, answer: Answer) -> Reply | None:
        """No model answers."""
        raise NotImplementedError

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """Triton describes nothing here."""
        raise NotImplementedError

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """Triton is not asked."""
        raise NotImplementedError


def _failure(text: str) -> ServerReflectionResponse:
    error = ErrorResponse(error_code=Code.INVALID_ARGUMENT.value, error_message=text)
    return ServerReflectionResponse(error_response=error)

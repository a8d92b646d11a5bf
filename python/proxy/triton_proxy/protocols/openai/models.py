"""The lists of models, as OpenAI has them: of all models that are ready, and that the caller may use."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from mm_service.status import Code
from triton_proxy.inference.query import MayUse, Query, QueryMethod
from triton_proxy.protocols.openai.reply import OpenAiWriter
from triton_proxy.protocols.rest.infer import RestMessage
from triton_proxy.protocols.rest.infer_request import Target
from triton_proxy.protocols.rest.refused import quoted
from triton_proxy.protocols.rest.reply import Reply


class ModelsProtocol:
    """Reads a request for the list, or for one model of it: its body says nothing."""

    def __init__(self, target: Target, writer: OpenAiWriter) -> None:
        """Nothing was read.

        Args:
            target: the model; its name is "" for all.
            writer: of the answer.
        """
        self._target, self._writer = target, writer

    def read(self, raw: bytes) -> RestMessage:
        """Reads the body, whatever it holds."""
        return _ModelsMessage(self._target, len(raw), self._writer)


class _ModelsMessage(RestMessage):
    def __init__(self, target: Target, size: int, writer: OpenAiWriter) -> None:
        super().__init__(target, size, writer, None)
        self._model = target.model
        self._openai = writer
        self.query = Query(
            QueryMethod.REPOSITORY_INDEX, service_pb2.RepositoryIndexRequest(ready=True).SerializeToString()
        )

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """Triton's answer, of which the caller hears no more than it may use."""
        message = service_pb2.RepositoryIndexResponse()
        try:
            message.ParseFromString(body)
        except DecodeError:
            return self._openai.failed("Triton's answer does not parse", Code.INTERNAL)
        ready = {each.name for each in message.models if each.state == "READY" and may_use(each.name, each.version)}
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "triton"}
            for name in sorted(ready)
            if self._model in {"", name}
        ]
        if not self._model:
            return self._openai.value({"object": "list", "data": listed})
        if not listed:
            text = f"no model {quoted(self._model)} is ready; /v1/models lists those that are"
            return self._openai.failed(text, Code.NOT_FOUND)
        return self._openai.value(listed[0])

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """Says why there is no answer."""
        del by_triton, final
        return self._openai.failed(text, code)

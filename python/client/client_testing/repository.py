"""The echo with a repository: it says of its models which there are, and what they take and give, as Triton does."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from client_testing.echo import EchoServer
from multimodal_contract import kserve, pb

_SERVICE = "inference.GRPCInferenceService"
# The models: `pair` echoes its inputs; `talker` says back what it hears, in pieces of four bytes, and an empty last.
PAIR, TALKER, BROKEN, NEVER = "pair", "talker", "broken", "never_loaded"
# Its inputs have names that are a language's.
SELFISH = "selfish"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
REASON = "load failed: no such file"
_Tensors = Mapping[str, tuple[str, list[int]]]
_DESCRIBED: Mapping[str, tuple[_Tensors, _Tensors]] = {
    PAIR: (
        {"x": ("INT64", [-1, 3]), "t": ("BYTES", [-1, 1]), "scale": ("FP32", [-1, 1])},
        {"x": ("INT64", [-1, 3]), "t": ("BYTES", [-1, 1])},
    ),
    SELFISH: ({"self": ("FP32", [1]), "in-put": ("FP32", [1])}, {"self": ("FP32", [1])}),
    TALKER: ({"text_input": ("BYTES", [1]), "max_tokens": ("INT32", [1])}, {"text_output": ("BYTES", [1])}),
}


class RepositoryServer(EchoServer):
    """Answers questions about models, too.

    Attributes:
        asked: the methods of unary calls, in their order.
        heard: what the talker was given.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.asked: list[str] = []
        self.heard: list[str] = []
        answers: Mapping[str, tuple[Any, Callable[[Any, grpc.ServicerContext], Any]]] = {
            "RepositoryIndex": (kserve.RepositoryIndexRequest, self._index),
            "ModelMetadata": (kserve.ModelMetadataRequest, self._metadata),
            "ModelConfig": (kserve.ModelConfigRequest, self._config),
        }
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            method: grpc.unary_unary_rpc_method_handler(
                self._noted(method, answer),
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for method, (request, answer) in answers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))

    def __enter__(self) -> RepositoryServer:
        super().__enter__()
        return self

    def SendUnary(self, request: pb.DataPacket, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802 - gRPC's name
        """Note it, and answer as ever."""
        self.asked.append("SendUnary")
        return super().SendUnary(request, context)

    def _acks(self, packet: pb.DataPacket) -> list[pb.Ack]:
        if packet.control.model != TALKER:
            return super()._acks(packet)
        named = {each.name: each.tensor for each in packet.tensors}
        said = named.get("text_input", packet.tensor).data[4:]
        self.heard.append(said.decode())
        pieces = [said[start : start + 4] for start in range(0, len(said), 4)]
        texts = [pb.Tensor(dtype=pb.DT_BYTES, shape=pb.Shape(dims=[1]), data=_element(piece)) for piece in pieces]
        acks = [self._success(packet, {"text_output": text}, final=False) for text in texts]
        return [*acks, pb.Ack(correlation_id=packet.meta.correlation_id, final=True)]

    def _noted(
        self, method: str, answer: Callable[[Any, grpc.ServicerContext], Any]
    ) -> Callable[[Any, grpc.ServicerContext], Any]:
        def noted(request: Any, context: grpc.ServicerContext) -> Any:
            self._authenticate(context)
            self.asked.append(method)
            return answer(request, context)

        return noted

    @staticmethod
    def _index(_: kserve.RepositoryIndexRequest, __: grpc.ServicerContext) -> kserve.RepositoryIndexResponse:
        index = kserve.RepositoryIndexResponse()
        index.models.add(name=TALKER, version="1", state="READY")
        index.models.add(name=PAIR, version="10", state="READY")
        index.models.add(name=PAIR, version="9", state="UNAVAILABLE", reason="unloaded")
        index.models.add(name=SELFISH, version="1", state="READY")
        index.models.add(name=BROKEN, version="1", state="UNAVAILABLE", reason=REASON)
        index.models.add(name=NEVER)
        return index

    @staticmethod
    def _metadata(request: kserve.ModelMetadataRequest, context: grpc.ServicerContext) -> kserve.ModelMetadataResponse:
        if request.name not in _DESCRIBED:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        described = kserve.ModelMetadataResponse(name=request.name, versions=["10"], platform="python")
        for tensors, given in zip((described.inputs, described.outputs), _DESCRIBED[request.name]):
            for name, (datatype, shape) in given.items():
                tensors.add(name=name, datatype=datatype, shape=shape)
        return described

    @staticmethod
    def _config(request: kserve.ModelConfigRequest, _: grpc.ServicerContext) -> kserve.ModelConfigResponse:
        answer = kserve.ModelConfigResponse()
        answer.config.name, answer.config.backend = request.name, "python"
        if request.name == TALKER:
            answer.config.model_transaction_policy.decoupled = True
            answer.config.input.add(name="max_tokens", optional=True)
            answer.config.parameters["chat_template"].string_value = TEMPLATE
        else:
            answer.config.max_batch_size = 8
            answer.config.input.add(name="scale", optional=True)
            answer.config.parameters["description"].string_value = "Echoes <both> of its inputs."
        return answer


def _element(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data

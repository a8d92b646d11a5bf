"""A gRPC server that stands for Triton where a test needs only its end of the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2

# An inference of this model ends when the test says so.
SLOW = "slow"
# And so does a description of this one.
SLOW_TO_DESCRIBE = "slow_to_describe"
# This one has no description.
UNKNOWN = "unknown"


class StandIn:
    """What the server tells a test, and is told by it.

    Attributes:
        url: where it listens.
        shown: the certificate, PEM, that the caller of each inference showed; b"" for none.
        begun: is set when a slow call has begun.
        finish: set it to let slow calls end.
        infer: makes the answer to a ModelInfer, serialized.
        infer_stream: makes the answers to each request of a ModelStreamInfer, serialized.
        metadata: what ModelMetadata answers.
        config: what ModelConfig answers.
        described: name and version of each ModelMetadata and ModelConfig that was asked for.
        server: the server itself.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None, port: int) -> None:
        self.shown: list[bytes] = []
        self.begun = threading.Event()
        self.finish = threading.Event()
        self.infer: Callable[[Any, grpc.ServicerContext], bytes] = self._infer
        self.infer_stream: Callable[[Any, grpc.ServicerContext], Iterator[bytes]] = lambda request, context: iter(())
        self.metadata = service_pb2.ModelMetadataResponse()
        self.config = model_config_pb2.ModelConfig()
        self.described: list[tuple[str, str]] = []
        self.server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        answers: dict[str, Any] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(
                lambda request, context: self.infer(request, context),
                request_deserializer=service_pb2.ModelInferRequest.FromString,
                response_serializer=None,
            ),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                self._infer_each,
                request_deserializer=service_pb2.ModelInferRequest.FromString,
                response_serializer=None,
            ),
            "ModelMetadata": grpc.unary_unary_rpc_method_handler(
                self._metadata,
                request_deserializer=service_pb2.ModelMetadataRequest.FromString,
                response_serializer=service_pb2.ModelMetadataResponse.SerializeToString,
            ),
            "ModelConfig": grpc.unary_unary_rpc_method_handler(
                self._config,
                request_deserializer=service_pb2.ModelConfigRequest.FromString,
                response_serializer=service_pb2.ModelConfigResponse.SerializeToString,
            ),
            "ServerReady": grpc.unary_unary_rpc_method_handler(
                lambda request, context: service_pb2.ServerReadyResponse(ready=True),
                request_deserializer=service_pb2.ServerReadyRequest.FromString,
                response_serializer=service_pb2.ServerReadyResponse.SerializeToString,
            ),
        }
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", answers)
        self.server.add_generic_rpc_handlers((service,))
        address = f"127.0.0.1:{port}"
        if credentials is None:
            bound = self.server.add_insecure_port(address)
        else:
            bound = self.server.add_secure_port(address, credentials)
        self.url = f"127.0.0.1:{bound}"

    def _infer(self, request: Any, context: grpc.ServicerContext) -> bytes:
        shown: Any = context.auth_context().get("x509_pem_cert", [b""])
        self.shown += shown
        if request.model_name == SLOW:
            self.begun.set()
            self.finish.wait(30)
        return bytes(
            service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1").SerializeToString()
        )

    def _infer_each(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield from self.infer_stream(request, context)

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._look_up(request, context)
        return self.metadata

    def _config(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._look_up(request, context)
        return service_pb2.ModelConfigResponse(config=self.config)

    def _look_up(self, request: Any, context: grpc.ServicerContext) -> None:
        self.described.append((request.name, request.version))
        if request.name == SLOW_TO_DESCRIBE:
            self.begun.set()
            self.finish.wait(30)
        if request.name == UNKNOWN:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{UNKNOWN}' is not found")


@contextmanager
def triton_stand_in(credentials: grpc.ServerCredentials | None = None, port: int = 0) -> Iterator[StandIn]:
    """A stand-in that serves; plaintext without credentials."""
    stand_in = StandIn(credentials, port)
    stand_in.server.start()
    try:
        yield stand_in
    finally:
        stand_in.finish.set()
        stand_in.server.stop(None).wait()

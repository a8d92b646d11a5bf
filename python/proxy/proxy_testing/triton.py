"""A gRPC server that stands for Triton where a test needs only its end of the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

# An inference of this model ends when the test says so.
SLOW = "slow"


class StandIn:
    """What the server tells a test, and is told by it.

    Attributes:
        url: where it listens.
        shown: the certificate, PEM, that the caller of each inference showed; b"" for none.
        begun: is set when a slow inference has begun.
        finish: set it to let slow inferences end.
        server: the server itself.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None, port: int) -> None:
        self.shown: list[bytes] = []
        self.begun = threading.Event()
        self.finish = threading.Event()
        self.server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        answers: dict[str, Any] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(
                self._infer,
                request_deserializer=service_pb2.ModelInferRequest.FromString,
                response_serializer=service_pb2.ModelInferResponse.SerializeToString,
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

    def _infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        shown: Any = context.auth_context().get("x509_pem_cert", [b""])
        self.shown += shown
        if request.model_name == SLOW:
            self.begun.set()
            self.finish.wait(30)
        return service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")


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

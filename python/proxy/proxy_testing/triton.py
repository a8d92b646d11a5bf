"""A gRPC server that stands for Triton where a test needs only its end of the wire, and the real client of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2

from triton_proxy.inference.request import TimeLimit
from triton_proxy.triton.client import Triton
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.inference import Inference

# An inference of this model ends when the test says so.
SLOW = "slow"
# And so does a description of this one.
SLOW_TO_DESCRIBE = "slow_to_describe"
# This one has no description.
UNKNOWN = "unknown"
TIMEOUT = 30
LIMIT = TimeLimit(TIMEOUT, "a test")
LARGEST = 1024 * 1024


class StandIn:
    """What the server reports to a test, and what the test has it do.

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
        ready: what ServerReady answers.
        statistics: what ModelStatistics answers.
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
        self.ready = True
        self.statistics = service_pb2.ModelStatisticsResponse()
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
            "ModelStatistics": grpc.unary_unary_rpc_method_handler(
                lambda request, context: self.statistics,
                request_deserializer=service_pb2.ModelStatisticsRequest.FromString,
                response_serializer=service_pb2.ModelStatisticsResponse.SerializeToString,
            ),
            "ServerReady": grpc.unary_unary_rpc_method_handler(
                lambda request, context: service_pb2.ServerReadyResponse(ready=self.ready),
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


@contextmanager
def connected() -> Iterator[tuple[StandIn, Triton]]:
    """A stand-in and a client of it; answers may have LARGEST bytes."""
    with triton_stand_in() as stand_in:
        triton = Triton(TritonConnection(stand_in.url, max_message_bytes=LARGEST))
        try:
            yield stand_in, triton
        finally:
            triton.close()


def begin(triton: Triton, *, decoupled: bool, limit: TimeLimit = LIMIT, model_version: str = "") -> Inference:
    """An inference that has no inputs."""
    return triton.infer("m", model_version, [], cid="c", limit=limit, decoupled=decoupled, serving=model_version)


def response(*contents: bytes, version: str = "3", names: Sequence[str] = "yz", final: bool | None = None) -> Any:
    """A ModelInferResponse.

    Args:
        contents: of its outputs, as UINT8.
        version: the version that served.
        names: of its outputs.
        final: what it says of being the last; None for nothing.
    """
    made = service_pb2.ModelInferResponse(model_name="m", model_version=version, raw_output_contents=contents)
    for name, content in zip(names, contents, strict=False):
        made.outputs.add(name=name, datatype="UINT8", shape=[len(content)])
    if final is not None:
        made.parameters["triton_final_response"].bool_param = final
    return made


def streamed(*contents: bytes, error: str = "", final: bool | None, version: str = "3") -> bytes:
    """A ModelStreamInferResponse, serialized; the arguments are those of `response`.

    Args:
        contents: see there.
        error: the model's words where this is an error.
        final: see there.
        version: see there.
    """
    made = response(*contents, version=version, final=final)
    message = service_pb2.ModelStreamInferResponse(error_message=error, infer_response=made)
    return bytes(message.SerializeToString())

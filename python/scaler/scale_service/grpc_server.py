"""gRPC, on grpcio: every method, also one that does not exist, finds out first who is calling."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from mm_service import tls
from mm_service.status import Code, Status
from scale_service import grpc_methods
from scale_service._gen import scaling_pb2 as pb
from scale_service.answers import described
from scale_service.authentication import Authentication, KnownCaller
from scale_service.errors import OperationError
from scale_service.operations import Operations

_LOG = logging.getLogger(__name__)
_LARGEST_MESSAGE = 64 * 1024
# A token is 16 KiB at most, and grpc counts 32 bytes more for each entry.
_LARGEST_METADATA = 24 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.max_metadata_size", _LARGEST_METADATA),
    ("grpc.absolute_max_metadata_size", _LARGEST_METADATA),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.http2.max_concurrent_streams", 64),
    ("grpc.so_reuseport", 0),
]


class GrpcServer(grpc.GenericRpcHandler):
    """Serves gRPC until it is closed.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        address: str,
        operations: Operations,
        authentication: Authentication,
        certificates: tls.Certificates | None,
        *,
        max_requests: int,
        progress_every_secs: float,
        answered: Callable[[str, str, Code], None] = lambda transport, method, code: None,
    ) -> None:
        """Binds the port; serves nothing yet.

        Args:
            address: where to listen, HOST:PORT.
            operations: do what is asked for.
            authentication: finds out who asks.
            certificates: the listener's, of its own; None for plaintext.
            max_requests: calls that have a thread; as many wait for one. Half of them may follow rollouts.
            progress_every_secs: how often a rollout is looked at.
            answered: hears of each call: grpc, its method, and the status.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._operations, self._authentication = operations, authentication
        self._streams = threading.BoundedSemaphore(max(max_requests // 2, 1))
        self._every_secs = progress_every_secs
        self._answered = answered
        self._draining = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(max_requests, thread_name_prefix="grpc"),
            handlers=[self],
            options=_OPTIONS,
            maximum_concurrent_rpcs=2 * max_requests,
        )
        try:
            if certificates is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, _credentials(certificates))
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise RuntimeError(
                f"GRPC_LISTEN_ADDR {address} can't be bound; expected a free port of this machine; give another"
            )

    def start(self) -> None:
        """Begins to serve."""
        self._server.start()

    def drain(self, longest_secs: float) -> None:
        """Takes no new call, ends streams, and waits for the calls under way.

        Args:
            longest_secs: how long to wait for these.
        """
        self._draining.set()
        self._server.stop(longest_secs).wait(longest_secs + 1)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a call, also of one to a method that there is not: its caller is asked for first."""
        method = str(handler_call_details.method)
        if method == grpc_methods.WATCH_PROGRESS:
            return grpc.unary_stream_rpc_method_handler(self._watch, response_serializer=_serialized)
        service, _, name = method.removeprefix("/").partition("/")
        known = service == grpc_methods.SERVICE and name in grpc_methods.METHODS
        return grpc.unary_unary_rpc_method_handler(self._unary(name if known else ""), response_serializer=_serialized)

    def _unary(self, name: str) -> Callable[[bytes, grpc.ServicerContext], Message]:
        def answer(raw: bytes, context: grpc.ServicerContext) -> Message:
            code = Code.INTERNAL
            try:
                caller = self._caller(context).confirm()
                if not name:
                    raise OperationError(Status(Code.UNIMPLEMENTED, "there is no such method; see proto/scaling.proto"))
                request = _parsed(raw, grpc_methods.METHODS[name][1])
                made = grpc_methods.call(name, self._operations, caller, request)
                code = Code.OK
                return made
            except OperationError as error:
                code = error.status.code
                _abort(context, error.status)
            finally:
                self._answered("grpc", name or "unknown", code)

        return answer

    def _watch(self, raw: bytes, context: grpc.ServicerContext) -> Iterator[pb.WatchProgressResponse]:
        code = Code.CANCELLED
        try:
            yield from self._followed(raw, context)
            code = Code.OK
        except OperationError as error:
            code = error.status.code
            _abort(context, error.status)
        finally:
            self._answered("grpc", grpc_methods.WATCH_PROGRESS.rpartition("/")[2], code)

    def _followed(self, raw: bytes, context: grpc.ServicerContext) -> Iterator[pb.WatchProgressResponse]:
        known = self._caller(context)
        what = _parsed(raw, pb.WatchProgressRequest).deployment
        progress = self._operations.progress(known.confirm(), what)
        if not self._streams.acquire(blocking=False):
            raise OperationError(Status(Code.RESOURCE_EXHAUSTED, "too many rollouts are followed already; try again"))
        try:
            last = None
            while context.is_active() and not progress.finished:
                known.confirm()
                found = progress.look()
                if found != last or progress.finished:
                    status = grpc_methods.message(described(what, found), pb.DeploymentStatus)
                    yield pb.WatchProgressResponse(status=status, done=progress.finished)
                    last = found
                if self._draining.wait(0 if progress.finished else self._every_secs):
                    raise OperationError(Status(Code.UNAVAILABLE, "the service is being replaced; ask again"))
        finally:
            self._streams.release()

    def _caller(self, context: grpc.ServicerContext) -> KnownCaller:
        return self._authentication.caller(context.invocation_metadata(), context.peer(), noun="metadata entry")


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _parsed(raw: bytes, kind: type[Any]) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise OperationError(
            Status(Code.INVALID_ARGUMENT, f"the message is no {kind.__name__}; see proto/scaling.proto")
        ) from None


def _abort(context: grpc.ServicerContext, status: Status) -> NoReturn:
    context.abort(grpc.StatusCode[status.code.name], status.text)
    raise AssertionError("unreachable: abort raises")


def _credentials(certificates: tls.Certificates) -> grpc.ServerCredentials:
    def configuration(pem: tls.Pem) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authorities or None)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        pem = certificates.renewed()
        return None if pem is None else configuration(pem)

    return grpc.dynamic_ssl_server_credentials(
        configuration(certificates.current),
        renewed,  # type: ignore[arg-type]  # grpc's text allows None, for no change
        require_client_authentication=certificates.mutual,
    )

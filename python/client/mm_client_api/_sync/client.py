"""The blocking client."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import grpc

from mm_client_api._core import questions
from mm_client_api._core.batches import Batches
from mm_client_api._core.endpoint import Endpoint, deadline_of
from mm_client_api._core.fork import Origin, check_process, note_call, renewed_after_fork
from mm_client_api._core.memory import keep_freed_once
from mm_client_api._core.outstanding import Outstanding, Packet, packet_of
from mm_client_api._core.questions import Question
from mm_client_api._core.retry import LONGEST_START_SECS, RetryPolicy, deadline_in
from mm_client_api._core.stream_options import StreamOptions
from mm_client_api._core.trace import trace_headers
from mm_client_api._sync.connections import Connections
from mm_client_api._sync.model import Model
from mm_client_api._sync.packet_queue import PacketQueue, PullingPacketQueue
from mm_client_api._sync.parallel_streams import ParallelStreams
from mm_client_api._sync.resumable_stream import ChatMethod, ResumableStream, status_of
from mm_client_api.credentials import Credentials
from mm_client_api.descriptions import ModelDescription, ModelIndex
from mm_client_api.errors import CallError, TritonStarting
from mm_client_api.request import DEFAULT_TIMEOUT_SECS, CorrelationIds, InferenceRequest
from mm_client_api.result import InferenceResult, read_answer
from mm_client_api.tensors import Pieces, Tensor, Value
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

UnaryMethod: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
_T = TypeVar("_T")


class TritonClient:
    """A connection to the proxy; threads may share it. Use it as a context manager, or call `close`.

    Args:
        addr: HOST:PORT of the proxy, or one of gRPC's targets `dns:`, `ipv4:`, `ipv6:`, `unix:`, `unix-abstract:`.
        credentials: the caller's identity; None looks in Domino's usual places (`EnvironmentCredentials`).
        tls: True encrypts and checks the proxy's certificate against the public authorities.
        ca_bundle: PEM file of the authorities to check it against instead; implies TLS.
        max_message_mb: largest message either way in MiB; None takes MAX_MESSAGE_MB from the environment, or 64.
        enable_http_proxy: True connects through the web proxy that the environment names (`http_proxy`, `no_proxy`);
            None takes MM_ENABLE_HTTP_PROXY from the environment, or False.

    Raises:
        ConfigurationError: an argument or setting cannot be used; as `CredentialsError` where no credentials are found.
    """

    def __init__(
        self,
        addr: str,
        *,
        credentials: Credentials | None = None,
        tls: bool = False,
        ca_bundle: str | os.PathLike[str] | None = None,
        max_message_mb: int | None = None,
        enable_http_proxy: bool | None = None,
    ) -> None:
        keep_freed_once(os.environ)
        self._endpoint = Endpoint.resolve(
            addr,
            credentials=credentials,
            tls=tls,
            ca_bundle=ca_bundle,
            max_message_mb=max_message_mb,
            enable_http_proxy=enable_http_proxy,
        )
        self._ids = CorrelationIds()
        self._connections = Connections(self._endpoint)
        self._send_unary: UnaryMethod | None = self._opened()
        # Of each stream under way what ends its waits.
        self._streams: set[threading.Event] = set()
        # Something for each unary call under way.
        self._unary: set[object] = set()
        renewed_after_fork(self)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Value | Tensor | Pieces],
        *,
        outputs: Sequence[str],
        model_version: str = "",
        timeout_secs: float = DEFAULT_TIMEOUT_SECS,
    ) -> InferenceResult:
        """Run one inference and wait for it. The arguments are those of `InferenceRequest`.

        Where the proxy refuses the credentials and they can be renewed, it is sent once more.

        Raises:
            AckError: the proxy or Triton refused; the subclass says which kind.
            CallError: the call failed; the subclass says how.
            ProtocolError: the answer cannot be read.
        """
        request = InferenceRequest(model, inputs, outputs, model_version, timeout_secs)
        packet = packet_of(request, self._endpoint, self._ids)
        raw = self._call(
            self._send_unary or self._opened(), packet.data, deadline_of(timeout_secs), packet.correlation_id
        )
        return read_answer(raw).raise_for_status()

    def models(self) -> ModelIndex:
        """Return each version of each model that the caller may use, by name, with its state and Triton's reason.

        Raises:
            CallError: the call failed; the subclass says how.
        """
        return self._ask(questions.index())

    def describe(self, model: str, model_version: str = "") -> ModelDescription:
        """Return what a model that is ready takes and gives.

        Args:
            model: its name.
            model_version: such as "1"; empty takes the highest that is served.

        Raises:
            CallError: the call failed; the subclass says how.
        """
        described = self._ask(questions.metadata(model, model_version))
        configured = self._ask(questions.config(model, model_version))
        return questions.description_of(described, configured, model_version)

    def model(
        self,
        name: str,
        version: str = "",
        *,
        outputs: Sequence[str] | None = None,
        timeout_secs: float = DEFAULT_TIMEOUT_SECS,
    ) -> Model:
        """Return a model as an object that is called with its inputs and gives arrays by name.

        Args:
            name: its name in Triton's repository.
            version: such as "1"; empty takes the highest that is served.
            outputs: names of the wanted outputs; None for all.
            timeout_secs: longest time that Triton may take for one of its requests.

        Where no Triton is running and the proxy has one started, this waits for it, for half an hour at most.

        Raises:
            ModelNotFound: there is none that the caller may use; the text names what comes near.
            ModelNotReady: Triton does not serve it; the text has Triton's reason.
            CallError: a call failed; the subclass says how.
        """
        questions.check_ready(self._index(name, version), name, version)
        return Model(self, self.describe(name, version), outputs, timeout_secs)

    def _index(self, name: str, version: str) -> ModelIndex:
        """The models, once there is a Triton."""
        try:
            return self.models()
        except TritonStarting:
            try:
                self._ask(questions.config(name, version), LONGEST_START_SECS)
            except CallError as error:
                # The index says it better.
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            return self.models()

    def _ask(self, question: Question[_T], longest_secs: float = questions.QUESTION_SECS) -> _T:
        ask: UnaryMethod = self._connections.get(0).unary_unary(question.method)
        return question.read(self._call(ask, question.request, longest_secs, wakes=question.wakes))

    def _call(
        self,
        method: UnaryMethod,
        data: bytes,
        deadline_secs: float | None,
        correlation_id: str = "",
        *,
        wakes: bool = True,
    ) -> bytes:
        """Make a unary call; once more where the credentials can be renewed, and while it has Triton started."""
        retry = RetryPolicy(self._endpoint.credentials, deadline_in(deadline_secs), trace=trace_headers())
        note_call()
        while True:
            metadata = retry.metadata()
            under_way = object()
            self._unary.add(under_way)
            try:
                return method(data, timeout=retry.timeout, metadata=metadata)
            except grpc.RpcError as error:
                status = status_of(error)
            finally:
                self._unary.discard(under_way)
            if status.code is not grpc.StatusCode.UNAUTHENTICATED and not (wakes and status.starting):
                raise status.error(correlation_id)
            time.sleep(retry.wait_secs(status, correlation_id))

    def stream(
        self,
        requests: Iterable[InferenceRequest],
        *,
        window: int = 8,
        ordered: bool = True,
        connections: int = 1,
        batch_size: int = 1,
        deadline_secs: float | None = None,
    ) -> Generator[InferenceResult, None, None]:
        """Send many requests over one stream and yield their results in the requests' order.

        The next request is taken only when fewer than `window` are without an answer that the caller has taken, so an
        endless generator is fine and a slow reader slows the sender down. A request that the proxy or Triton refuses
        is a result with `error`; the stream goes on. Leaving the loop early and closing the generator cancels the
        stream; closing happens by itself when it is garbage-collected. `requests` is iterated in another thread, which
        may be within its last step a little longer: let the generator itself release what it reads from.

        A proxy that ends the stream and says that it did not accept the packets it left unanswered gets them again, in
        a new call: with renewed credentials after UNAUTHENTICATED; after a wait where it restarts or cannot reach
        Domino (UNAVAILABLE), or where a limit of the caller is exceeded (RESOURCE_EXHAUSTED with a hint how long).
        Between two answers all waits together are at most a minute. After a lost connection it is unknown which
        packets were inferred: nothing is sent twice, and the error is raised.

        With several connections each carries a stream of its own, with a window of its own. The second is opened when
        a request is ready while the first one's window is full, and so on. Requests in flight and results that wait
        for their turn or for the caller are together at most `window * connections`. The proxy counts each connection
        as a stream of the caller. A connection stays open for later streams of this client.

        Args:
            requests: any iterable; what it raises is raised here, after the results of the requests before.
            window: most requests in flight on a connection.
            ordered: False yields results as they come. Within a connection the proxy keeps the requests' order, so it
                matters for several connections only.
            connections: most connections.
            batch_size: most requests that are stacked into one along their first dimension, which must be 1. Those
                that follow each other and are alike travel together; each has its own result, with its own rows. The
                window counts what they are stacked into. The model must take batches, keep the batch dimension in all
                outputs, and answer once; otherwise each of them has an error that says so.
            deadline_secs: longest time for the stream; None is no limit.

        Raises:
            CallError: the stream broke; the subclass says how. Of several connections one did; where results are in
                order, those of the requests before come first.
            InvalidRequest: a request cannot be encoded.
            ProtocolError: answers are missing, out of order or unreadable.
        """
        options = StreamOptions(window, connections, ordered, batch_size, deadline_in(deadline_secs))
        return self._stream(requests, options) if batch_size == 1 else self._batched(requests, options)

    def _batched(
        self, requests: Iterable[InferenceRequest], options: StreamOptions
    ) -> Generator[InferenceResult, None, None]:
        batches = Batches(options, self._ids)
        with closing(self._stream(batches.stacked(requests), options)) as results:
            for result in results:
                yield from batches.taken_apart(result)

    def _stream(
        self, requests: Iterable[InferenceRequest], options: StreamOptions
    ) -> Generator[InferenceResult, None, None]:
        stopped, origin = threading.Event(), Origin()
        self._streams.add(stopped)
        note_call()

        def packet(request: InferenceRequest) -> Packet:
            options.check(request)
            return packet_of(request, self._endpoint, self._ids)

        def open_stream(number: int, packets: PacketQueue) -> ResumableStream:
            chat: ChatMethod = self._connections.get(number).stream_stream(CHAT_METHOD)
            retry = RetryPolicy(self._endpoint.credentials, options.deadline, trace=options.trace)
            return ResumableStream(chat, packets, retry, stopped)

        try:
            results = (
                open_stream(0, PullingPacketQueue(requests, packet, Outstanding(options.window))).results()
                if options.connections == 1
                else ParallelStreams(packet, open_stream, options, stopped).results(requests)
            )
            with closing(results):
                for result in results:
                    yield result
                    del result  # Its megabytes would stay while the next one is waited for.
                    if not origin.here:
                        check_process()
        finally:
            self._streams.discard(stopped)

    def after_fork(self) -> bool:
        """See `fork.Inherited`: a forked process opens connections of its own, and makes ids of its own."""
        under_way = bool(self._streams or self._unary)
        self._streams, self._unary = set(), set()
        self._ids = CorrelationIds()
        self._send_unary = None
        self._connections.after_fork()
        return under_way

    def _opened(self) -> UnaryMethod:
        # Without (de)serializers: packets are bytes already, and answers are parsed without copying their outputs.
        self._send_unary = self._connections.get(0).unary_unary(SEND_UNARY_METHOD)
        return self._send_unary

    def close(self) -> None:
        """Close the connections; calls that are under way are cancelled."""
        for stopped in tuple(self._streams):
            stopped.set()
        self._connections.close()

    def __enter__(self) -> TritonClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

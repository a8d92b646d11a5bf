"""The connection to Triton, which is replaced under way when its certificates are renewed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2

from mm_service.supervisor import Workers
from mm_service.tls import Certificates, Pem
from mm_service.watched_file import WatchedFileStatistics
from multimodal_contract import FRAME_BYTES
from multimodal_contract.wire import Buffer
from triton_proxy.http2.limits import Counters
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.inference.query import QueryMethod
from triton_proxy.triton.direct.calls import Calls, CallsStatistics, UnaryCall
from triton_proxy.triton.engine_calls import EngineCalls, works_here
from triton_proxy.triton.leavable_stream import LeavableStream, StreamCall
from triton_proxy.triton.patience import PatientCall

_LOG = logging.getLogger(__name__)
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_INFER_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
_METADATA = "/inference.GRPCInferenceService/ModelMetadata"
_CONFIG = "/inference.GRPCInferenceService/ModelConfig"
_READY = "/inference.GRPCInferenceService/ServerReady"
_QUERY = "/inference.GRPCInferenceService/{}"
# Kubernetes itself takes about a minute to bring a changed Secret into a pod.
_CHECK_SECS = 10.0
# A caller may allow its inference any time; a connection whose certificate was replaced may not live on for ever.
_LONGEST_GOODBYE_SECS = 3600.0
# A little more than the time between two questions whether Triton is ready, each of which begins another.
_HELD_SECS = 3.0
_MOST_CALLS = 512
_DRAINS = 4
# From here on what copies nothing pays; many small ones are better off with the one loop, or grpc thread, of all.
LARGE_BYTES = 256 * 1024
_ANSWER_WINDOW_BYTES = 8 * 1024 * 1024


class _Channel:
    """One channel, its methods, and how many calls are under way on it.

    Attributes:
        small: makes the inferences of small requests on the HTTP/2 engine; None where grpc's channel does.
        calls: calls under way, on the engine and on grpc's channel.
    """

    def __init__(self, channel: grpc.Channel, small: EngineCalls | None) -> None:
        self.small = small
        self.infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            _INFER, request_serializer=None, response_deserializer=None
        )
        # On the wire a stream of requests that ends after the first: no thread has to feed it.
        self.infer_stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            _INFER_STREAM, request_serializer=None, response_deserializer=None
        )
        self.metadata: grpc.UnaryUnaryMultiCallable[
            service_pb2.ModelMetadataRequest, service_pb2.ModelMetadataResponse
        ] = channel.unary_unary(
            _METADATA,
            request_serializer=service_pb2.ModelMetadataRequest.SerializeToString,
            response_deserializer=service_pb2.ModelMetadataResponse.FromString,
        )
        self.config: grpc.UnaryUnaryMultiCallable[service_pb2.ModelConfigRequest, service_pb2.ModelConfigResponse] = (
            channel.unary_unary(
                _CONFIG,
                request_serializer=service_pb2.ModelConfigRequest.SerializeToString,
                response_deserializer=service_pb2.ModelConfigResponse.FromString,
            )
        )
        self.ready: grpc.UnaryUnaryMultiCallable[service_pb2.ServerReadyRequest, service_pb2.ServerReadyResponse] = (
            channel.unary_unary(
                _READY,
                request_serializer=service_pb2.ServerReadyRequest.SerializeToString,
                response_deserializer=service_pb2.ServerReadyResponse.FromString,
            )
        )
        self.ask: dict[QueryMethod, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {
            method: channel.unary_unary(
                _QUERY.format(method.value), request_serializer=None, response_deserializer=None
            )
            for method in QueryMethod
        }
        self._idle: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            _INFER_STREAM, request_serializer=None, response_deserializer=None
        )
        self._held: StreamCall | None = None
        self._channel = channel
        self.calls = 0

    def close(self) -> None:
        """Ends whatever is under way on it."""
        if self.small is not None:
            self.small.close()
        self._channel.close()

    def hold(self) -> None:
        """Keeps a call open for a moment on which nothing is sent.

        grpc starts a thread when a channel's first call begins and lets it go with the last. To do so for request after
        request costs a third of a small one's time. It is for a moment only, since a Triton that stops waits for it.
        """
        over = threading.Event()
        # Let go of, a call is cancelled: the one before is no longer needed, but this one is.
        self._held = self._idle(_nothing_until(over), timeout=_HELD_SECS)
        if not self._held.add_callback(over.set):
            over.set()


def _nothing_until(over: threading.Event) -> Iterator[bytes]:
    over.wait()
    yield from ()


@dataclass(frozen=True)
class _Replaced:
    channel: _Channel
    closes_at: float


def _credentials(pem: Pem) -> grpc.ChannelCredentials:
    """A channel's credentials; they stay what they are, so that renewed files need a new channel."""
    return grpc.ssl_channel_credentials(
        root_certificates=pem.authorities,
        private_key=pem.key or None,
        certificate_chain=pem.certificate or None,
    )


@dataclass(frozen=True)
class TritonStatistics:
    """What is asked of Triton.

    Attributes:
        calls: calls under way on grpc's channel, and on those that were replaced.
        replaced: channels that were replaced, and are open still for their calls.
        small: the engine's connections for inferences of small requests; None where grpc's channel has them, too.
        large: inferences of large requests; None as above.
        certificates: what became of the changes of their files; None for plaintext.
    """

    calls: int
    replaced: int
    small: Counters | None
    large: CallsStatistics | None
    certificates: WatchedFileStatistics | None


class TritonConnection:
    """A connection to one Triton, shared by all calls."""

    def __init__(
        self,
        url: str,
        *,
        max_message_bytes: int,
        most_calls: int = _MOST_CALLS,
        certificates: Certificates | None = None,
        server_name: str = "",
        check_secs: float = _CHECK_SECS,
        loop: LoopThread | None = None,
        cancel_delay_secs: float = 0.0,
    ) -> None:
        """Connects in the background; a Triton that is away is found again within seconds.

        Args:
            url: `HOST:PORT` of its gRPC endpoint.
            max_message_bytes: largest answer.
            most_calls: inferences of large requests at once; further ones wait.
            certificates: for TLS; None is plaintext.
            server_name: the name that Triton's certificate must have; "" for the host of `url`.
            check_secs: how often to look whether the certificates' files have changed.
            loop: for the HTTP/2 engine, which then makes the inferences of small requests; None leaves them to grpc.
            cancel_delay_secs: for how long at the longest Triton is not told of an inference that nobody waits for.
        """
        self._url = url
        self._loop = loop if loop is not None and works_here() else None
        self._cancel_delay_secs = cancel_delay_secs
        self._own_clock = LoopThread("triton-clock") if cancel_delay_secs and loop is None else None
        self._clock = loop or self._own_clock
        # In which answers are read that nobody waits for; where more streams are left than that, they wait their turn.
        self._drains = Workers(_DRAINS, "triton-left", setting="MAX_CALLS") if cancel_delay_secs else None
        self._max_message_bytes = max_message_bytes
        self._server_name = server_name
        self._certificates = certificates
        self._options: list[tuple[str, int | str]] = [
            ("grpc.max_send_message_length", -1),  # The caller's message was held to the limit already.
            ("grpc.max_receive_message_length", max_message_bytes),
            # Answers come in at once, whatever else is under way; they count in the common budget.
            ("grpc.http2.lookahead_bytes", _ANSWER_WINDOW_BYTES),
            ("grpc.http2.max_frame_size", FRAME_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if server_name:
            self._options.append(("grpc.ssl_target_name_override", server_name))
        # Over TLS every byte would be copied anyway: docs/adr/0014.
        self._calls = (
            Calls(url, _INFER, max_message_bytes=max_message_bytes, most=most_calls) if certificates is None else None
        )
        self._lock = threading.Lock()
        self._replaced: list[_Replaced] = []
        self._closed = threading.Event()
        self._channel = self._connect(None if certificates is None else certificates.current)
        if certificates is not None:
            threading.Thread(
                target=self._watch, args=(certificates, check_secs), name="triton-certificates", daemon=True
            ).start()

    def close(self) -> None:
        """Ends the connection and whatever is under way on it."""
        with self._lock:
            self._closed.set()
            channels = [self._channel, *(replaced.channel for replaced in self._replaced)]
        for channel in channels:
            channel.close()
        if self._calls is not None:
            self._calls.close()
        if self._drains is not None:
            self._drains.shutdown(wait=False, cancel_futures=True)
        if self._own_clock is not None:
            self._own_clock.close()

    def statistics(self) -> TritonStatistics:
        """What there is at this moment."""
        with self._lock:
            replaced = [each.channel for each in self._replaced]
            calls = sum(channel.calls for channel in [self._channel, *replaced])
        return TritonStatistics(
            calls,
            len(replaced),
            self._channel.small.statistics() if self._channel.small else None,
            self._calls.statistics() if self._calls else None,
            self._certificates.statistics() if self._certificates else None,
        )

    def infer(self, request: Sequence[Buffer], *, timeout_secs: float, pinned: bool = False) -> UnaryCall:
        """Begins one inference.

        Args:
            request: a serialized ModelInferRequest, in parts.
            timeout_secs: its deadline.
            pinned: whether it has to reach the Triton that those before it reached, where there are several.

        Returns:
            The call for a serialized ModelInferResponse.
        """

        def begin(secs: float) -> UnaryCall:
            return self._begin_inference(request, timeout_secs=secs, pinned=pinned)

        if self._clock is None or not self._cancel_delay_secs:
            return begin(timeout_secs)
        return PatientCall(self._clock, begin, timeout_secs=timeout_secs, delay_secs=self._cancel_delay_secs)

    def _begin_inference(self, request: Sequence[Buffer], *, timeout_secs: float, pinned: bool) -> UnaryCall:
        large = sum(map(len, request)) >= LARGE_BYTES
        if self._calls is not None and large and not pinned:
            return self._calls.begin(request, timeout_secs=timeout_secs)

        def begin(channel: _Channel) -> UnaryCall:
            if channel.small is not None and not large and not pinned:
                return channel.small.begin(request, timeout_secs=timeout_secs)
            return channel.infer.future(b"".join(request), timeout=timeout_secs)

        return self._counted(begin)

    def ask(self, method: QueryMethod, request: bytes, *, timeout_secs: float) -> UnaryCall:
        """Begins to ask a question: the call for a serialized answer.

        Args:
            method: what is asked.
            request: the method's serialized message.
            timeout_secs: its deadline.
        """
        return self._counted(lambda channel: channel.ask[method].future(request, timeout=timeout_secs))

    def _counted(self, begin: Callable[[_Channel], UnaryCall]) -> UnaryCall:
        channel = self._begin()
        try:
            call = begin(channel)
        except BaseException:
            self._end(channel)
            raise
        call.add_done_callback(lambda _: self._end(channel))
        return call

    def infer_stream(self, request: bytes, *, timeout_secs: float) -> StreamCall:
        """Begins one inference: a serialized ModelInferRequest for any number of ModelStreamInferResponses."""
        call = self._begin_stream(request, timeout_secs=timeout_secs)
        if self._clock is None or self._drains is None:
            return call
        return LeavableStream(call, self._clock, self._drains, delay_secs=self._cancel_delay_secs)

    def _begin_stream(self, request: bytes, *, timeout_secs: float) -> StreamCall:
        channel = self._begin()
        try:
            call = channel.infer_stream(request, timeout=timeout_secs)
        except BaseException:
            self._end(channel)
            raise
        if not call.add_callback(lambda: self._end(channel)):
            self._end(channel)
        return call

    def describe(
        self, model: str, model_version: str, *, timeout_secs: float
    ) -> tuple[service_pb2.ModelMetadataResponse, service_pb2.ModelConfigResponse]:
        """Asks what a model takes and gives: both at once, so that it is one round trip.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
            timeout_secs: longest time to wait.

        Raises:
            grpc.RpcError: Triton did not answer, or does not serve that version of that model.
        """
        channel = self._begin()
        try:
            metadata = channel.metadata.future(
                service_pb2.ModelMetadataRequest(name=model, version=model_version), timeout=timeout_secs
            )
            try:
                config = channel.config(
                    service_pb2.ModelConfigRequest(name=model, version=model_version), timeout=timeout_secs
                )
                return metadata.result(), config
            finally:
                metadata.cancel()
        finally:
            self._end(channel)

    def ready(self, *, timeout_secs: float) -> bool:
        """Whether Triton says it is ready; False where it says nothing. Being asked keeps `infer` quick."""
        channel = self._begin()
        try:
            ready = bool(channel.ready(service_pb2.ServerReadyRequest(), timeout=timeout_secs).ready)
            if ready:
                channel.hold()
            return ready
        # A channel that is closed raises a ValueError, one for which there is no thread a RuntimeError.
        except (grpc.RpcError, ValueError, RuntimeError):
            if self._calls is not None:
                self._calls.forget()
            return False
        finally:
            self._end(channel)

    def _begin(self) -> _Channel:
        with self._lock:
            self._channel.calls += 1
            return self._channel

    def _end(self, channel: _Channel) -> None:
        with self._lock:
            channel.calls -= 1

    def _connect(self, pem: Pem | None) -> _Channel:
        small = None
        if self._loop is not None:
            small = EngineCalls(
                self._loop,
                self._url,
                _INFER,
                max_message_bytes=self._max_message_bytes,
                pem=pem,
                server_name=self._server_name,
            )
        if pem is None:
            return _Channel(grpc.insecure_channel(self._url, self._options), small)
        return _Channel(grpc.secure_channel(self._url, _credentials(pem), self._options), small)

    def _watch(self, certificates: Certificates, check_secs: float) -> None:
        while not self._closed.wait(check_secs):
            pem = certificates.renewed()
            if pem is not None:
                self._replace(self._connect(pem))
            self._close_replaced()

    def _replace(self, channel: _Channel) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._replaced.append(_Replaced(self._channel, time.monotonic() + _LONGEST_GOODBYE_SECS))
                self._channel = channel
                return
        channel.close()

    def _close_replaced(self) -> None:
        now = time.monotonic()
        with self._lock:
            ended = [replaced for replaced in self._replaced if not replaced.channel.calls or replaced.closes_at < now]
            self._replaced = [replaced for replaced in self._replaced if replaced not in ended]
        for replaced in ended:
            replaced.channel.close()
            _LOG.info("Triton: the connection with the certificates of before is closed")

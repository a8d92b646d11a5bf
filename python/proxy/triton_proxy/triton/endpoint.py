"""One Triton at one address: what is asked of it, by which way, and the channel that renewed certificates replace."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tritonclient.grpc import service_pb2

from mm_service.tls import Pem
from multimodal_contract.wire import Buffer
from triton_proxy.http2.limits import Counters
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.inference.query import QueryMethod
from triton_proxy.inference.request import Headers
from triton_proxy.triton.channel import INFER, Channel, ChannelOptions, StreamCall, connect
from triton_proxy.triton.direct.calls import Calls, CallsStatistics, UnaryCall
from triton_proxy.triton.engine_calls import EngineCalls
from triton_proxy.triton.readiness import Question, Readiness

_LOG = logging.getLogger(__name__)
# A caller may allow its inference any time; a connection whose certificate was replaced may not live on for ever.
_LONGEST_GOODBYE_SECS = 3600.0
# From here on what copies nothing pays; many small ones are better off with the one loop, or grpc thread, of all.
LARGE_BYTES = 256 * 1024


@dataclass(frozen=True)
class EndpointOptions:
    """What all Tritons' endpoints have in common.

    Attributes:
        channel: of their channels.
        most_calls: inferences of large requests at one of them at once; further ones wait.
        loop: for the HTTP/2 engine, which then makes the inferences of small requests; None leaves them to grpc.
        tls: whether they are asked over TLS.
    """

    channel: ChannelOptions
    most_calls: int
    loop: LoopThread | None
    tls: bool


@dataclass(frozen=True)
class _Replaced:
    channel: Channel
    closes_at: float


@dataclass(frozen=True)
class EndpointStatistics:
    """What is asked of one Triton.

    Attributes:
        calls: calls under way on grpc's channel and the engine, and on channels that were replaced.
        replaced: channels that were replaced, and are open still for their calls.
        small: the engine's connections for inferences of small requests; None where grpc's channel has them, too.
        large: inferences of large requests; None as above.
    """

    calls: int
    replaced: int
    small: Counters | None
    large: CallsStatistics | None


class Endpoint:
    """One Triton."""

    def __init__(self, address: str, options: EndpointOptions, pem: Pem | None) -> None:
        """Connects in the background; a Triton that is away is found again within seconds.

        Args:
            address: HOST:PORT.
            options: what all have in common.
            pem: the certificates, for TLS.
        """
        self._address = address
        self._options = options
        # Over TLS every byte would be copied anyway: docs/adr/0014.
        self._large: Calls | None = None
        if not options.tls:
            self._large = Calls(
                address,
                INFER,
                max_message_bytes=options.channel.max_message_bytes,
                most=options.most_calls,
                authority=options.channel.authority,
            )
        self._lock = threading.Lock()
        self._replaced: list[_Replaced] = []
        self._closed = False
        self._channel = self._connect(pem)

    def close(self) -> None:
        """Ends its connections and whatever is under way on them."""
        with self._lock:
            self._closed = True
            channels = [self._channel, *(replaced.channel for replaced in self._replaced)]
        for channel in channels:
            channel.close()
        if self._large is not None:
            self._large.close()

    def statistics(self) -> EndpointStatistics:
        """What there is at this moment."""
        with self._lock:
            replaced = [each.channel for each in self._replaced]
            calls = sum(channel.calls for channel in [self._channel, *replaced])
        return EndpointStatistics(
            calls,
            len(replaced),
            self._channel.small.statistics() if self._channel.small else None,
            self._large.statistics() if self._large else None,
        )

    def infer(
        self, request: Sequence[Buffer], *, timeout_secs: float, pinned: bool, headers: Headers = ()
    ) -> UnaryCall:
        """Begins one inference: the call for a serialized ModelInferResponse.

        Args:
            request: a serialized ModelInferRequest, in parts.
            timeout_secs: its deadline.
            pinned: whether it has to go by the connection of those before it, in order.
            headers: what goes beside the request.
        """
        large = sum(map(len, request)) >= LARGE_BYTES
        if self._large is not None and large and not pinned:
            return self._large.begin(request, timeout_secs=timeout_secs, headers=headers)

        def begin(channel: Channel) -> UnaryCall:
            if channel.small is not None and not large and not pinned:
                return channel.small.begin(request, timeout_secs=timeout_secs, headers=headers)
            return channel.infer.future(b"".join(request), timeout=timeout_secs, metadata=_metadata(headers))

        return self._counted(begin)

    def ask(self, method: QueryMethod, request: bytes, *, timeout_secs: float, headers: Headers = ()) -> UnaryCall:
        """Begins to ask a question: the call for a serialized answer.

        Args:
            method: what is asked.
            request: the method's serialized message.
            timeout_secs: its deadline.
            headers: what goes beside the question.
        """
        return self._counted(
            lambda channel: channel.ask[method].future(request, timeout=timeout_secs, metadata=_metadata(headers))
        )

    def infer_stream(self, request: bytes, *, timeout_secs: float, headers: Headers = ()) -> StreamCall:
        """Begins one inference: a serialized ModelInferRequest for any number of ModelStreamInferResponses."""
        channel = self._begin()
        try:
            call = channel.infer_stream(request, timeout=timeout_secs, metadata=_metadata(headers))
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

    def ask_ready(self, timeout_secs: float, answered: Callable[[Readiness], None]) -> None:
        """Asks whether it is ready, by each way that inferences go: one may take longer to find a Triton again.

        Args:
            timeout_secs: longest time to wait.
            answered: is called with the answer, in any thread.
        """
        channel = self._begin()

        def over(readiness: Readiness) -> None:
            self._end(channel)
            if readiness is not Readiness.READY and self._large is not None:
                self._large.forget()
            answered(readiness)

        Question(over).ask(channel, timeout_secs)

    def hold(self) -> None:
        """Keeps `infer` quick for a moment."""
        channel = self._begin()
        try:
            channel.hold()
        # A channel that is closed raises a ValueError, one for which there is no thread a RuntimeError.
        except (ValueError, RuntimeError):
            _LOG.debug("the channel to Triton at %s is not held open", self._address)
        finally:
            self._end(channel)

    def renew(self, pem: Pem) -> None:
        """New calls are made with these certificates; what is under way ends with those of before."""
        channel = self._connect(pem)
        with self._lock:
            if not self._closed:
                self._replaced.append(_Replaced(self._channel, time.monotonic() + _LONGEST_GOODBYE_SECS))
                self._channel = channel
                return
        channel.close()

    def close_replaced(self) -> None:
        """Closes the channels that were replaced and have no call any more."""
        now = time.monotonic()
        with self._lock:
            ended = [replaced for replaced in self._replaced if not replaced.channel.calls or replaced.closes_at < now]
            self._replaced = [replaced for replaced in self._replaced if replaced not in ended]
        for replaced in ended:
            replaced.channel.close()
            _LOG.info("Triton: the connection with the certificates of before is closed")

    def _counted(self, begin: Callable[[Channel], UnaryCall]) -> UnaryCall:
        channel = self._begin()
        try:
            call = begin(channel)
        except BaseException:
            self._end(channel)
            raise
        call.add_done_callback(lambda _: self._end(channel))
        return call

    def _begin(self) -> Channel:
        with self._lock:
            self._channel.calls += 1
            return self._channel

    def _end(self, channel: Channel) -> None:
        with self._lock:
            channel.calls -= 1

    def _connect(self, pem: Pem | None) -> Channel:
        options = self._options.channel
        small = None
        if self._options.loop is not None:
            small = EngineCalls(
                self._options.loop,
                self._address,
                INFER,
                max_message_bytes=options.max_message_bytes,
                pem=pem,
                server_name=options.server_name,
                authority=options.authority,
            )
        return Channel(connect(self._address, options, pem), small)


def _metadata(headers: Headers) -> tuple[tuple[str, str], ...] | None:
    return tuple(headers) or None

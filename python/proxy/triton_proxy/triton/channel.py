"""One grpc channel to a Triton, its methods, and how many calls are under way on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import grpc
from tritonclient.grpc import service_pb2

from mm_service.tls import Pem
from multimodal_contract import FRAME_BYTES
from triton_proxy.inference.query import QueryMethod
from triton_proxy.triton.engine_calls import EngineCalls

SERVICE = "/inference.GRPCInferenceService/{}"
INFER = SERVICE.format("ModelInfer")
READY = SERVICE.format("ServerReady")
_INFER_STREAM = SERVICE.format("ModelStreamInfer")
# A little more than the time between two questions whether Triton is ready, each of which begins another.
_HELD_SECS = 3.0
_HOLD_AGAIN_SECS = 1.5
_ANSWER_WINDOW_BYTES = 8 * 1024 * 1024


class StreamCall(Protocol):
    """A call with any number of answers, serialized; what grpc's types have no public name for."""

    def __iter__(self) -> Iterator[bytes]:
        """Waits for each answer; raises grpc.RpcError where the call fails."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Calls back when the call is over; False, and no callback, where it is already."""

    def cancel(self) -> bool:
        """Ends the call."""


@dataclass(frozen=True)
class ChannelOptions:
    """What all channels to Tritons have in common.

    Attributes:
        max_message_bytes: largest answer.
        authority: what requests say of where they go, HOST:PORT.
        server_name: the name that Triton's certificate must have; "" for the address that the channel goes to.
    """

    max_message_bytes: int
    authority: str
    server_name: str


class Channel:
    """One channel, its methods, and how many calls are under way on it.

    Attributes:
        small: makes the inferences of small requests on the HTTP/2 engine; None where grpc's channel does.
        calls: calls under way, on the engine and on grpc's channel.
    """

    def __init__(self, channel: grpc.Channel, small: EngineCalls | None) -> None:
        """Connects when there is something to ask.

        Args:
            channel: grpc's.
            small: see the attribute.
        """
        self.small = small
        self.infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            INFER, request_serializer=None, response_deserializer=None
        )
        # On the wire a stream of requests that ends after the first: no thread has to feed it.
        self.infer_stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            _INFER_STREAM, request_serializer=None, response_deserializer=None
        )
        self.metadata: grpc.UnaryUnaryMultiCallable[
            service_pb2.ModelMetadataRequest, service_pb2.ModelMetadataResponse
        ] = channel.unary_unary(
            SERVICE.format("ModelMetadata"),
            request_serializer=service_pb2.ModelMetadataRequest.SerializeToString,
            response_deserializer=service_pb2.ModelMetadataResponse.FromString,
        )
        self.config: grpc.UnaryUnaryMultiCallable[service_pb2.ModelConfigRequest, service_pb2.ModelConfigResponse] = (
            channel.unary_unary(
                SERVICE.format("ModelConfig"),
                request_serializer=service_pb2.ModelConfigRequest.SerializeToString,
                response_deserializer=service_pb2.ModelConfigResponse.FromString,
            )
        )
        self.ready: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            READY, request_serializer=None, response_deserializer=None
        )
        self.ask: dict[QueryMethod, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {
            method: channel.unary_unary(
                SERVICE.format(method.value), request_serializer=None, response_deserializer=None
            )
            for method in QueryMethod
        }
        self._idle: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            _INFER_STREAM, request_serializer=None, response_deserializer=None
        )
        self._held: StreamCall | None = None
        self._hold_again_at = 0.0
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
        now = time.monotonic()
        if now < self._hold_again_at:
            return
        self._hold_again_at = now + _HOLD_AGAIN_SECS
        over = threading.Event()
        # Let go of, a call is cancelled: the one before is no longer needed, but this one is.
        self._held = self._idle(_nothing_until(over), timeout=_HELD_SECS)
        if not self._held.add_callback(over.set):
            over.set()


def connect(address: str, options: ChannelOptions, pem: Pem | None) -> grpc.Channel:
    """A grpc channel, which connects when there is something to ask.

    Args:
        address: HOST:PORT.
        options: what all have in common.
        pem: the certificates, for TLS; None for plaintext.
    """
    given: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", -1),  # The caller's message was held to the limit already.
        ("grpc.max_receive_message_length", options.max_message_bytes),
        # Answers come in at once, whatever else is under way; they count in the common budget.
        ("grpc.http2.lookahead_bytes", _ANSWER_WINDOW_BYTES),
        ("grpc.http2.max_frame_size", FRAME_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if options.server_name:
        given.append(("grpc.ssl_target_name_override", options.server_name))
    elif options.authority != address:
        given.append(("grpc.default_authority", options.authority))
    if pem is None:
        return grpc.insecure_channel(address, given)
    return grpc.secure_channel(address, _credentials(pem), given)


def _credentials(pem: Pem) -> grpc.ChannelCredentials:
    """A channel's credentials; they stay what they are, so that renewed files need a new channel."""
    return grpc.ssl_channel_credentials(
        root_certificates=pem.authorities,
        private_key=pem.key or None,
        certificate_chain=pem.certificate or None,
    )


def _nothing_until(over: threading.Event) -> Iterator[bytes]:
    over.wait()
    yield from ()

"""The packets of one stream that wait for their answers; shared by the sync and the async client."""

from __future__ import annotations

from collections import deque

from mm_client_api.channel import Endpoint
from mm_client_api.errors import ConfigurationError, ProtocolError
from mm_client_api.request import CorrelationIds, InferenceRequest, to_packet
from mm_client_api.result import InferenceResult
from multimodal_contract import pb


class Outstanding:
    """Packets sent and not answered, oldest first.

    One side adds (gRPC's sending thread or task), the other takes away; deque's ends are safe for that.
    """

    def __init__(self, endpoint: Endpoint, ids: CorrelationIds) -> None:
        self._endpoint = endpoint
        self._ids = ids
        self._waiting: deque[str] = deque()
        # What the caller's iterable, or building a packet out of what it gave, raised. The answers to the packets
        # before it are delivered first, then it is raised where the caller reads.
        self.failure: Exception | None = None

    def packet(self, request: InferenceRequest) -> pb.DataPacket:
        """Build the packet of `request` and expect its answer.

        Raises:
            InvalidRequest: it cannot be encoded.
            MessageTooLarge: it is larger than one message may be.
        """
        correlation_id = self._ids.fill(request)
        packet = to_packet(request, correlation_id)
        self._endpoint.check_size(packet)
        self._waiting.append(correlation_id)
        return packet

    def answered(self, ack: pb.Ack) -> InferenceResult:
        """Match an Ack with the oldest packet, which it must answer.

        Raises:
            ProtocolError: it answers another one, or cannot be read.
        """
        if not self._waiting or ack.correlation_id != self._waiting[0]:
            expected = self._waiting[0] if self._waiting else "none"
            raise ProtocolError(
                f"an answer for {ack.correlation_id!r} came while {expected!r} was the next",
                correlation_id=ack.correlation_id,
            )
        result = InferenceResult(ack)
        if result.final:
            self._waiting.popleft()
        return result

    def end(self) -> None:
        """The proxy ended the stream without an error: say so unless that was right.

        Raises:
            ProtocolError: packets are left without an answer.
            Exception: what the caller's iterable raised.
        """
        if self.failure is not None:
            raise self.failure
        if self._waiting:
            raise ProtocolError(
                f"the proxy ended the stream with {len(self._waiting)} packets unanswered",
                correlation_id=self._waiting[0],
            )


def check_window(window: int) -> None:
    """Raise ConfigurationError unless `window` packets can be in flight."""
    if window < 1:
        raise ConfigurationError(f"the window is {window}; expected 1 or more packets in flight")

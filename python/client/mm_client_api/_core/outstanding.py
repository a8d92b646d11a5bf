"""The packets of one stream that wait for their answers."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mm_client_api._core.endpoint import Endpoint
from mm_client_api._core.packet import to_packet
from mm_client_api.errors import ProtocolError
from mm_client_api.request import CorrelationIds, InferenceRequest
from mm_client_api.result import InferenceResult


class Packet(NamedTuple):
    """A request, serialized.

    Attributes:
        correlation_id: the request's.
        data: the serialized DataPacket.
    """

    correlation_id: str
    data: bytes


def packet_of(request: InferenceRequest, endpoint: Endpoint, ids: CorrelationIds) -> Packet:
    """Serialize `request`.

    Raises:
        InvalidRequest: it cannot be encoded.
        MessageTooLarge: it is larger than one message may be.
    """
    correlation_id = ids.fill(request)
    data = to_packet(request, correlation_id)
    endpoint.check_size(len(data), correlation_id)
    return Packet(correlation_id, data)


class Outstanding:
    """Packets taken from the caller and not answered, at most `window` of them, oldest first.

    They outlive the calls they are sent in: `reopened` makes all of them unsent again. Not for several threads at once.

    Args:
        window: most packets in here.

    Attributes:
        exhausted: the caller's iterable has no more.
        untouched: nothing was sent in the present call.
        failure: what the caller's iterable, or building a packet out of what it gave, raised. The answers to the
            packets before it are delivered first, then `end` raises it.
    """

    def __init__(self, window: int) -> None:
        self.exhausted = False
        self.untouched = True
        self.failure: Exception | None = None
        self._window = window
        self._unsent: deque[Packet] = deque()
        self._sent: deque[Packet] = deque()
        self._partly_answered = False

    @property
    def room(self) -> bool:
        """Whether another packet may be taken from the caller."""
        return not self.exhausted and len(self._unsent) + len(self._sent) < self._window

    @property
    def sendable(self) -> bool:
        """Whether `next_unsent` returns a packet, or its None means that there are no more."""
        return bool(self._unsent) or self.exhausted

    @property
    def finished(self) -> bool:
        """Whether every packet there is has been answered."""
        return self.exhausted and not self._unsent and not self._sent

    def add(self, packet: Packet) -> None:
        """Expect that `packet` is sent, then its answer."""
        self._unsent.append(packet)

    def next_unsent(self) -> Packet | None:
        """Return the packet to be sent next in the present call; None where there is none."""
        if not self._unsent:
            return None
        self.untouched = False
        self._sent.append(self._unsent.popleft())
        return self._sent[-1]

    def answered(self, result: InferenceResult) -> None:
        """Match an answer with the oldest packet, which it must answer.

        Raises:
            ProtocolError: it answers another one.
        """
        expected = self._sent[0].correlation_id if self._sent else None
        if result.correlation_id != expected:
            raise ProtocolError(
                f"an answer for {result.correlation_id!r} came while {expected or 'none'!r} was the next",
                correlation_id=result.correlation_id,
            )
        self._partly_answered = not result.final
        if result.final:
            self._sent.popleft()

    def reopened(self) -> None:
        """The call is over, and the proxy accepted nothing that it did not answer: send that again, in order.

        Raises:
            ProtocolError: the oldest has an answer, with more to follow.
        """
        if self._partly_answered:
            raise ProtocolError(
                "the proxy ended the stream in the middle of a packet's answers",
                correlation_id=self._sent[0].correlation_id,
            )
        self.untouched = True
        self._sent.extend(self._unsent)
        self._unsent, self._sent = self._sent, deque()

    def end(self) -> None:
        """The proxy ended the stream without an error: say so unless that was right.

        Raises:
            ProtocolError: packets are left without an answer, or more were to come.
            Exception: what the caller's iterable raised.
        """
        if self.failure is not None:
            raise self.failure
        if not self.finished:
            waiting = [*self._sent, *self._unsent]
            raise ProtocolError(
                f"the proxy ended the stream with {len(waiting)} packets unanswered"
                + ("" if self.exhausted else " and more to come"),
                correlation_id=waiting[0].correlation_id if waiting else "",
            )

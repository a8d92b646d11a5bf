"""A Chat stream that a test feeds by hand."""

from __future__ import annotations

import queue

import grpc

from multimodal_contract import pb, pb_grpc


class OpenStream:
    """A Chat stream whose packets a test sends one by one."""

    def __init__(self, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], timeout: float) -> None:
        """Opens the stream.

        Args:
            channel: to the proxy.
            metadata: of the call.
            timeout: seconds until the call ends by itself.
        """
        self._packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
        self.call = pb_grpc.MultimodalServiceStub(channel).Chat(
            iter(self._packets.get, None), metadata=metadata, timeout=timeout
        )

    def send(self, packet: pb.DataPacket) -> None:
        """Sends a packet."""
        self._packets.put(packet)

    def ask(self, packet: pb.DataPacket) -> pb.Ack:
        """Sends a packet and waits for the next Ack."""
        self.send(packet)
        return next(self.call)

    def end(self) -> None:
        """Sends no more packets."""
        self._packets.put(None)

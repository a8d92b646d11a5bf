"""An asyncio stream over one connection that goes on, in another call, where the proxy ended one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from mm_client_api._aio.packet_queue import PacketQueue
from mm_client_api._aio.server_status import ServerStatus
from mm_client_api._aio.tasks import stop
from mm_client_api._core.retry import RetryPolicy
from mm_client_api.result import InferenceResult, read_answer

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

ChatMethod: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"


class ResumableStream:
    """A stream over one connection, in as many calls as it takes.

    Args:
        chat: opens a call.
        packets: what it sends.
        retry: decides about further calls.
    """

    def __init__(self, chat: ChatMethod, packets: PacketQueue, retry: RetryPolicy) -> None:
        self.packets = packets
        self._chat = chat
        self._retry = retry

    async def results(self) -> AsyncGenerator[InferenceResult, None]:
        """Send the packets and yield the results in their order.

        Raises:
            CallError: the stream broke; the subclass says how.
            ProtocolError: answers are missing, out of order or unreadable.
            Exception: what the caller's iterable raised.
        """
        packets, retry = self.packets, self._retry
        while True:
            status = None
            metadata = await asyncio.to_thread(retry.metadata)
            call = self._chat(timeout=retry.timeout, metadata=metadata)
            server_status = ServerStatus(call)
            # A task of our own, since the one that grpc.aio starts for an iterator outlives a call that the server
            # ends.
            sending = asyncio.create_task(packets.send(call, hold_back_secs=retry.hold_back_secs))
            try:
                if retry.again and retry.admitted(await call.initial_metadata()):
                    packets.admit()
                marks_last = None
                async for raw in call:
                    if marks_last is None:
                        marks_last = retry.admitted(await call.initial_metadata())
                    result = read_answer(raw, marks_last=marks_last)
                    del raw  # Its megabytes would stay while the next answer is waited for.
                    packets.answered(result)
                    retry.answered()
                    yield result
                    del result
            except grpc.aio.AioRpcError as error:
                status = await server_status.of(error)
                if packets.outstanding.untouched and retry.again:
                    status = status.without_packets()
            finally:
                call.cancel()
                await stop(sending)
            if status is None or (status.not_accepted and packets.outstanding.finished):
                break
            await asyncio.sleep(await asyncio.to_thread(retry.wait_secs, status))
            packets.reopened()
        packets.outstanding.end()

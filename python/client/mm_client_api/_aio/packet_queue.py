"""The packets of an asyncio stream, between the task that makes them and the tasks that send them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable, Iterable

import grpc.aio

from mm_client_api._aio.server_status import written
from mm_client_api._aio.tasks import Changes, take_requests
from mm_client_api._core.outstanding import Outstanding, Packet
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult


class PacketQueue:
    """Packets that a task for each call sends; another task adds them."""

    def __init__(self, outstanding: Outstanding) -> None:
        self.outstanding = outstanding
        self._changes = Changes()
        self._admitted = asyncio.Event()

    def add(self, packet: Packet) -> None:
        """See `Outstanding.add`."""
        self.outstanding.add(packet)
        self._changes.notify()

    def finish(self, failure: Exception | None = None) -> None:
        """Note that there are no more packets, because of `failure` where there is one."""
        self.outstanding.failure = failure
        self.outstanding.exhausted = True
        self._changes.notify()

    def admit(self) -> None:
        """Note that the proxy has admitted the present call."""
        self._admitted.set()

    def answered(self, result: InferenceResult) -> None:
        """See `Outstanding.answered`."""
        self.outstanding.answered(result)
        self._changes.notify()

    def reopened(self) -> None:
        """See `Outstanding.reopened`."""
        self.outstanding.reopened()
        self._admitted.clear()
        self._changes.notify()

    async def pull(
        self,
        requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
        packet_of: Callable[[InferenceRequest], Packet],
    ) -> None:
        """Take requests while there is room. What goes wrong ends this; it is raised where the caller reads."""

        def send(request: InferenceRequest) -> None:
            self.add(packet_of(request))

        self.finish(await take_requests(requests, send, self._changes, lambda: self.outstanding.room))

    async def send(self, call: grpc.aio.StreamStreamCall[bytes, bytes], *, hold_back_secs: float) -> None:
        """Write packets until there are no more, or the call is over.

        Args:
            call: to write into.
            hold_back_secs: how long to write none unless `admit` is called before.
        """
        if hold_back_secs:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._admitted.wait(), hold_back_secs)
        while True:
            await self._changes.until(lambda: self.outstanding.sendable)
            packet = self.outstanding.next_unsent()
            if packet is None:
                await written(call.done_writing())
                return
            if not await written(call.write(packet.data)):
                return
            del packet

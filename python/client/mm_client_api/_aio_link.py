"""One connection's part of an asyncio stream: calls, one after another, and the packets that they carry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from mm_client_api._aio_call import Status, written
from mm_client_api._aio_iterators import next_or_none
from mm_client_api._outstanding import Outstanding, Packet
from mm_client_api._reopening import ADMITTED_WITHIN_SECS, Reopening
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult, read_answer

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

Chat: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"


class Changes:
    """Lets tasks wait for conditions, each of which looks for itself whether a change was for it."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait for a change."""
        self._changed.clear()
        await self._changed.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a change makes the condition true."""
        while not condition():
            await self.wait()


class Packets:
    """Packets that a task for each call sends; somebody else puts them in."""

    def __init__(self, outstanding: Outstanding) -> None:
        self.outstanding = outstanding
        self._changes = Changes()
        self._admitted = asyncio.Event()

    def add(self, packet: Packet) -> None:
        """See `Outstanding.add`."""
        self.outstanding.add(packet)
        self._changes.tell()

    def finish(self, failure: Exception | None = None) -> None:
        """There are no more packets, because of `failure` where there is one."""
        self.outstanding.failure = failure
        self.outstanding.exhausted = True
        self._changes.tell()

    def admit(self) -> None:
        """The proxy has let the present call in."""
        self._admitted.set()

    def answered(self, result: InferenceResult) -> None:
        """See `Outstanding.answered`."""
        self.outstanding.answered(result)
        self._changes.tell()

    def reopened(self) -> None:
        """See `Outstanding.reopened`."""
        self.outstanding.reopened()
        self._admitted.clear()
        self._changes.tell()

    async def pull(
        self,
        requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
        packet_of: Callable[[InferenceRequest], Packet],
    ) -> None:
        """Take requests while there is room. What goes wrong ends this; it is raised where the caller reads."""
        failure = None
        try:
            remaining = steps(requests)
            while True:
                await self._changes.until(lambda: self.outstanding.room)
                request = await next_or_none(remaining)
                if request is None:
                    break
                self.add(packet_of(request))
                del request
                # Lets the packet be sent before a plain iterable, which awaits nothing, gives the next one.
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            failure = error
        self.finish(failure)

    async def send(self, call: grpc.aio.StreamStreamCall[bytes, bytes], *, held_back: bool) -> None:
        """Write packets until there are no more, or the call is over.

        Args:
            call: to write into.
            held_back: none before `admit`, or before ADMITTED_WITHIN_SECS have passed.
        """
        if held_back:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._admitted.wait(), ADMITTED_WITHIN_SECS)
        while True:
            await self._changes.until(lambda: self.outstanding.sendable)
            packet = self.outstanding.next_unsent()
            if packet is None:
                await written(call.done_writing())
                return
            if not await written(call.write(packet.data)):
                return
            del packet


class Link:
    """A stream over one connection, in as many calls as it takes.

    Args:
        chat: opens a call.
        packets: to be sent.
        reopening: decides about further calls.
    """

    def __init__(self, chat: Chat, packets: Packets, reopening: Reopening) -> None:
        self.packets = packets
        self._chat = chat
        self._reopening = reopening

    async def results(self) -> AsyncGenerator[InferenceResult, None]:
        """Send the packets and yield the results in their order.

        Raises:
            CallError: the stream broke; the subclass says how.
            ProtocolError: answers are missing, out of order or unreadable.
            Exception: what the caller's iterable raised.
        """
        packets, reopening = self.packets, self._reopening
        while True:
            ending = None
            metadata = await asyncio.to_thread(reopening.metadata)
            call = self._chat(timeout=reopening.timeout, metadata=metadata)
            status = Status(call)
            # A task of our own, since the one that grpc.aio starts for an iterator outlives a call that the server
            # ends.
            sending = asyncio.create_task(packets.send(call, held_back=reopening.again))
            try:
                if reopening.again and reopening.admitted(await call.initial_metadata()):
                    packets.admit()
                marks_last = None
                async for raw in call:
                    if marks_last is None:
                        marks_last = reopening.admitted(await call.initial_metadata())
                    result = read_answer(raw, marks_last=marks_last)
                    del raw  # Its megabytes would stay while the next answer is waited for.
                    packets.answered(result)
                    reopening.answered()
                    yield result
                    del result
            except grpc.aio.AioRpcError as error:
                ending = await status.ending(error)
                if packets.outstanding.untouched and reopening.again:
                    ending = ending.without_packets()
            finally:
                call.cancel()
                await stop(sending)
            if ending is None or (ending.not_accepted and packets.outstanding.finished):
                break
            await asyncio.sleep(await asyncio.to_thread(reopening.wait_secs, ending))
            packets.reopened()
        packets.outstanding.end()


async def stop(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def steps(
    requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
) -> AsyncIterator[InferenceRequest]:
    """Iterate either kind of iterable."""
    return requests.__aiter__() if isinstance(requests, AsyncIterable) else _steps(requests)


async def _steps(requests: Iterable[InferenceRequest]) -> AsyncIterator[InferenceRequest]:
    for request in requests:
        yield request

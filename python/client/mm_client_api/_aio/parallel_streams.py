"""An asyncio stream over several connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

from mm_client_api._aio.iterators import Closing
from mm_client_api._aio.packet_queue import PacketQueue
from mm_client_api._aio.resumable_stream import ResumableStream
from mm_client_api._aio.tasks import Changes, stop, take_requests
from mm_client_api._core.merge import Merge
from mm_client_api._core.outstanding import Outstanding, Packet
from mm_client_api._core.stream_options import StreamOptions
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult


class ParallelStreams:
    """A stream for each connection, a task that reads each, and a task that takes the caller's requests.

    Args:
        packet_of: serializes a request.
        open_stream: makes the stream of the connection with that number, from 0, for packets that are added here.
        options: how many connections, how many requests on each, in which order.
    """

    def __init__(
        self,
        packet_of: Callable[[InferenceRequest], Packet],
        open_stream: Callable[[int, PacketQueue], ResumableStream],
        options: StreamOptions,
    ) -> None:
        self._packet_of = packet_of
        self._open_stream = open_stream
        self._window = options.window
        self._merge = Merge(options.window, options.connections, ordered=options.ordered)
        self._changes = Changes()
        self._streams: list[ResumableStream] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._reading = 0

    async def results(
        self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest]
    ) -> AsyncGenerator[InferenceResult, None]:
        """Send the caller's requests and yield the results. Raises what `ResumableStream.results` does."""
        try:
            self._open()
            self._tasks.append(asyncio.create_task(self._dispatch(requests)))
            while (result := await self._next()) is not None:
                yield result
                del result  # Its megabytes would stay while the next one is waited for.
            self._merge.end()
        finally:
            await stop(*self._tasks)
            # Through the tracebacks of their ends they hold this, and with it the caller's generator.
            self._tasks.clear()
            self._merge.forget()

    async def _next(self) -> InferenceResult | None:
        result = self._merge.take()
        while result is None and not (self._merge.finished and not self._reading):
            await self._changes.wait()
            result = self._merge.take()
        self._changes.notify()
        return result

    def _open(self) -> None:
        stream = self._open_stream(self._merge.open(), PacketQueue(Outstanding(self._window)))
        self._streams.append(stream)
        self._reading += 1
        self._tasks.append(asyncio.create_task(self._read(len(self._streams) - 1, stream)))

    async def _dispatch(self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest]) -> None:
        """Take the caller's requests and give each to a connection."""
        self._merge.exhaust(await take_requests(requests, self._send, self._changes, lambda: self._merge.room))
        for stream in self._streams:
            stream.packets.finish()
        self._changes.notify()

    def _send(self, request: InferenceRequest) -> None:
        packet = self._packet_of(request)
        if self._merge.all_full:
            self._open()
        self._streams[self._merge.place()].packets.add(packet)

    async def _read(self, connection: int, stream: ResumableStream) -> None:
        """Read a connection's results for as long as there is room for them."""
        try:
            async with Closing(stream.results()) as results:
                async for result in results:
                    await self._put(connection, result)
                    del result
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            self._merge.fail(connection, error)
        self._reading -= 1
        self._changes.notify()

    async def _put(self, connection: int, result: InferenceResult) -> None:
        await self._changes.until(lambda: self._merge.may_add(connection, result))
        self._merge.add(connection, result)
        self._changes.notify()

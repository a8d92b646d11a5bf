"""An asyncio stream over several connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

from mm_client_api._aio_iterators import Closing, next_or_none
from mm_client_api._aio_link import Changes, Link, Packets, steps, stop
from mm_client_api._merge import Merge
from mm_client_api._outstanding import Outstanding, Packet
from mm_client_api._plan import Plan
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult


class Fan:
    """The connections' links, a task that reads each, and a task that takes the caller's requests.

    Args:
        packet_of: serializes a request.
        open_link: makes the link of the connection with that number, from 0, for packets that are put in here.
        plan: how many connections, how many requests on each, in which order.
    """

    def __init__(
        self,
        packet_of: Callable[[InferenceRequest], Packet],
        open_link: Callable[[int, Packets], Link],
        plan: Plan,
    ) -> None:
        self._packet_of = packet_of
        self._open_link = open_link
        self._plan = plan
        self._merge = Merge(plan.window, plan.connections, ordered=plan.ordered)
        self._changes = Changes()
        self._links: list[Link] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._reading = 0

    async def results(
        self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest]
    ) -> AsyncGenerator[InferenceResult, None]:
        """Send the caller's requests and yield the results. Raises what `Link.results` does."""
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
        self._changes.tell()
        return result

    def _open(self) -> None:
        link = self._open_link(self._merge.open(), Packets(Outstanding(self._plan.window)))
        self._links.append(link)
        self._reading += 1
        self._tasks.append(asyncio.create_task(self._read(len(self._links) - 1, link)))

    async def _dispatch(self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest]) -> None:
        """Take the caller's requests and give each to a connection."""
        failure = None
        try:
            remaining = steps(requests)
            while True:
                await self._changes.until(lambda: self._merge.room)
                request = await next_or_none(remaining)
                if request is None:
                    break
                self._send(self._packet_of(request))
                del request
                # Lets the packet be sent before a plain iterable, which awaits nothing, gives the next one.
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            failure = error
        self._merge.exhaust(failure)
        for link in self._links:
            link.packets.finish()
        self._changes.tell()

    def _send(self, packet: Packet) -> None:
        if self._merge.all_full:
            self._open()
        self._links[self._merge.place()].packets.add(packet)

    async def _read(self, connection: int, link: Link) -> None:
        """Read a connection's results for as long as there is room for them."""
        try:
            async with Closing(link.results()) as results:
                async for result in results:
                    await self._put(connection, result)
                    del result
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            self._merge.fail(connection, error)
        self._reading -= 1
        self._changes.tell()

    async def _put(self, connection: int, result: InferenceResult) -> None:
        await self._changes.until(lambda: self._merge.may_add(connection, result))
        self._merge.add(connection, result)
        self._changes.tell()

"""How the tasks of a stream wait for each other, take the caller's requests, and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable

from mm_client_api._aio.iterators import next_or_none, steps
from mm_client_api.request import InferenceRequest


class Changes:
    """Lets tasks wait for conditions, each of which looks for itself whether a change was for it."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Wake the waiting tasks: something has changed."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait for a change."""
        self._changed.clear()
        await self._changed.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a change makes the condition true."""
        while not condition():
            await self.wait()


async def take_requests(
    requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
    send: Callable[[InferenceRequest], None],
    changes: Changes,
    has_room: Callable[[], bool],
) -> Exception | None:
    """Take requests while there is room, and send each.

    Args:
        requests: the caller's iterable.
        send: gets each request.
        changes: notified when `has_room` may have become true.
        has_room: whether another request may be taken.

    Returns:
        What the iterable or `send` raised; None after the last request.
    """
    try:
        remaining = steps(requests)
        while True:
            await changes.until(has_room)
            request = await next_or_none(remaining)
            if request is None:
                return None
            send(request)
            del request
            # Lets the packet be sent before a plain iterable, which awaits nothing, gives the next one.
            await asyncio.sleep(0)
    except Exception as error:  # noqa: BLE001 - raised again where the caller reads
        return error


async def stop(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)

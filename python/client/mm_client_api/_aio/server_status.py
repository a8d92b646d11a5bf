"""What grpc.aio's calls do not do themselves: keep the server's status, and survive a write that came too late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

from mm_client_api._core.call_status import CallStatus

_STATUS_OF_GRPC_ITSELF = "Internal error from Core"
_STATUS_WAIT_SECS = 1.0
_T = TypeVar("_T")


class ServerStatus:
    """The status with which the server ended a call.

    A write that fails because the server has ended the call makes grpc.aio put a status of its own in the place of the
    server's, before or after that arrives. The server's says why, so it is noted at the moment it is set.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        self._call = call
        self._reported: tuple[grpc.StatusCode, str | None, grpc.aio.Metadata] | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._note)

    async def of(self, raised: grpc.aio.AioRpcError) -> CallStatus:
        """Return the server's status, or that of `raised` where none arrives."""
        if raised.details() == _STATUS_OF_GRPC_ITSELF:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._known.wait(), _STATUS_WAIT_SECS)
        return CallStatus.of(raised, *(self._reported or (raised.code(), raised.details(), raised.trailing_metadata())))

    def _note(self, _: object) -> None:
        code, details = _at_once(self._call.code()), _at_once(self._call.details())
        if details != _STATUS_OF_GRPC_ITSELF:
            self._reported = (code, details, _at_once(self._call.trailing_metadata()))
            self._known.set()


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: _T = end.value
        return value
    raise RuntimeError("the status of a call that is over was not there")


async def written(write: Awaitable[None]) -> bool:
    """Await a write; False where the call is over, which the reading side explains."""
    try:
        await write
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True

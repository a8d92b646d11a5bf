"""What Python 3.9 lacks for asynchronous iterators."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Closing(Generic[_T]):
    """Closes a generator at the end of an `async with`, as `contextlib.aclosing` of Python 3.10 does.

    Not by `asynccontextmanager`, whose frame and error hold each other, and with them the caller's iterable.
    """

    def __init__(self, generator: AsyncGenerator[_T, None]) -> None:
        self._generator = generator

    async def __aenter__(self) -> AsyncGenerator[_T, None]:
        return self._generator

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._generator.aclose()


async def next_or_none(iterator: AsyncIterator[_T]) -> _T | None:
    """Return the next item; None after the last."""
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return None

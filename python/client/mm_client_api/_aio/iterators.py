"""What Python 3.9 lacks for asynchronous iterators, and either kind of iterable as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
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


def steps(items: Iterable[_T] | AsyncIterable[_T]) -> AsyncIterator[_T]:
    """Iterate either kind of iterable."""
    return items.__aiter__() if isinstance(items, AsyncIterable) else _steps(items)


async def _steps(items: Iterable[_T]) -> AsyncIterator[_T]:
    for item in items:
        yield item

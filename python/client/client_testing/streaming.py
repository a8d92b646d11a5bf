"""Both clients under one signature, for tests of what they have in common."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np

from client_testing.waiting import until_async
from mm_client_api import (
    ApiKey,
    AsyncTritonClient,
    Credentials,
    InferenceRequest,
    InferenceResult,
    TritonClient,
    TritonClientError,
)

KEY = ApiKey("key")
STOP = object()


def numbered(count: int | None = None, model: str = "echo", elements: int = 1) -> Iterator[InferenceRequest]:
    """Yield requests whose ids and values are their numbers; without a count, for ever."""
    for number in itertools.count() if count is None else range(count):
        yield InferenceRequest(model, {"x": np.full(elements, number)}, ["x"], correlation_id=str(number))


class Streamed:
    """What came out of a stream, and the error that ended it, if one did."""

    def __init__(self) -> None:
        self.results: list[InferenceResult] = []
        self.error: TritonClientError | None = None
        self.secs = 0.0

    @property
    def ids(self) -> list[str]:
        """Correlation ids of the results."""
        return [result.correlation_id for result in self.results]


Stream = Callable[..., Streamed]


def stream_sync(
    addr: str,
    requests: Iterator[InferenceRequest],
    credentials: Credentials = KEY,
    on_result: Callable[[InferenceResult], object] = lambda _: None,
    blocking: bool = False,
    **how: Any,
) -> Streamed:
    """Stream with `TritonClient` until that ends, or `on_result` returns `STOP`."""
    streamed = Streamed()
    began = time.monotonic()
    with TritonClient(addr, credentials=credentials) as client:
        try:
            for result in client.stream(requests, **how):
                streamed.results.append(result)
                if on_result(result) is STOP:
                    break
        except TritonClientError as error:
            streamed.error = error
    streamed.secs = time.monotonic() - began
    return streamed


def stream_async(
    addr: str,
    requests: Iterator[InferenceRequest],
    credentials: Credentials = KEY,
    on_result: Callable[[InferenceResult], object] = lambda _: None,
    blocking: bool = False,
    **how: Any,
) -> Streamed:
    """Stream with `AsyncTritonClient` until that ends, or `on_result` returns `STOP`; no task may be left over.

    With `blocking` the requests are taken in threads: their iterable waits for something.
    """
    streamed = Streamed()

    async def run() -> None:
        began = time.monotonic()
        async with AsyncTritonClient(addr, credentials=credentials) as client:
            before = asyncio.all_tasks()
            try:
                source = _in_threads(requests) if blocking else requests
                async with aclosing(client.stream(source, **how)) as results:
                    async for result in results:
                        streamed.results.append(result)
                        if await asyncio.to_thread(on_result, result) is STOP:
                            break
            except TritonClientError as error:
                streamed.error = error
            # Those of grpc.aio itself end a moment after their call.
            await until_async(lambda: asyncio.all_tasks() == before)
        streamed.secs = time.monotonic() - began

    asyncio.run(run())
    return streamed


async def _in_threads(requests: Iterator[InferenceRequest]) -> AsyncIterator[InferenceRequest]:
    while (request := await asyncio.to_thread(next, requests, None)) is not None:
        yield request


def infer_sync(addr: str, credentials: Credentials) -> str:
    """Run one inference with `TritonClient` and return its status."""
    with TritonClient(addr, credentials=credentials) as client:
        return client.infer("echo", {"x": np.zeros(1)}, outputs=["x"]).status


def infer_async(addr: str, credentials: Credentials) -> str:
    """Run one inference with `AsyncTritonClient` and return its status."""

    async def run() -> str:
        async with AsyncTritonClient(addr, credentials=credentials) as client:
            return (await client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])).status

    return asyncio.run(run())


def own_threads() -> set[threading.Thread]:
    """Return the threads of this process that are of no pool."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith(("ThreadPool", "asyncio"))}

"""Both clients under one signature, for tests of what they have in common."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

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
    window: int = 8,
    deadline_secs: float | None = None,
) -> Streamed:
    """Stream with `TritonClient` until that ends."""
    streamed = Streamed()
    began = time.monotonic()
    with TritonClient(addr, credentials=credentials) as client:
        try:
            for result in client.stream(requests, window=window, deadline_secs=deadline_secs):
                streamed.results.append(result)
        except TritonClientError as error:
            streamed.error = error
    streamed.secs = time.monotonic() - began
    return streamed


def stream_async(
    addr: str,
    requests: Iterator[InferenceRequest],
    credentials: Credentials = KEY,
    window: int = 8,
    deadline_secs: float | None = None,
) -> Streamed:
    """Stream with `AsyncTritonClient` until that ends; no task may be left over."""
    streamed = Streamed()

    async def run() -> None:
        began = time.monotonic()
        async with AsyncTritonClient(addr, credentials=credentials) as client:
            before = asyncio.all_tasks()
            try:
                async for result in client.stream(requests, window=window, deadline_secs=deadline_secs):
                    streamed.results.append(result)
            except TritonClientError as error:
                streamed.error = error
            if asyncio.all_tasks() != before:
                raise AssertionError("the stream has left a task behind")
        streamed.secs = time.monotonic() - began

    asyncio.run(run())
    return streamed


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


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, for ten seconds."""
    waiting = threading.Event()
    for _ in range(2000):
        if condition():
            return
        waiting.wait(0.005)
    raise AssertionError("the awaited condition did not come true")

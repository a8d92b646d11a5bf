"""Waiting for what other threads and tasks do, however busy the machine is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

# Longer than any machine takes that runs the tests at all.
PATIENCE_SECS = 30.0
_PAUSE_SECS = 0.005


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it does not come true within PATIENCE_SECS.
    """
    pause = threading.Event()
    for _ in _tries(condition):
        pause.wait(_PAUSE_SECS)


async def until_async(condition: Callable[[], object]) -> None:
    """As `until`, while the event loop goes on."""
    for _ in _tries(condition):
        await asyncio.sleep(_PAUSE_SECS)


def _tries(condition: Callable[[], object]) -> Iterator[None]:
    end = time.monotonic() + PATIENCE_SECS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("the awaited condition did not come true")
        yield


class Clock:
    """Seconds that pass only where a test says so; called, it tells them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the present time."""
        return self.now

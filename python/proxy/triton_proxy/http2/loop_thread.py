"""A loop in a thread of its own, and how long it was not to be had."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotWithin
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

_T = TypeVar("_T")
# How often the loop looks at the clock, and for how many looks a pause is remembered: a minute.
_LOOK_EVERY_SECS = 0.1
_LOOKS = 600


@dataclass(frozen=True)
class LoopStatistics:
    """How promptly the loop did what was due.

    Attributes:
        longest_pause_secs: by which it was late at the most within the last minute or two.
    """

    longest_pause_secs: float


class LoopThread:
    """A loop of uvloop's. Everything that belongs to it is touched in its thread only.

    Attributes:
        loop: the loop.
    """

    def __init__(self, name: str) -> None:
        """Starts the thread.

        Args:
            name: the thread's.
        """
        self.loop = uvloop.new_event_loop()
        self._late = self._late_before = 0.0
        self._looks = 0
        self._ident: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether this is the loop's thread."""
        return threading.get_ident() == self._ident

    def soon(self, step: Callable[..., object], *arguments: object) -> None:
        """Takes a step in the loop's thread; at once where this is it. Nothing happens once the loop is closed."""
        if threading.get_ident() == self._ident:
            step(*arguments)
        else:
            self.later(step, *arguments)

    def later(self, step: Callable[..., object], *arguments: object) -> None:
        """Takes a step in another turn of the loop. Nothing happens once the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(step, *arguments)
        except RuntimeError:
            return  # The loop is closed, and all that was to be done in it is over.

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Runs a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run_until(
        self, coroutine: Coroutine[Any, Any, object], cut_off: Callable[[], Coroutine[Any, Any, object]]
    ) -> Callable[[float], None]:
        """Runs a coroutine in the loop, which is given time only later.

        Args:
            coroutine: is begun now.
            cut_off: makes what is run where the coroutine does not end in time.

        Returns:
            Waits for its end, for so many seconds at the longest, and then cuts it off.
        """
        ended = self.run(coroutine)

        def wait(longest_secs: float) -> None:
            try:
                ended.result(longest_secs)
            except NotWithin:
                self.run(cut_off()).result()

        return wait

    def statistics(self) -> LoopStatistics:
        """How promptly it did what was due."""
        return LoopStatistics(max(self._late, self._late_before))

    def close(self) -> None:
        """Ends the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._look, self.loop.time())
        try:
            self.loop.run_forever()
        finally:
            self._ident = None  # The next thread may have the same.

    def _look(self, due: float) -> None:
        now = self.loop.time()
        self._looks += 1
        if self._looks >= _LOOKS:
            self._late_before, self._late, self._looks = self._late, 0.0, 0
        self._late = max(self._late, now - due)
        self.loop.call_at(now + _LOOK_EVERY_SECS, self._look, now + _LOOK_EVERY_SECS)

"""Streams of answers that nobody waits for any more: Triton hears of it late, or never, since a cancel can end it.

See docs/adr/0032-cancels-that-kill-triton.md.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import grpc

from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.channel import StreamCall


class LeavableStream:
    """Implements `StreamCall`.

    Attributes:
        left: whether nobody waits for the answers that are still to come.
    """

    def __init__(self, call: StreamCall, clock: LoopThread, drains: Executor, *, delay_secs: float) -> None:
        """Nothing was read.

        Args:
            call: it.
            clock: its loop's time counts.
            drains: threads in which answers are read that nobody waits for.
            delay_secs: longest time for which Triton goes on unawares; half of it is the shortest.
        """
        self.left = False
        self._call = call
        self._clock = clock
        self._drains = drains
        self._delay_secs = delay_secs

    def __iter__(self) -> Iterator[bytes]:
        """See `StreamCall`."""
        return iter(self._call)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """See `StreamCall`: when it is over at Triton."""
        return self._call.add_callback(callback)

    def cancel(self) -> bool:
        """See `StreamCall`; nothing happens to one that was left."""
        return not self.left and self._call.cancel()

    def leave(self) -> None:
        """Reads what is still to come, for nobody; Triton hears of it where that takes long. Not while it is read."""
        self.left = True
        # A caller that could tell the moment could aim at it.
        delay = random.uniform(self._delay_secs / 2, self._delay_secs)  # noqa: S311 - enough against aiming
        self._clock.soon(self._tell_later, delay)
        try:
            self._drains.submit(self._drain)
        except RuntimeError:  # The proxy ends, and the call with it.
            self._call.cancel()

    def _tell_later(self, delay: float) -> None:
        timer = self._clock.loop.call_later(delay, self._call.cancel)
        self._call.add_callback(lambda: self._clock.soon(timer.cancel))

    def _drain(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass

"""Streams of answers that nobody waits for any more: Triton hears of it late, or never, since a cancel can end it.

See docs/adr/0032-cancels-that-kill-triton.md.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import grpc

from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.channel import StreamCall

# Answers that come faster meet even a late cancel, the more so as they are read.
_DENSE_SECS = 0.005


class LeavableStream:
    """Implements `StreamCall`. One thread at a time reads it.

    Attributes:
        left: whether nobody waits for the answers that are still to come.
    """

    def __init__(
        self,
        call: StreamCall,
        clock: LoopThread,
        drains: Executor,
        *,
        delay_secs: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing was read.

        Args:
            call: it.
            clock: its loop's time counts.
            drains: threads in which answers are read that nobody waits for.
            delay_secs: longest time for which Triton goes on unawares; half of it is the shortest.
            now: the time in seconds, from which it is told how densely answers come.
        """
        self.left = False
        self._call = call
        self._clock = clock
        self._drains = drains
        self._delay_secs = delay_secs
        self._now = now
        self._lock = threading.Lock()
        self._reading = False
        self._answers, self._first_at = 0, 0.0
        self._over = threading.Event()
        if not call.add_callback(self._over.set):
            self._over.set()

    def __iter__(self) -> Iterator[bytes]:
        """See `StreamCall`; ends where it is left, once all is read that is still to come."""
        answers = iter(self._call)
        while self._begin_reading():
            try:
                answer = next(answers, None)
                self._answers += 1
                self._first_at = self._first_at or self._now()
                if self.left:
                    # Who left it saw that it was being read.
                    for _ in answers:
                        pass
            finally:
                self._reading = False
            if answer is None or self.left:
                return
            yield answer

    def _begin_reading(self) -> bool:
        with self._lock:
            self._reading = not self.left
            return self._reading

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """See `StreamCall`: when it is over at Triton."""
        return self._call.add_callback(callback)

    def cancel(self) -> bool:
        """See `StreamCall`: Triton hears of it at once."""
        return self._call.cancel()

    def leave(self) -> None:
        """Has the rest read for nobody; Triton hears of it where that takes long.

        Where answers come densely, or none has come, it is cancelled.
        """
        with self._lock:
            if self.left or self._over.is_set():
                return
            self.left = not self._dense()
            reading = self._reading
        if not self.left:
            self._call.cancel()
            return
        # A caller that could tell the moment could aim at it.
        delay = random.uniform(self._delay_secs / 2, self._delay_secs)  # noqa: S311 - enough against aiming
        self._clock.soon(self._tell_later, delay)
        if reading:
            return
        try:
            self._drains.submit(self._drain)
        except RuntimeError:  # The proxy ends, and the call with it.
            self._call.cancel()

    def _dense(self) -> bool:
        return not self._answers or self._now() - self._first_at < self._answers * _DENSE_SECS

    def _tell_later(self, delay: float) -> None:
        timer = self._clock.loop.call_later(delay, self._call.cancel)
        if not self._call.add_callback(lambda: self._clock.soon(timer.cancel)):
            timer.cancel()

    def _drain(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass

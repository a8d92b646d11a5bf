"""Inferences that nobody waits for any more, which Triton must not be told at any moment: docs/adr/0032."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import grpc

from multimodal_contract.wire import Buffer
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.direct.blocking_socket import late
from triton_proxy.triton.direct.calls import UnaryCall
from triton_proxy.triton.direct.status import LONGEST_SECS


class PatientCall:
    """One unary call that ends here at its deadline or when it is cancelled, and at Triton when it is answered.

    Triton is told that nobody waits only a random time later, if it has not answered by then.
    """

    __slots__ = ("_callbacks", "_clock", "_delay_secs", "_error", "_finished", "_lock", "_over", "_timer", "_under_way")

    def __init__(
        self,
        clock: LoopThread,
        begin: Callable[[float], UnaryCall],
        *,
        timeout_secs: float,
        delay_secs: float,
    ) -> None:
        """Begins the call.

        Args:
            clock: its loop's time is the deadline's.
            begin: begins it at Triton, with a deadline in seconds.
            timeout_secs: its deadline here.
            delay_secs: longest time for which Triton goes on unawares; half of it is the shortest.
        """
        self._clock = clock
        self._delay_secs = delay_secs
        self._lock = threading.Lock()
        self._over = self._finished = False  # here, and at Triton
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        # Its deadline is told to Triton, too, which takes it for the caller's cancel.
        self._under_way = begin(min(timeout_secs + self._delay(), LONGEST_SECS))
        clock.soon(self._start, timeout_secs)
        self._under_way.add_done_callback(self._answered)

    def result(self) -> Buffer:
        """See `UnaryCall`."""
        error = self.exception()
        if error is not None:
            raise error
        return self._under_way.result()

    def exception(self) -> BaseException | None:
        """See `UnaryCall`."""
        if not self._over:
            done = threading.Event()
            self.add_done_callback(lambda _: done.set())
            done.wait()
        return self._error or self._under_way.exception()

    def cancelled(self) -> bool:
        """See `UnaryCall`."""
        return self._over and isinstance(self.exception(), grpc.FutureCancelledError)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `UnaryCall`: when it is over here."""
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
                return
        callback(self)

    def add_left_callback(self, callback: Callable[[], None]) -> None:
        """Calls back when it is over at Triton, too, at once where it is already."""
        self._under_way.add_done_callback(lambda _: callback())

    @property
    def left(self) -> bool:
        """Whether it ended here before Triton had answered."""
        return self._error is not None

    def cancel(self) -> None:
        """See `UnaryCall`."""
        if self._end(grpc.FutureCancelledError()):
            self._clock.soon(self._tell_later)

    def _delay(self) -> float:
        # A caller that could tell the moment could aim at it.
        return random.uniform(self._delay_secs / 2, self._delay_secs)  # noqa: S311 - enough against aiming

    def _end(self, error: BaseException | None) -> bool:
        with self._lock:
            if self._over:
                return False
            self._over, self._error = True, error
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        return True

    def _answered(self, _call: UnaryCall) -> None:
        self._finished = True
        self._end(None)
        self._clock.soon(self._stop)

    # In the clock's thread.

    def _start(self, timeout_secs: float) -> None:
        if not self._over:
            self._timer = self._clock.loop.call_later(timeout_secs, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._end(late())

    def _tell_later(self) -> None:
        self._stop()
        if not self._finished:
            self._timer = self._clock.loop.call_later(self._delay(), self._under_way.cancel)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

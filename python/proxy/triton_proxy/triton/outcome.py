"""How a unary call ends that is made of others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc

from multimodal_contract.wire import Buffer


class Outcome:
    """The part of a `UnaryCall` that waits for its end; `_finish` ends it."""

    __slots__ = ("_answer", "_callbacks", "_error", "_lock", "_over")

    def __init__(self) -> None:
        """There is none yet."""
        self._lock = threading.Lock()
        self._over = False
        self._answer: Buffer = b""
        self._error: BaseException | None = None
        # What refers to this call is dropped with its end: Python would take its time to find the circle.
        self._callbacks: list[Callable[[Any], None]] = []

    def result(self) -> Buffer:
        """See `UnaryCall`."""
        error = self.exception()
        if error is not None:
            raise error
        return self._answer

    def exception(self) -> BaseException | None:
        """See `UnaryCall`."""
        if not self._over:
            done = threading.Event()
            self.add_done_callback(lambda _: done.set())
            done.wait()
        return self._error

    def cancelled(self) -> bool:
        """See `UnaryCall`."""
        return isinstance(self._error, grpc.FutureCancelledError)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `UnaryCall`."""
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
                return
        callback(self)

    def _finish(self, answer: Buffer, error: BaseException | None) -> None:
        """Ends it, with an answer or an error; only the first time counts."""
        with self._lock:
            if self._over:
                return
            self._answer, self._error, self._over = answer, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._forget()
        for callback in callbacks:
            callback(self)

    def _forget(self) -> None:
        """Drops what refers to this call; the lock is held."""

"""Whether a call has ended, and what is still at work on it: the same in every transport."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor

_Callback = Callable[[], None]


class CallLife:
    """The end of a call, which comes once, and then that of all that is at work on it.

    Attributes:
        lock: is held where the call ends; hold it to begin something before that or not at all.
        over: whether the call has ended.
    """

    def __init__(self) -> None:
        """The call itself is at work, until it ends."""
        self.lock = threading.RLock()
        self.over = False
        self._at_work = 1
        self._on_end: list[_Callback] = []
        self._on_closed: list[_Callback] = []

    def on_end(self, callback: _Callback) -> None:
        """See `serving.call.Call`."""
        with self.lock:
            if not self.over:
                self._on_end.append(callback)
                return
        callback()

    def on_closed(self, callback: _Callback) -> None:
        """See `serving.call.Call`."""
        with self.lock:
            if self._at_work:
                self._on_closed.append(callback)
                return
        callback()

    def enter(self) -> None:
        """One thread or step more is at work."""
        with self.lock:
            self._at_work += 1

    def leave(self) -> None:
        """One fewer is."""
        with self.lock:
            self._at_work -= 1
            if self._at_work:
                return
            callbacks, self._on_closed = self._on_closed, []
        for callback in callbacks:
            callback()

    def submit(self, threads: Executor, step: Callable[[], object], finally_: Callable[[], object] | None) -> None:
        """Takes a step in a thread of a pool, unless the call has ended until then.

        Args:
            threads: the pool.
            step: is taken.
            finally_: is called afterwards, whether or not the step was taken.

        Raises:
            RuntimeError: the pool takes no more steps.
        """
        self.enter()

        def done() -> None:
            if finally_ is not None:
                finally_()
            self.leave()

        def take() -> None:
            try:
                if not self.over:
                    step()
            finally:
                done()

        try:
            threads.submit(take)
        except RuntimeError:
            done()
            raise

    def end(self) -> None:
        """The call has ended."""
        with self.lock:
            self.over = True
            callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            callback()
        self.leave()

"""What is looked after again and again, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Periodic:
    """Does something every so often, and sooner where somebody asks for it."""

    def __init__(self, name: str, act: Callable[[], None], *, secs: float, least_secs: float = 0.0) -> None:
        """Begins at once.

        Args:
            name: of the thread.
            act: what is done.
            secs: between two times.
            least_secs: the same, at the least, where somebody asks for it.
        """
        self._act = act
        self._secs = secs
        self._least_secs = least_secs
        self._sooner = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def soon(self) -> None:
        """Asks for it."""
        # Asked for by every call that fails: to look costs less than to set.
        if not self._sooner.is_set():
            self._sooner.set()

    def close(self) -> None:
        """Does it no more; what has begun may go on."""
        self._closed.set()
        self._sooner.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            began = time.monotonic()
            self._act()
            self._sooner.wait(self._secs)
            self._closed.wait(max(began + self._least_secs - time.monotonic(), 0.0))
            self._sooner.clear()

"""Garbage is looked for by the clock, not by the count of objects.

Python looks for circles that nobody refers to each time 700 more objects were made than went. A server with dozens of
calls under way makes and frees so many with every few calls, and each look goes through all that is alive: a tenth of a
small call's time, to find next to nothing. By the clock the price does not rise with the load, and what a circle holds
is free soon, also where hardly anything is going on.
"""

from __future__ import annotations

import gc
import threading

_EVERY_SECS = 1.0
# Objects that are made meanwhile, such as by a mistake that makes circles only: then it is looked for at once.
_AT_ONCE = 100_000


class Collector:
    """Looks for garbage every second, in a thread of its own, in what was made since."""

    def __init__(self, every_secs: float = _EVERY_SECS) -> None:
        """What is there now stays: it is not looked at again.

        Args:
            every_secs: between two looks.
        """
        self._every_secs = every_secs
        self._closed = threading.Event()
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_AT_ONCE, *self._thresholds[1:])
        self._thread = threading.Thread(target=self._run, name="garbage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leaves it to Python again."""
        self._closed.set()
        self._thread.join()
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _run(self) -> None:
        while not self._closed.wait(self._every_secs):
            gc.collect()

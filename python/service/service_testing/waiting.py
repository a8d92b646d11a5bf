"""Time in tests: waiting until something is so, and a clock that the test turns."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMEOUT = 30.0
_PAUSE_SECS = 0.001


def until(condition: Callable[[], object], within: float = TIMEOUT) -> None:
    """Asks until the condition holds.

    Args:
        condition: what is asked.
        within: seconds after which it is given up.

    Raises:
        TimeoutError: it does not hold by then.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the awaited condition did not come true within {within:g} s")
        time.sleep(_PAUSE_SECS)


class Clock:
    """Seconds that pass when the test says so; called as `time.monotonic` is.

    Attributes:
        now: the time.
    """

    def __init__(self, now: float = 100.0) -> None:
        """Stands still.

        Args:
            now: the time to begin with.
        """
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

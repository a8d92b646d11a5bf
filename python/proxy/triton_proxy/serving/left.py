"""What a call has left at Triton, which was not told that nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from triton_proxy.triton.inference import Inference


class Left:
    """Counts it, so that a call gives back its part of what there is for all when Triton is done with all of it."""

    def __init__(self, over: Callable[[], None]) -> None:
        """Nothing is left yet.

        Args:
            over: is called once, when the call has ended and Triton does nothing more for it.
        """
        self._over = over
        self._lock = threading.Lock()
        self._count = 1  # the call itself

    def keep(self, inference: Inference, then: Callable[[], None] | None = None) -> None:
        """Counts an inference that is over for its caller.

        Args:
            inference: it.
            then: is called first, when it is over for Triton, too.
        """
        with self._lock:
            self._count += 1
        inference.add_left_callback(partial(self._done, then))

    def end(self) -> None:
        """The call has ended; all that it left is counted."""
        self._done(None)

    def _done(self, then: Callable[[], None] | None) -> None:
        if then is not None:
            then()
        with self._lock:
            self._count -= 1
            over = not self._count
        if over:
            self._over()

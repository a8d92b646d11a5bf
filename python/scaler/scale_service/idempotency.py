"""Changes that are asked for again under the same key: made once, answered as before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mm_service.bounded_cache import BoundedCache

T = TypeVar("T")
_REMEMBERED = 1024
_REMEMBERED_SECS = 600.0


class KeyReused(Exception):  # noqa: N818 - says what happened
    """The key stands for another change."""


class StillUnderWay(Exception):  # noqa: N818 - says what happens
    """The same change, under the same key, is being made at this moment."""


@dataclass(frozen=True)
class _Done(Generic[T]):
    asked: object
    answer: T
    until: float


class Idempotency(Generic[T]):
    """Remembers the answers of changes for ten minutes, the latest 1024; those that failed may be tried again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is remembered yet.

        Args:
            clock: the time in seconds.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._done: BoundedCache[tuple[str, str], _Done[T]] = BoundedCache(_REMEMBERED)
        self._under_way: dict[tuple[str, str], object] = {}

    def once(self, principal: str, key: str, asked: object, make: Callable[[], T]) -> T:
        """Makes a change, or returns the answer that it had before.

        Args:
            principal: who asks; another's key is another key.
            key: what the caller calls the change; "" for one that is made in any case.
            asked: all that the change is made of.
            make: makes it.

        Raises:
            KeyReused: under this key another change was asked for.
            StillUnderWay: it is being made.
        """
        if not key:
            return make()
        with self._lock:
            done = self._done.use((principal, key))
            if done is not None and done.until > self._clock():
                if done.asked != asked:
                    raise KeyReused
                return done.answer
            if (principal, key) in self._under_way:
                raise StillUnderWay if self._under_way[principal, key] == asked else KeyReused
            self._under_way[principal, key] = asked
        try:
            answer = make()
            with self._lock:
                self._done.put((principal, key), _Done(asked, answer, self._clock() + _REMEMBERED_SECS))
        finally:
            with self._lock:
                del self._under_way[principal, key]
        return answer

"""A bounded first-in-first-out queue between the thread that reads a stream and the thread that answers it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """Keeps order, and bounds how many items are under way.

    An item is under way from its `reserve` until its `release`. `finish` lets what is under way be taken out still;
    `close` drops it.
    """

    def __init__(self, bound: int) -> None:
        """An open lane.

        Args:
            bound: most items under way at once.
        """
        self._free = bound
        self._items: deque[T] = deque()
        self._finished = False
        self._closed = False
        self._changed = threading.Condition()

    def reserve(self) -> bool:
        """Waits for room for one item; False when the lane takes no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._finished)
            if self._finished:
                return False
            self._free -= 1
            return True

    def put(self, item: T) -> bool:
        """Adds the item that `reserve` made room for; False when the lane takes no more."""
        with self._changed:
            if self._finished:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Waits for the next item; None when the lane is finished and empty, or closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished)
            return self._items.popleft() if self._items else None

    def release(self) -> None:
        """Makes the room of one item free again."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Takes no more items."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> list[T]:
        """Takes no more items and gives back those that nobody has taken out."""
        with self._changed:
            self._finished = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left

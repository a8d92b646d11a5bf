"""A bounded first-in-first-out queue between the thread that reads a stream and the thread that answers it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """Keeps order, and bounds how many items are under way.

    An item is under way from its `reserve` until its `release`. What `accept` has said yes to is put in and taken out
    also after `finish`; `close` drops it.
    """

    def __init__(self, bound: int) -> None:
        """An open lane.

        Args:
            bound: most items under way at once.
        """
        self._free = bound
        self._items: deque[T] = deque()
        self._accepted = 0
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

    def accept(self) -> bool:
        """Settles that the item which `reserve` made room for will be put in; False when the lane takes no more.

        Between this and `put` the item is made, which may have effects: they are not for an item that is then refused.
        """
        with self._changed:
            if self._finished:
                return False
            self._accepted += 1
            return True

    def put(self, item: T) -> bool:
        """Adds the item that was accepted; False when the lane was closed meanwhile."""
        with self._changed:
            self._accepted -= 1
            if not self._closed:
                self._items.append(item)
            self._changed.notify_all()
            return not self._closed

    def get(self) -> T | None:
        """Waits for the next item; None when the lane is finished and empty, or closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or (self._finished and not self._accepted))
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
            self._finished = self._closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left

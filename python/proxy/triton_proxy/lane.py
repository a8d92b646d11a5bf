"""A bounded first-in-first-out queue between the thread that reads a stream and the thread that answers it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """An item's place in a lane.

    Attributes:
        item: the item.
        ready: whether it may be taken out.
    """

    def __init__(self, item: T, *, ready: bool) -> None:
        """Made by `Lane.put`."""
        self.item = item
        self.ready = ready


class Lane(Generic[T]):
    """Keeps order, and bounds how many items are under way.

    An item is under way from its `reserve` until its `release`. What `accept` has said yes to is put in and taken out
    also after `finish`; `close` drops it.

    One thread reserves and puts, one takes out and releases. Each is woken when there is something for it to do, and
    not before: at thousands of items a second, waking threads is most of the work.
    """

    def __init__(self, bound: int) -> None:
        """An open lane.

        Args:
            bound: most items under way at once.
        """
        self._free = bound
        # Whoever found no room waits until there is some more than the least.
        self._enough = max(1, bound // 4)
        self._slots: deque[Slot[T]] = deque()
        self._accepted = 0
        self._finished = False
        self._closed = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._head = threading.Condition(lock)

    def reserve(self) -> bool:
        """Waits for room for one item; False when the lane takes no more."""
        with self._room:
            if not self._free:
                self._room.wait_for(lambda: self._free >= self._enough or self._finished)
            if self._finished:
                return False
            self._free -= 1
            return True

    def accept(self) -> bool:
        """Settles that the item which `reserve` made room for will be put in; False when the lane takes no more.

        Between this and `put`, or `withdraw`, the item is made, which may have effects: not for an item that is then
        refused.
        """
        with self._room:
            if self._finished:
                return False
            self._accepted += 1
            return True

    def put(self, item: T, *, ready: bool) -> Slot[T] | None:
        """Adds the item that was accepted; None when the lane was closed meanwhile.

        Args:
            item: the item.
            ready: whether it may be taken out; otherwise `settle` says when.
        """
        with self._head:
            self._accepted -= 1
            if self._closed:
                return None
            slot = Slot(item, ready=ready)
            self._slots.append(slot)
            if ready:
                self._head.notify()
            return slot

    def withdraw(self) -> None:
        """The item that was accepted could not be made."""
        with self._head:
            self._accepted -= 1
            self._head.notify()

    def settle(self, slot: Slot[T]) -> None:
        """The item may be taken out, when its turn has come."""
        with self._head:
            slot.ready = True
            if self._slots and self._slots[0] is slot:
                self._head.notify()

    def get(self) -> T | None:
        """Waits for the next item; None when the lane is finished and empty, or closed."""
        with self._head:
            self._head.wait_for(self._to_be_told)
            return self._slots.popleft().item if self._slots else None

    def _to_be_told(self) -> bool:
        if self._slots:
            return self._slots[0].ready
        return self._closed or (self._finished and not self._accepted)

    def items(self) -> list[T]:
        """Those that nobody has taken out yet."""
        with self._head:
            return [slot.item for slot in self._slots]

    def release(self) -> None:
        """Makes the room of one item free again."""
        with self._room:
            self._free += 1
            if self._free == self._enough:
                self._room.notify()

    def finish(self) -> None:
        """Takes no more items."""
        with self._room:
            self._finished = True
            self._room.notify()
            self._head.notify()

    def close(self) -> list[T]:
        """Takes no more items and gives back those that nobody has taken out."""
        with self._room:
            self._finished = self._closed = True
            left = [slot.item for slot in self._slots]
            self._slots.clear()
            self._room.notify()
            self._head.notify()
            return left

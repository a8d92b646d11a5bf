"""The packets of one call that are under way: bounded, and answered in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from mm_service.waiting import WouldBlock

T = TypeVar("T")


class WindowFinished(Exception):  # noqa: N818 - what happened, not a fault
    """The window takes no more items, or has none left to take out."""


@dataclass(frozen=True)
class WindowStatistics:
    """Items of a window.

    Attributes:
        under_way: those with a place, from their reservation to their release.
        waiting: of these, those that were put in and not taken out.
        ready: of these, those that may be taken out in their turn.
        finished: whether the window takes no more.
    """

    under_way: int
    waiting: int
    ready: int
    finished: bool


class Slot(Generic[T]):
    """An item's place in the window.

    Attributes:
        item: the item.
        ready: whether it may be taken out.
    """

    def __init__(self, item: T, *, ready: bool) -> None:
        """Made by `OrderedWindow.put`."""
        self.item = item
        self.ready = ready


class OrderedWindow(Generic[T]):
    """Keeps order, and bounds how many items are under way. Nothing here waits.

    An item is under way from its `reserve_nowait` until its `release`. What `accept` has said yes to is put in and
    taken out also after `finish`; `close` drops it. One item is out at a time.
    """

    def __init__(self, bound: int) -> None:
        """An open window.

        Args:
            bound: most items under way at once.
        """
        self._bound = self._free = bound
        # A reader that found no place goes on when a quarter is free: at thousands of items a second, waking it for
        # each one is most of the work.
        self._enough = max(1, bound // 4)
        self._slots: deque[Slot[T]] = deque()
        self._accepted = 0
        self._parked = False
        self._out = False
        self._finished = False
        self._closed = False
        self._said_finished = False
        self._lock = threading.Lock()

    def statistics(self) -> WindowStatistics:
        """What there is at this moment."""
        with self._lock:
            ready = sum(slot.ready for slot in self._slots)
            return WindowStatistics(self._bound - self._free, len(self._slots), ready, self._finished)

    def reserve_nowait(self) -> None:
        """Reserves a place for one item.

        Raises:
            WouldBlock: there is none; the `release` that returns True makes enough.
            WindowFinished: the window takes no more.
        """
        with self._lock:
            if self._finished:
                raise WindowFinished
            if not self._free:
                self._parked = True
                raise WouldBlock
            self._free -= 1

    def accept(self) -> bool:
        """Settles that the item of a `reserve_nowait` will be put in; False when the window is finished.

        Between this and `put`, or `withdraw`, the item is made, which may have effects: not for an item that is then
        refused.
        """
        with self._lock:
            if self._finished:
                return False
            self._accepted += 1
            return True

    def put(self, item: T, *, ready: bool) -> Slot[T] | None:
        """Adds the item that was accepted; None when the window was closed meanwhile.

        Args:
            item: the item.
            ready: whether it may be taken out; otherwise `settle` says when.
        """
        with self._lock:
            self._accepted -= 1
            if self._closed:
                return None
            slot = Slot(item, ready=ready)
            self._slots.append(slot)
            return slot

    def withdraw(self) -> None:
        """The item that was accepted could not be made."""
        with self._lock:
            self._accepted -= 1

    def settle(self, slot: Slot[T]) -> None:
        """The item may be taken out, when its turn has come."""
        with self._lock:
            slot.ready = True

    def take_nowait(self) -> T:
        """Takes out the next item, until its `release`.

        Raises:
            WouldBlock: one is out already, or the next is not ready. `put`, `settle`, `withdraw`, `release` and
                `finish` may change that.
            WindowFinished: nothing is left and nothing will come; said once, WouldBlock afterwards.
        """
        with self._lock:
            if self._out or self._said_finished:
                raise WouldBlock
            if self._slots:
                if not self._slots[0].ready:
                    raise WouldBlock
                self._out = True
                return self._slots.popleft().item
            if self._closed or (self._finished and not self._accepted):
                self._said_finished = True
                raise WindowFinished
            raise WouldBlock

    def items(self) -> list[T]:
        """Those that were not taken out yet."""
        with self._lock:
            return [slot.item for slot in self._slots]

    def release(self) -> bool:
        """The item that is out is done with; whether a reader that found no place may go on."""
        with self._lock:
            self._out = False
            self._free += 1
            go_on = self._parked and self._free >= self._enough
            self._parked = self._parked and not go_on
            return go_on

    def finish(self) -> None:
        """Takes no more items."""
        with self._lock:
            self._finished = True

    def close(self) -> list[T]:
        """Takes no more items and gives back those that were not taken out."""
        with self._lock:
            self._finished = self._closed = True
            left = [slot.item for slot in self._slots]
            self._slots.clear()
            return left

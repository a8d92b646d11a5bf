"""What is remembered of things that callers name: they choose how many there are, so that it has a bound."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class BoundedCacheStatistics:
    """How full a cache is.

    Attributes:
        entries: what it holds.
        most: what it may hold.
        evicted: entries that went so far to make room for others.
    """

    entries: int
    most: int
    evicted: int


class BoundedCache(Generic[K, V]):
    """Entries of which the one unused for longest goes when there is one too many.

    What an entry is worth, and for how long, is up to its user, and so is a lock.
    """

    def __init__(self, most: int) -> None:
        """Empty.

        Args:
            most: entries it may hold.
        """
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._evicted = 0

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, key: K) -> V | None:
        """An entry; does not count as a use of it."""
        return self._entries.get(key)

    def use(self, key: K) -> V | None:
        """An entry, which is the one used last from now on."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Adds or replaces an entry, which is the one used last from now on."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
            self._evicted += 1

    def values(self) -> list[V]:
        """All entries; does not count as a use of them."""
        return list(self._entries.values())

    def discard(self, key: K) -> None:
        """Takes an entry out, if there is one."""
        self._entries.pop(key, None)

    def statistics(self) -> BoundedCacheStatistics:
        """How full it is."""
        return BoundedCacheStatistics(len(self._entries), self._most, self._evicted)

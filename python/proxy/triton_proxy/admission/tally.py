"""What principals have under way in all worker processes of a proxy, in memory that these share.

A row for each principal that has a call open: a digest of its name, then for each worker the calls and packets that it
has under way of it. A worker writes its own numbers only, so that those of one that died can be set to zero; whoever
compares and then writes holds the lock, which the kernel takes back from a process that dies.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from contextlib import AbstractContextManager
from typing import Protocol

from mm_service.file_lock import FileLock

_KEY_BYTES = 16
# Rows among which a principal's may be: with an eighth of them in use, 64 are never all taken but by an attack on the
# digest.
_BUCKET = 64
_SHARE_IN_USE = 8
_FREE = bytes(_KEY_BYTES)
_NUMBERS = 2


class Place(Protocol):
    """One principal's numbers; to be looked at and changed under the lock."""

    def others(self) -> tuple[int, int]:
        """Calls and packets that the other workers have under way."""

    def note(self, calls: int, in_flight: int) -> None:
        """Says what this worker has under way.

        Args:
            calls: calls.
            in_flight: packets.
        """


class Tally(Protocol):
    """Knows what the other workers have under way.

    Attributes:
        lock: of all workers and threads.
    """

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Of all workers and threads."""

    def place(self, principal: str) -> Place | None:
        """The principal's numbers, for as long as this worker notes a call; None where there is no room for them.

        Args:
            principal: the principal's name.
        """


class NoOthers:
    """Of a proxy with one process."""

    def __init__(self) -> None:
        """There is no other."""
        self.lock = threading.Lock()

    def place(self, principal: str) -> Place | None:
        """See `Tally`."""
        return self

    def others(self) -> tuple[int, int]:
        """See `Place`."""
        return 0, 0

    def note(self, calls: int, in_flight: int) -> None:
        """See `Place`."""


class SharedTally:
    """The table, as one process sees it.

    Attributes:
        lock: see `Tally`.
        fd: the memory; open in this process until its end, once: to close another one would open the lock.
    """

    def __init__(self, fd: int, *, calls: int, workers: int, worker: int = 0) -> None:
        """Opens the table.

        Args:
            fd: as `file_lock.memory_file` made it.
            calls: calls that are open at once, in all; the same in each process.
            workers: processes that have numbers; the same in each process.
            worker: which of them this is, from 0.
        """
        self.fd = fd
        self.lock = FileLock(fd)
        self._workers = workers
        self._worker = worker
        self._buckets = -(-calls * _SHARE_IN_USE // _BUCKET)
        rows = self._buckets * _BUCKET
        size = rows * (_KEY_BYTES + 4 * _NUMBERS * workers)
        os.ftruncate(fd, size)
        self._memory = mmap.mmap(fd, size)
        self._numbers = memoryview(self._memory)[rows * _KEY_BYTES :].cast("I")

    def place(self, principal: str) -> Place | None:
        """See `Tally`."""
        key = hashlib.blake2b(principal.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        first = int.from_bytes(key[:8], "little") % self._buckets * _BUCKET
        keys = self._memory[first * _KEY_BYTES : (first + _BUCKET) * _KEY_BYTES]
        free: int | None = None
        for index in range(_BUCKET):
            found = keys[index * _KEY_BYTES : (index + 1) * _KEY_BYTES]
            if found == key:
                return _Row(self._numbers, first + index, self._workers, self._worker)
            if free is None and (found == _FREE or not any(self._row(first + index))):
                free = first + index
            if found == _FREE:
                break
        if free is None:
            return None
        self._memory[free * _KEY_BYTES : (free + 1) * _KEY_BYTES] = key
        return _Row(self._numbers, free, self._workers, self._worker)

    def forget(self, worker: int) -> None:
        """A worker has ended, and nothing of it is under way any more.

        Args:
            worker: which one.
        """
        with self.lock:
            for row in range(self._buckets * _BUCKET):
                self._row(row)[worker * _NUMBERS : (worker + 1) * _NUMBERS] = memoryview(bytes(4 * _NUMBERS)).cast("I")

    def _row(self, row: int) -> memoryview:
        width = self._workers * _NUMBERS
        return self._numbers[row * width : (row + 1) * width]


class _Row:
    def __init__(self, numbers: memoryview, row: int, workers: int, worker: int) -> None:
        width = workers * _NUMBERS
        self._numbers = numbers[row * width : (row + 1) * width]
        self._own = worker * _NUMBERS

    def others(self) -> tuple[int, int]:
        numbers, own = self._numbers, self._own
        return sum(numbers[::_NUMBERS]) - numbers[own], sum(numbers[1::_NUMBERS]) - numbers[own + 1]

    def note(self, calls: int, in_flight: int) -> None:
        self._numbers[self._own] = calls
        self._numbers[self._own + 1] = in_flight

"""Values that are made of files and follow them: policies, certificates, authorities."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Contents = tuple[bytes, ...]

# A Secret's files are swapped together, but read one after the other.
_MOST_READINGS = 5
# By what a changed file is known. A ConfigMap's file is a link to another file after each change.
_Mark = tuple[int, int, int, int, int]
# Two changes within a tick of the file system's clock leave one mark: a file that changed so lately is read again.
_TICK_NS = 1_000_000_000


@dataclass(frozen=True)
class WatchedFileStatistics:
    """What became of the changes of files.

    Attributes:
        changes: times that new contents came into use.
        failures: times that contents could not be used, each once.
        stale: whether the files do not hold what is in use.
    """

    changes: int
    failures: int
    stale: bool


class WatchedFile(Generic[T]):
    """A value made of one file, or of several that change together; looking at them again is up to its user.

    New contents that can't be used change nothing, nor does a file's disappearance: the value of before stays, and
    its user hears of it once.
    """

    def __init__(
        self,
        paths: Sequence[str],
        read: Callable[[], Contents],
        make: Callable[[Contents], T],
        *,
        error: type[Exception],
        changed: Callable[[T], None],
        failed: Callable[[str], None],
        look_every_secs: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the files.

        Args:
            paths: of the files.
            read: returns their contents; raises `error` where it can't.
            make: makes the value; raises `error` where the contents can't be used.
            error: an exception made of its text, which quotes nothing secret.
            changed: hears of each new value, once it is in use.
            failed: hears, once, why files that changed can't be used.
            look_every_secs: `look` looks at the files no more often than this.
            clock: the time in seconds.

        Raises:
            Exception: `error`, where the files can't be used.
        """
        self._paths = tuple(path for path in paths if path)
        self._read, self._make, self._error = read, make, error
        self._heard_changed, self._heard_failed = changed, failed
        self._every_secs = look_every_secs
        self._clock = clock
        self._looking = threading.Lock()
        self._next_look = clock() + look_every_secs
        self._changes = self._failures = 0
        self._failure = ""
        self._marks, self._seen = self._read_settled()
        self._current = make(self._seen)
        self._used = self._seen
        # Why the contents seen last can't be used. The text alone: an exception leads to what is secret in them.
        self._unusable = ""

    @property
    def current(self) -> T:
        """The value as of the last look; does not look."""
        return self._current

    @property
    def due(self) -> bool:
        """Whether `look` would look at the files, which may take its time."""
        return self._clock() >= self._next_look and not self._looking.locked()

    def look(self) -> bool:
        """Looks at the files where that is due and no other thread does so; whether that brought a new value."""
        if self._clock() < self._next_look or not self._looking.acquire(blocking=False):
            return False
        try:
            self._next_look = self._clock() + self._every_secs
            return self._look()
        finally:
            self._looking.release()

    def statistics(self) -> WatchedFileStatistics:
        """What became of the changes so far."""
        return WatchedFileStatistics(self._changes, self._failures, bool(self._failure))

    def _look(self) -> bool:
        marks = self._stat()
        if marks is not None and marks == self._marks:
            return False
        changed = False
        self._marks = None
        try:
            self._marks, contents = self._read_settled()
            if contents != self._seen:
                changed = self._judge(contents)
            if self._unusable:
                raise self._error(self._unusable)
        except self._error as error:
            self._fail(str(error))
            return False
        self._failure = ""
        if changed:
            self._changes += 1
            self._heard_changed(self._current)
        return changed

    def _judge(self, contents: Contents) -> bool:
        """Whether the contents are new and in use from now on."""
        self._seen, self._unusable = contents, ""
        if contents == self._used:
            return False
        try:
            self._current = self._make(contents)
        except self._error as error:
            self._unusable = str(error)
            return False
        self._used = contents
        return True

    def _fail(self, text: str) -> None:
        if text != self._failure:
            self._failure = text
            self._failures += 1
            self._heard_failed(text)

    def _read_settled(self) -> tuple[tuple[_Mark, ...] | None, Contents]:
        """The files' contents at one moment, and their marks; None where those do not tell whether they change."""
        for _ in range(_MOST_READINGS):
            # Before reading: what is written meanwhile makes another mark.
            before = self._stat()
            contents = self._read()
            after = self._stat()
            if before is not None and before == after:
                newest = max((max(mark[3:]) for mark in before), default=0)
                return (before if time.time_ns() - newest > _TICK_NS else None), contents
        raise self._error(f"{', '.join(self._paths)} changed while they were read")

    def _stat(self) -> tuple[_Mark, ...] | None:
        try:
            found = [os.stat(path) for path in self._paths]
        except OSError:
            return None
        return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found)

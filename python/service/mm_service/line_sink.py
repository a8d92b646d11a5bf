"""Writing lines that are worth keeping, without ever holding up a thread that has one."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)
_STDOUT = 1
_EVERY_SECS = 0.1
_MOST_WAITING_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class LineSinkStatistics:
    """What became of the lines.

    Attributes:
        waiting: lines that wait for their turn.
        waiting_bytes: their bytes.
        written: lines that were written.
        dropped: lines that were not, and will not be.
    """

    waiting: int
    waiting_bytes: int
    written: int
    dropped: int


class LineSink:
    """Lines on their way to a file descriptor, through one thread.

    A reader that is slow or gone costs lines, which are counted, and never the time of a thread that adds one.
    """

    def __init__(self, name: str, fd: int = _STDOUT, most_waiting_bytes: int = _MOST_WAITING_BYTES) -> None:
        """Starts the thread.

        Args:
            name: of the lines and of the thread, as the log shall call them.
            fd: where the lines go, standard output by default; stays the caller's to close.
            most_waiting_bytes: bytes of lines that may wait for their turn; lines beyond are dropped.
        """
        self._name = name
        self._fd = fd
        self._most_waiting_bytes = most_waiting_bytes
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._closed = False
        self._written = self._dropped = 0
        self._thread = threading.Thread(target=self._write_all, name=name, daemon=True)
        self._thread.start()

    def statistics(self) -> LineSinkStatistics:
        """What became of the lines so far."""
        with self._changed:
            return LineSinkStatistics(len(self._lines), self._waiting_bytes, self._written, self._dropped)

    def add(self, line: bytes) -> None:
        """Adds a line, with its end; returns at once."""
        with self._changed:
            if self._closed or self._waiting_bytes + len(line) > self._most_waiting_bytes:
                self._drop()
            else:
                self._waiting_bytes += len(line)
                self._lines.append(line)

    def close(self, longest_secs: float) -> None:
        """Writes what waits and ends.

        Args:
            longest_secs: how long to wait for that; what is not written then counts as dropped.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(longest_secs)
        with self._changed:
            self._dropped += len(self._lines)
            self._lines.clear()
            self._waiting_bytes = 0
            if self._dropped:
                _LOG.error("%s: %d lines in all could not be written", self._name, self._dropped)

    def _write_all(self) -> None:
        closed = False
        while not closed:
            with self._changed:
                # Not woken by each line: a thread that wakes takes the interpreter from a call that is being answered.
                closed = self._changed.wait_for(lambda: self._closed, _EVERY_SECS)
            while (line := self._next()) is not None:
                self._write(line)

    def _next(self) -> bytes | None:
        with self._changed:
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._waiting_bytes -= len(line)
            return line

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError:
            with self._changed:
                self._drop()
        else:
            with self._changed:
                self._written += 1

    def _drop(self) -> None:
        self._dropped += 1
        if self._dropped == 1:
            _LOG.error("%s: lines are being dropped; their reader is slow or gone", self._name)

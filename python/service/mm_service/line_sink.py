"""Writing lines that are worth keeping, without ever holding up a thread that has one."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from dataclasses import dataclass

from mm_service.file_lock import FileLock

_LOG = logging.getLogger(__name__)
_STDOUT = 1
_EVERY_SECS = 0.1
_AT_ONCE_BYTES = 64 * 1024
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

    def __init__(
        self,
        name: str,
        fd: int = _STDOUT,
        most_waiting_bytes: int = _MOST_WAITING_BYTES,
        *,
        shared: FileLock | None = None,
    ) -> None:
        """Starts the thread.

        Args:
            name: of the lines and of the thread, as the log shall call them.
            fd: where the lines go, standard output by default; stays the caller's to close.
            most_waiting_bytes: bytes of lines that may wait for their turn; lines beyond are dropped.
            shared: where other processes write to the descriptor, too, the lock of all: each line stays in one piece.
        """
        self._name = name
        self._fd = fd
        self._most_waiting_bytes = most_waiting_bytes
        self._turn = contextlib.nullcontext() if shared is None else shared
        # Of a pipe, what is no longer is written as one, and no process that dies leaves half a line (pipe(7)).
        self._at_once_bytes = _AT_ONCE_BYTES if shared is None else select.PIPE_BUF
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
            while lines := self._next():
                self._write(lines)

    def _next(self) -> list[bytes]:
        """The lines that are written next, in one call of the system: that costs more than a line does."""
        with self._changed:
            lines: list[bytes] = []
            size = 0
            while self._lines and (not lines or size + len(self._lines[0]) <= self._at_once_bytes):
                lines.append(self._lines.popleft())
                size += len(lines[-1])
            self._waiting_bytes -= size
            return lines

    def _write(self, lines: list[bytes]) -> None:
        left = b"".join(lines)
        try:
            with self._turn:
                while left:
                    left = left[os.write(self._fd, left) :]
        except OSError:
            # The line that was cut off is lost, too.
            lost, bytes_lost = 0, 0
            while bytes_lost < len(left):
                lost += 1
                bytes_lost += len(lines[-lost])
            with self._changed:
                self._written += len(lines) - lost
                self._drop(lost)
        else:
            with self._changed:
                self._written += len(lines)

    def _drop(self, lines: int = 1) -> None:
        first = not self._dropped
        self._dropped += lines
        if first:
            _LOG.error("%s: lines are being dropped; their reader is slow or gone", self._name)

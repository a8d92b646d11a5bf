"""A lock between processes, which the kernel takes back from one that dies."""

from __future__ import annotations

import fcntl
import os
import threading


class FileLock:
    """Excludes other threads, then other processes that have the same file."""

    def __init__(self, fd: int) -> None:
        """Takes nothing yet.

        Args:
            fd: of the file, such as `memory_file` made it. It has to stay open, and no other descriptor of that file
                may be closed in this process meanwhile: that would open the lock (fcntl(2)).
        """
        self._fd = fd
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        self._threads.acquire()
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)
        self._threads.release()


def memory_file(name: str) -> int:
    """A descriptor of a file that is in memory only and in no folder, to be handed to other processes.

    Args:
        name: what `/proc/PID/fd` shows.
    """
    return os.memfd_create(name, os.MFD_CLOEXEC)

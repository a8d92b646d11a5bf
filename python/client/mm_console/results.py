"""What runs have left to be looked at and downloaded: the latest few, in a folder that goes with the process."""

from __future__ import annotations

import secrets
import shutil
import threading
from pathlib import Path

from mm_console.problems import Problem

_KEPT = 20


class Result:
    """The files of one run.

    Attributes:
        name: cannot be guessed.
        folder: where they are.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def write(self, name: str, data: bytes) -> str:
        """Keep a file; returns its address, relative to any page."""
        (self.folder / name).write_bytes(data)
        return self.address(name)

    def address(self, name: str) -> str:
        """The address of a file, relative to any page."""
        return f"file?result={self.name}&name={name}"


class Results:
    """The latest results; older ones are deleted.

    Args:
        folder: an empty folder of the console's own.
        kept: how many.
    """

    def __init__(self, folder: Path, kept: int = _KEPT) -> None:
        self._folder = folder
        self._kept = kept
        self._latest: list[Result] = []
        self._lock = threading.Lock()

    def new(self) -> Result:
        """Begin the result of another run; the oldest goes where there are too many."""
        name = secrets.token_urlsafe(16)
        result = Result(name, self._folder / name)
        result.folder.mkdir()
        with self._lock:
            self._latest.append(result)
            dropped, self._latest = self._latest[: -self._kept], self._latest[-self._kept :]
        for old in dropped:
            shutil.rmtree(old.folder, ignore_errors=True)
        return result

    def find(self, result: str, name: str) -> Path:
        """Return a file.

        Raises:
            Problem: there is none, or no longer.
        """
        with self._lock:
            found = next((each for each in self._latest if each.name == result), None)
        if found is not None:
            for path in found.folder.iterdir():
                if path.name == name and path.is_file():
                    return path
        raise Problem(
            "There is no such file.",
            f"A file of one of the latest {self._kept} results.",
            "Run it again.",
            404,
        )

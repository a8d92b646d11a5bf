"""What somebody who waits is told: a line for each step, and a bar for what takes long on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

from mm_publisher.errors import without_secrets
from mm_publisher.storage import OnBytes


class Progress:
    """Writes to standard error.

    Args:
        prefix: what each line begins with.
        out: where to.
    """

    def __init__(self, prefix: str = "mm-publish: ", out: TextIO | None = None) -> None:
        self._prefix = prefix
        self._out = out

    def say(self, text: str) -> None:
        """Writes a line."""
        tqdm.write(f"{self._prefix}{without_secrets(text)}", file=self._stream)

    @contextlib.contextmanager
    def transfer(self, what: str, size: int) -> Iterator[OnBytes]:
        """Shows how far a transfer is: a line, and on a terminal a bar.

        Args:
            what: is done.
            size: bytes in all.

        Yields:
            Takes the number of bytes that were transferred since it was last called.
        """
        self.say(what)
        # None: only where somebody can see it.
        with tqdm(total=size, unit="B", unit_scale=True, file=self._stream, disable=None, leave=False) as bar:
            yield bar.update

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._out is None else self._out


class Silent(Progress):
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def transfer(self, what: str, size: int) -> Iterator[OnBytes]:
        """See `Progress.transfer`."""
        yield lambda _: None

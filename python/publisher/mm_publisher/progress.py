"""What a waiting user reads: a line for each step, and for what takes long a bar, or lines where none can be drawn."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

from mm_publisher.errors import without_secrets
from mm_publisher.report import size_text
from mm_publisher.storage import OnBytes

_EVERY_SECS = 15.0


class Progress:
    """Writes to standard error.

    Args:
        prefix: what each line begins with.
        out: where to.
        every_secs: how often to say how far a transfer is, where no bar is: in a Job's log.
    """

    def __init__(
        self, prefix: str = "mm-publish: ", out: TextIO | None = None, every_secs: float = _EVERY_SECS
    ) -> None:
        self._prefix = prefix
        self._out = out
        self._every_secs = every_secs

    def say(self, text: str) -> None:
        """Writes a line."""
        tqdm.write(f"{self._prefix}{without_secrets(text)}", file=self._stream)

    @contextlib.contextmanager
    def transfer(self, what: str, size: int) -> Iterator[OnBytes]:
        """Shows how far a transfer is: a line, then a bar in a terminal or notebook, and elsewhere a line now and then.

        Args:
            what: is done.
            size: bytes in all.

        Yields:
            Takes the number of bytes that were transferred since it was last called, from any thread.
        """
        self.say(what)
        if not _redraws(self._stream):
            yield self._lines(size)
            return
        with tqdm(total=size, unit="B", unit_scale=True, file=self._stream, leave=False) as bar:
            yield bar.update

    def _lines(self, size: int) -> OnBytes:
        counting = threading.Lock()
        done, said_at = 0, time.monotonic()

        def on_bytes(count: int) -> None:
            nonlocal done, said_at
            with counting:
                done += count
                if done < size and time.monotonic() - said_at >= self._every_secs:
                    said_at = time.monotonic()
                    self.say(f"{size_text(done)} of {size_text(size)}")

        return on_bytes

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


def _redraws(stream: TextIO) -> bool:
    """Whether a line can be written over: in a terminal, and in a notebook, whose streams are ipykernel's."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel.")

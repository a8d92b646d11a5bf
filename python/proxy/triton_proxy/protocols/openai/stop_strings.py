"""A model's text as it comes, in pieces that end anywhere, up to the first stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class StoppedText:
    """Text from the bytes of a model's outputs. What may yet become a stop string, or a character, is held back.

    Attributes:
        stopped: whether a stop string has come; nothing follows it.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """Nothing has come.

        Args:
            stops: texts, none of them empty, that end the text; the one that is complete first does.
        """
        self.stopped = False
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Takes the next bytes, UTF-8 that may end within a character.

        Returns:
            What the text goes on with, as far as that is settled.
        """
        return self._take(self._decoder.decode(data))

    def end(self) -> str:
        """What was held back: nothing follows."""
        text = self._take(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _take(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [
            (at + len(stop), at) for stop, at in ((stop, self._held.find(stop)) for stop in self._stops) if at >= 0
        ]
        if found:
            self.stopped = True
            _, at = min(found)
            settled, self._held = self._held[:at], ""
            return settled
        kept = next(
            (size for size in range(min(self._longest - 1, len(self._held)), 0, -1) if self._begins(size)),
            0,
        )
        settled = self._held[: len(self._held) - kept]
        self._held = self._held[len(settled) :]
        return settled

    def _begins(self, size: int) -> bool:
        """Whether the last so many characters begin a stop string."""
        end = self._held[-size:]
        return any(stop.startswith(end) for stop in self._stops)

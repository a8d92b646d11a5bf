"""Logs that go on: of what is read again and again, only what is new."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TIMED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ?(.*)", re.DOTALL)


@dataclass
class NewLines:
    """Picks the new lines of one log, each of which begins with its time (RFC 3339, as kubelet writes it).

    Several lines may have one time: how many of the last time were seen is remembered, not only the time.
    """

    last: str = ""
    seen: int = 0
    remark: str = ""

    def of(self, text: str) -> list[str]:
        """The lines that were in no text before, without their times.

        Args:
            text: what was read; it goes back at least to the last line that was seen, or begins after it.
        """
        found: list[str] = []
        to_skip = self.seen
        for line in text.splitlines():
            timed = _TIMED.fullmatch(line)
            if timed is None:
                # Why there is no log: once.
                if line != self.remark:
                    self.remark = line
                    found.append(line)
                continue
            when, words = timed.groups()
            if when < self.last:
                continue
            if when == self.last and to_skip:
                to_skip -= 1
                continue
            self.seen = self.seen + 1 if when == self.last else 1
            self.last = when
            found.append(words)
        return found

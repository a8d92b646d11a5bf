"""Wildcards of policies: `*` in names and versions, `*` and `**` in paths of groups.

Both match in time bounded by the product of the lengths: no pattern makes a name from outside expensive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

P = TypeVar("P")
V = TypeVar("V")


@dataclass(frozen=True)
class NameGlob:
    """A name in which `*` stands for any characters, also none; every other character for itself, in its case.

    Attributes:
        text: the pattern as written.
    """

    text: str

    @property
    def wild(self) -> bool:
        """Whether it holds a `*`."""
        return "*" in self.text

    def matches(self, name: str) -> bool:
        """Whether the name fits, from its first to its last character."""
        if not self.wild:
            return self.text == name
        return _matches(self.text, name, "*", str.__eq__)


@dataclass(frozen=True)
class PathGlob:
    """A path, such as /organizations/acme/ml, in which `*` matches within a segment.

    `**` is a segment of its own and stands for one or more segments, so that /organizations/acme/** holds for the
    groups below acme and not for acme itself.

    Attributes:
        text: the pattern as written.
    """

    text: str
    _segments: tuple[NameGlob, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Takes the pattern apart."""
        segments: list[NameGlob] = []
        for segment in self.text.split("/"):
            segments += [NameGlob("*"), _SEGMENTS] if segment == _SEGMENTS.text else [NameGlob(segment)]
        object.__setattr__(self, "_segments", tuple(segments))

    def matches(self, path: str) -> bool:
        """Whether the path fits, from its first to its last part."""
        return _matches(self._segments, path.split("/"), _SEGMENTS, NameGlob.matches)


_SEGMENTS = NameGlob("**")


def _matches(pattern: Sequence[P], value: Sequence[V], many: P, one: Callable[[P, V], bool]) -> bool:
    """Greedy matching; a mismatch goes back to the last `many` only, which is enough and keeps it cheap."""
    at = place = 0
    last_many = resume = -1
    while place < len(value):
        if at < len(pattern) and pattern[at] == many:
            last_many, resume = at, place
            at += 1
        elif at < len(pattern) and one(pattern[at], value[place]):
            at += 1
            place += 1
        elif last_many >= 0:
            resume += 1
            at, place = last_many + 1, resume
        else:
            return False
    return all(part == many for part in pattern[at:])

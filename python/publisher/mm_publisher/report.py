"""What came of a command, for people, notebooks and programs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from mm_client_api.html import table

Action = Literal["published", "already serving", "planned", "rolled back to"]


@dataclass(frozen=True)
class PublishReport:
    """What `publish` or `rollback` did.

    Attributes:
        action: "published"; "already serving", where nothing had to be changed; "planned", where nothing was to be
            changed; "rolled back to".
        model: the model's name.
        version: the version that serves now, or would.
        source: where it came from.
        target: the repository.
        serving: all versions that serve now, or would, sorted.
        was_serving: all that served before, sorted.
        files: paths of the version's files below its folder.
        size: of them together, in bytes.
        config: the text of config.pbtxt.
        notes: what was found out on the way.
        seen: how the version was seen to serve.
        seconds: how long it took.
    """

    action: Action
    model: str
    version: int
    source: str
    target: str
    serving: tuple[int, ...]
    was_serving: tuple[int, ...]
    files: tuple[str, ...]
    size: int
    config: str
    notes: tuple[str, ...]
    seen: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return "\n".join([self._title, *(f"  {name:<8} {text}" for name, text in self._rows)])

    def _repr_html_(self) -> str:
        return table(("", ""), self._rows, [self._title])

    @property
    def _title(self) -> str:
        return f"{self.action} {self.model} version {self.version}"

    @property
    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("from", self.source),
            ("to", f"{self.target}/{self.model}/{self.version}"),
            ("files", f"{', '.join(self.files)} ({size_text(self.size)})"),
            ("serving", f"{versions_text(self.serving)} (before: {versions_text(self.was_serving)})"),
            *(("note", note) for note in self.notes),
            *([("seen", self.seen)] if self.seen else []),
            ("took", f"{self.seconds:.1f} s"),
        ]


def size_text(size: int) -> str:
    """A number of bytes, for people."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    value = size / 1000
    for unit in ("KB", "MB"):
        # Rounded, so that nothing is 1000.0 of a unit that has a larger one.
        if round(value, 1) < 1000:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def versions_text(versions: tuple[int, ...] | list[int]) -> str:
    """Versions, for people."""
    return ", ".join(map(str, versions)) or "none"

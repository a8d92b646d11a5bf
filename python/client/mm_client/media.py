"""What a run takes: the frames of a video or the pictures of a folder, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mm_client.letterbox import Image


class MediaError(Exception):
    """A video or picture cannot be read or written; the text says which and why."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video, or one picture.

    Attributes:
        image: `[height, width, 3]`, BGR.
        ts_ms: its time from the beginning, in milliseconds.
        file: a picture's path; None for a frame of a video.
    """

    image: Image
    ts_ms: float
    file: Path | None = None


@dataclass(frozen=True)
class Unreadable:
    """A picture that cannot be decoded; the others go on.

    Attributes:
        file: its path.
        ts_ms: its time from the beginning, in milliseconds.
        reason: why, for people.
    """

    file: Path
    ts_ms: float
    reason: str


class Source(Protocol):
    """Where frames come from.

    Attributes:
        fps: frames per second.
        frame_count: how many it says it has; 0 where that is not known.
        missing: how many of them did not come, known at the end.
        left_out: names of files of a folder that are no pictures.
    """

    fps: float
    frame_count: int
    missing: int
    left_out: tuple[str, ...]

    def frames(self, limit: int = 0) -> Iterator[Frame | Unreadable]:
        """Yield the frames in their order; at most `limit` of them, where it is not 0.

        Raises:
            MediaError: there is not a single one.
        """

    def close(self) -> None:
        """Let go of the file; a reader finds its end."""

"""Where a model repository lies: one small interface, a folder or an S3 prefix behind it.

S3 has neither a rename nor a folder that appears at once, so the interface has neither; what it can do on both is to
replace one small file at once, and only if it is still what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

OnBytes = Callable[[int], object]


@dataclass(frozen=True)
class Item:
    """One file.

    Attributes:
        path: from the repository's root, with "/".
        size: in bytes.
        modified_ns: when it was last written, in nanoseconds since 1970 by the store's clock; S3 knows seconds only.
        plain: whether it is a file; False for a link, a pipe or the like, which nothing here follows or reads.
    """

    path: str
    size: int
    modified_ns: int
    plain: bool = True


class Storage(Protocol):
    """A model repository's files. All paths are relative to its root.

    Every method raises `errors.Unavailable` where the store fails or refuses, and `errors.Refused` where a link, or
    something else that is neither a folder nor a file, is on the way.
    """

    @property
    def url(self) -> str:
        """What the user calls it, without credentials."""

    def list(self, prefix: str) -> list[Item]:
        """The files whose path begins with `prefix`, sorted by path; "" lists all."""

    def read(self, path: str) -> bytes | None:
        """The content of a small file; None where there is none."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of a file of any size, in parts, as the store gives it back now."""

    def create(self, path: str, source: Path, on_bytes: OnBytes, confirm: Callable[[], None]) -> bool:
        """Writes a new file of any size, which appears complete.

        Args:
            path: where to.
            source: a local file.
            on_bytes: gets how many bytes more are on their way.
            confirm: is called when all is on the store's side and nothing of it is seen yet; what it raises is the end.
                Where it finds that this process holds the model's lease, the file appears before somebody else has
                taken the lease and called `fence`, or not at all.

        Returns:
            Whether it was written; False where something is there, or somebody else called `fence` meanwhile.
        """

    def write(self, path: str, data: bytes) -> None:
        """Writes a small file, which appears complete, over whatever is there."""

    def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
        """Replaces a small file if it is still what it was.

        Args:
            path: of the file.
            data: its new content.
            was: the content that is expected; None where there must be no such file.
            newer_than_ns: the new file's modification time must be later.

        Returns:
            Whether it was replaced; False where something else is there.
        """

    def delete(self, path: str) -> None:
        """Removes a file, and folders that it leaves empty; none there is fine."""

    def age_secs(self, path: str) -> float | None:
        """How long ago a file was written, by the store's clock on both sides; None where there is none."""

    def newest_ns(self, prefix: str) -> int:
        """The latest modification time below `prefix`, as Triton's poll sees it; 0 where nothing is there."""

    def free_bytes(self) -> int | None:
        """Bytes that are free; None where there is no such limit."""

    def fence(self) -> None:
        """Makes the writes that other processes have begun for the same owner fail, and removes what there is of them.

        To be called by a publisher that has just taken the lease, before it looks at anything.
        """

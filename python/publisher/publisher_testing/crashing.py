"""A store that fails, or whose user is killed, at a chosen moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mm_publisher.storage import Item, OnBytes, Storage

_T = TypeVar("_T")


class Killed(BaseException):
    """SIGKILL, as far as it can be raised: nothing that catches errors catches it."""


class Crashing:
    """`Storage` that counts what changes it, and raises an error in the place of one of these, or right after it.

    After `Killed` it does nothing more, as a dead process would.

    Args:
        storage: the real one.
        at: number of the change, from 0; None never.
        after: whether that change still happens.
        error: what is raised.
    """

    def __init__(
        self, storage: Storage, at: int | None = None, *, after: bool = False, error: type[BaseException] = Killed
    ) -> None:
        self._storage = storage
        self._at = at
        self._after = after
        self._error = error
        self._dead = False
        self.changes = 0

    @property
    def url(self) -> str:
        """See `Storage.url`."""
        return self._storage.url

    def list(self, prefix: str) -> list[Item]:
        """See `Storage.list`."""
        return self._read(lambda: self._storage.list(prefix))

    def read(self, path: str) -> bytes | None:
        """See `Storage.read`."""
        return self._read(lambda: self._storage.read(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `Storage.chunks`."""
        return self._read(lambda: self._storage.chunks(path))

    def age_secs(self, path: str) -> float | None:
        """See `Storage.age_secs`."""
        return self._read(lambda: self._storage.age_secs(path))

    def newest_ns(self, prefix: str) -> int:
        """See `Storage.newest_ns`."""
        return self._read(lambda: self._storage.newest_ns(prefix))

    def free_bytes(self) -> int | None:
        """See `Storage.free_bytes`."""
        return self._read(self._storage.free_bytes)

    def create(self, path: str, source: Path, on_bytes: OnBytes, confirm: Callable[[], None]) -> bool:
        """See `Storage.create`."""
        return self._change(lambda: self._storage.create(path, source, on_bytes, confirm))

    def write(self, path: str, data: bytes) -> None:
        """See `Storage.write`."""
        self._change(lambda: self._storage.write(path, data))

    def swap(self, path: str, data: bytes, **conditions: Any) -> bool:
        """See `Storage.swap`."""
        return self._change(lambda: self._storage.swap(path, data, **conditions))

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        self._change(lambda: self._storage.delete(path))

    def fence(self) -> None:
        """See `Storage.fence`."""
        self._change(self._storage.fence)

    def _read(self, call: Callable[[], _T]) -> _T:
        if self._dead:
            raise Killed
        return call()

    def _change(self, call: Callable[[], _T]) -> _T:
        if self._dead:
            raise Killed
        number, self.changes = self.changes, self.changes + 1
        if number != self._at:
            return call()
        if self._after:
            call()
        self._dead = self._error is Killed
        raise self._error("the store failed")

"""A model repository in a folder: local, NFS or EFS, or a mount of an External Data Volume."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mm_publisher.errors import Unavailable, UsageError
from mm_publisher.storage import Item, OnBytes

_CHUNK = 1 << 20
_SECOND = 1_000_000_000
# A file at the root: Triton looks at the root's folders only.
_SCRATCH = ".mm-publish.scratch"
# What a mount of S3 answers to rename and link. It shows a file whole when it is closed, so that none is needed.
_NO_RENAME = frozenset({errno.ENOSYS, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO})


class Folder:
    """`Storage` in a folder.

    Args:
        path: the repository's root; it must be there, so that a volume that is not mounted is noticed.
        owner: what scratch files are named after, so that whoever publishes the same model may remove those of one that
            was killed.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, path: Path, owner: str) -> None:
        if not path.is_dir():
            raise UsageError(
                f"the target {path} is not a folder; expected the root of a model repository. If it is a volume, "
                "check that it is mounted; a new repository needs `mkdir` first"
            )
        self._root = path.absolute()
        self._owner = owner
        self._renames: bool | None = None

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self._root)

    def list(self, prefix: str) -> list[Item]:
        """See `Storage.list`; links are followed, as Triton does."""
        folder, _, beginning = prefix.rpartition("/")
        with self._failing(f"list {prefix or 'the root'}"):
            return sorted(self._walk(self._root / folder, beginning), key=lambda item: item.path)

    def _walk(self, folder: Path, beginning: str) -> Iterator[Item]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if not entry.name.startswith(beginning):
                continue
            if entry.is_dir():
                yield from self._walk(Path(entry.path), "")
                continue
            # Somebody may remove a file while others are listed.
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                yield Item(Path(entry.path).relative_to(self._root).as_posix(), stat.st_size, stat.st_mtime_ns)

    def read(self, path: str) -> bytes | None:
        """See `Storage.read`."""
        with self._failing(f"read {path}"):
            try:
                return (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `Storage.chunks`."""
        with self._failing(f"read {path}"), (self._root / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def upload(self, path: str, source: Path, on_bytes: OnBytes) -> None:
        """See `Storage.upload`."""
        with self._failing(f"write {path}"), source.open("rb") as file:

            def fill(target: BinaryIO) -> None:
                while chunk := file.read(_CHUNK):
                    target.write(chunk)
                    on_bytes(len(chunk))

            self._place(path, fill)

    def write(self, path: str, data: bytes) -> None:
        """See `Storage.write`."""
        with self._failing(f"write {path}"):
            self._place(path, lambda target: target.write(data))

    def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
        """See `Storage.swap`.

        A folder compares and replaces in two steps: what keeps two publishers apart is the lease. Only where `was` is
        None the file system itself sees to it that one of two wins.
        """
        with self._failing(f"write {path}"):
            if was is None:
                return self._create(path, data, newer_than_ns)
            if self.read(path) != was:
                return False
            self._place(path, lambda target: target.write(data), newer_than_ns)
            return True

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        with self._failing(f"remove {path}"):
            target = self._root / path
            target.unlink(missing_ok=True)
            for parent in target.parents:
                if parent == self._root:
                    return
                try:
                    parent.rmdir()
                except OSError:
                    return

    def age_secs(self, path: str) -> float | None:
        """See `Storage.age_secs`."""
        with self._failing(f"look at {path}"):
            try:
                written_ns = (self._root / path).stat().st_mtime_ns
            except FileNotFoundError:
                return None
            # A file server's clock may differ from this machine's.
            with self._scratch(lambda _: None) as scratch:
                return (scratch.stat().st_mtime_ns - written_ns) / _SECOND

    def newest_ns(self, prefix: str) -> int:
        """See `Storage.newest_ns`; Triton counts the folders' own times, too."""
        with self._failing(f"look at {prefix}"):
            top = self._root / prefix
            paths = [top, *top.rglob("*")] if top.exists() else []
            return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)

    def free_bytes(self) -> int | None:
        """See `Storage.free_bytes`."""
        with self._failing("ask for the room that is left"):
            return shutil.disk_usage(self._root).free

    def sweep(self, older_than_secs: float) -> None:
        """See `Storage.sweep`."""
        for item in self.list(_SCRATCH):
            if item.path.split(".", 4)[-1] == self._owner and (self.age_secs(item.path) or 0) > older_than_secs:
                self.delete(item.path)

    def _create(self, path: str, data: bytes, newer_than_ns: int) -> bool:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._can_rename():
            with self._scratch(lambda file: file.write(data), newer_than_ns) as scratch:
                try:
                    # Unlike a rename, a link fails where something is there.
                    os.link(scratch, target)
                except FileExistsError:
                    return False
            self._sync(target.parent)
            return True
        _pass(newer_than_ns)
        try:
            with target.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def _place(self, path: str, fill: Callable[[BinaryIO], object], newer_than_ns: int = 0) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._can_rename():
            with self._scratch(fill, newer_than_ns) as scratch:
                scratch.replace(target)
            self._sync(target.parent)
            return
        _pass(newer_than_ns)
        with target.open("wb") as file:
            fill(file)

    @contextlib.contextmanager
    def _scratch(self, fill: Callable[[BinaryIO], object], newer_than_ns: int = 0) -> Iterator[Path]:
        scratch = self._root / f"{_SCRATCH}.{uuid.uuid4().hex}.{self._owner}"
        try:
            with scratch.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if newer_than_ns and scratch.stat().st_mtime_ns <= newer_than_ns:
                # Triton would not see a change that is dated before what it has seen, such as a copy with old times.
                os.utime(scratch, ns=(newer_than_ns + 1_000_000,) * 2)
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)

    def _can_rename(self) -> bool:
        if self._renames is None:
            with self._scratch(lambda _: None) as scratch:
                other = self._root / f"{_SCRATCH}.{uuid.uuid4().hex}.{self._owner}"
                try:
                    os.link(scratch, other)
                    self._renames = True
                except OSError as error:
                    if error.errno not in _NO_RENAME:
                        raise
                    self._renames = False
                finally:
                    other.unlink(missing_ok=True)
        return self._renames

    def _sync(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _failing(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # A local source file that cannot be read says its own name.
            raise Unavailable(
                f"could not {action} in {self._root}: {error.strerror or error} ({error.filename}); check that the "
                "volume is mounted for writing and that its files belong to you"
            ) from error


def _pass(moment_ns: int) -> None:
    """Waits until a file that is written now is dated later, where times are whole seconds and can't be set."""
    while moment_ns and time.time_ns() // _SECOND <= moment_ns // _SECOND:
        if moment_ns - time.time_ns() > 60 * _SECOND:
            raise Unavailable(
                "files of the model are dated in the future, and Triton notices nothing older; write them anew"
            )
        time.sleep(0.05)

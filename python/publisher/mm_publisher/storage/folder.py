"""A model repository in a folder: local, NFS or EFS, or a mount of an External Data Volume."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mm_publisher.errors import Unavailable, UsageError
from mm_publisher.storage import Item, OnBytes
from mm_publisher.storage.confined import Confined

_CHUNK = 1 << 20
_SECOND = 1_000_000_000
# Files at the root: Triton looks at the root's folders only. A write takes the place of a file from its scratch file; a
# probe is looked at only.
_SCRATCH, _PROBE = ".mm-publish.scratch", ".mm-publish.probe"
_PROBE_KEPT_SECS = 60.0
# What a mount of S3 answers to rename and link. It shows a file complete when it is closed, so that none is needed.
_NO_RENAME = frozenset({errno.ENOSYS, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO})


class Folder:
    """`Storage` in a folder. No link in it is followed.

    Args:
        path: the repository's root; it must be there, so that a volume that is not mounted is noticed.
        owner: the model that is to be written: what scratch files are named after.

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
        self._files = Confined(self._root)
        self._owner = owner
        self._renames: bool | None = None

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self._root)

    def list(self, prefix: str) -> list[Item]:
        """See `Storage.list`."""
        folder, _, beginning = prefix.rpartition("/")
        with self._failing(f"list {prefix or 'the root'}"):
            return sorted(
                (
                    Item(path, found.st_size, found.st_mtime_ns, plain=stat.S_ISREG(found.st_mode))
                    for path, found in self._files.walk(folder, beginning)
                    if not stat.S_ISDIR(found.st_mode)
                ),
                key=lambda item: item.path,
            )

    def read(self, path: str) -> bytes | None:
        """See `Storage.read`."""
        with self._failing(f"read {path}"):
            try:
                with self._files.open(path) as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `Storage.chunks`."""
        with self._failing(f"read {path}"), self._files.open(path) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def create(self, path: str, source: Path, on_bytes: OnBytes, confirm: Callable[[], None]) -> bool:
        """See `Storage.create`."""
        with self._failing(f"write {path}"), source.open("rb") as file:

            def fill(target: BinaryIO) -> None:
                while chunk := file.read(_CHUNK):
                    target.write(chunk)
                    on_bytes(len(chunk))

            return self._create(path, fill, confirm=confirm)

    def write(self, path: str, data: bytes) -> None:
        """See `Storage.write`."""
        with self._failing(f"write {path}"):
            self._replace(path, data)

    def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
        """See `Storage.swap`.

        A folder compares and replaces in two steps. A publisher that loses its lease between them finds its scratch
        file gone (`fence`).
        """
        with self._failing(f"write {path}"):
            if was is None:
                return self._create(path, lambda target: target.write(data), newer_than_ns)
            return self._replace(path, data, lambda: self.read(path) == was, newer_than_ns)

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        with self._failing(f"remove {path}"), contextlib.suppress(FileNotFoundError):
            self._files.remove(path)

    def age_secs(self, path: str) -> float | None:
        """See `Storage.age_secs`."""
        with self._failing(f"look at {path}"):
            try:
                written_ns = self._files.stat(path).st_mtime_ns
            except FileNotFoundError:
                return None
            # A file server's clock may differ from this machine's.
            with self._aside(_PROBE, lambda _: None) as probe:
                return (self._files.stat(probe).st_mtime_ns - written_ns) / _SECOND

    def newest_ns(self, prefix: str) -> int:
        """See `Storage.newest_ns`; Triton counts the folders' own times, too."""
        top = prefix.rstrip("/")
        with self._failing(f"look at {prefix}"):
            times = [found.st_mtime_ns for _, found in self._files.walk(top)]
            with contextlib.suppress(FileNotFoundError):
                times.append(self._files.stat(top).st_mtime_ns)
            return max(times, default=0)

    def free_bytes(self) -> int | None:
        """See `Storage.free_bytes`."""
        with self._failing("ask for the space that is free"):
            return shutil.disk_usage(self._root).free

    def fence(self) -> None:
        """See `Storage.fence`: what would take a file's place is removed."""
        for item in self.list(".mm-publish."):
            kind, _, owner = item.path.removeprefix(".mm-publish.").partition(".")
            if owner.partition(".")[2] != self._owner:
                continue
            old = f".mm-publish.{kind}" == _PROBE and (self.age_secs(item.path) or 0) > _PROBE_KEPT_SECS
            if old or f".mm-publish.{kind}" == _SCRATCH:
                self.delete(item.path)

    def _create(
        self,
        path: str,
        fill: Callable[[BinaryIO], object],
        newer_than_ns: int = 0,
        confirm: Callable[[], None] = lambda: None,
    ) -> bool:
        if self._can_rename():
            with self._aside(_SCRATCH, fill, newer_than_ns) as scratch:
                confirm()
                # Unlike a rename, a link fails where something is there.
                return self._placed(scratch, path, functools.partial(os.link, follow_symlinks=False))
        _pass(newer_than_ns)
        confirm()
        try:
            with self._files.create(path) as file:
                fill(file)
        except FileExistsError:
            return False
        return True

    def _replace(
        self, path: str, data: bytes, as_expected: Callable[[], bool] = lambda: True, newer_than_ns: int = 0
    ) -> bool:
        if self._can_rename():
            with self._aside(_SCRATCH, lambda target: target.write(data), newer_than_ns) as scratch:
                return as_expected() and self._placed(scratch, path, os.replace)
        if not as_expected():
            return False
        _pass(newer_than_ns)
        with self._files.truncate(path) as file:
            file.write(data)
        return True

    def _placed(self, scratch: str, path: str, place: Callable[..., None]) -> bool:
        with self._files.folder("") as root, self._files.parent(path, create=True) as (folder, name):
            try:
                place(scratch, name, src_dir_fd=root, dst_dir_fd=folder)
            except FileExistsError:
                return False
            except FileNotFoundError:
                # Somebody else has taken the lease.
                return False
            os.fsync(folder)
        return True

    @contextlib.contextmanager
    def _aside(self, kind: str, fill: Callable[[BinaryIO], object], newer_than_ns: int = 0) -> Iterator[str]:
        name = f"{kind}.{uuid.uuid4().hex}.{self._owner}"
        try:
            with self._files.create(name) as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
                if newer_than_ns and os.fstat(file.fileno()).st_mtime_ns <= newer_than_ns:
                    # Triton would not see a change dated before what it has seen, such as a copy with old times.
                    os.utime(file.fileno(), ns=(newer_than_ns + 1_000_000,) * 2)
            yield name
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._files.remove(name)

    def _can_rename(self) -> bool:
        if self._renames is None:
            with self._aside(_PROBE, lambda _: None) as probe, self._files.folder("") as root:
                other = f"{_PROBE}.{uuid.uuid4().hex}.{self._owner}"
                try:
                    os.link(probe, other, src_dir_fd=root, dst_dir_fd=root)
                    self._renames = True
                except OSError as error:
                    if error.errno not in _NO_RENAME:
                        raise
                    self._renames = False
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        self._files.remove(other)
        return self._renames

    @contextlib.contextmanager
    def _failing(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # A local source file that cannot be read says its own name.
            named = f" ({error.filename})" if isinstance(error.filename, (str, Path)) else ""
            raise Unavailable(
                f"could not {action} in {self._root}: {error.strerror or error}{named}; check that the "
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

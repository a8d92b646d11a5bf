"""A folder tree that is used without following links, so that what somebody planted in it leads nowhere.

Each part of a path is opened below the one before, by its descriptor and with O_NOFOLLOW, so that a folder that is
replaced by a link meanwhile is noticed as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mm_publisher.errors import Refused

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What opening a link, or something else than a folder or a file, gives.
_NOT_WHAT_WAS_EXPECTED = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})


class Confined:
    """The files below a folder. Every method takes paths from it, with "/".

    Args:
        root: the folder; it may itself be reached by a link.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def folder(self, path: str, *, create: bool = False) -> Iterator[int]:
        """Opens a folder.

        Args:
            path: "" for the root.
            create: whether to make it, and those above it, where there is none.

        Yields:
            Its descriptor, to be used while the context lasts.

        Raises:
            Refused: a link is on the way.
            OSError: it is not there, or cannot be opened.
        """
        with self._folders(path, create=create) as (*_, descriptor):
            yield descriptor

    @contextlib.contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that a path is in, and the path's last part; see `folder`."""
        above, _, name = path.rpartition("/")
        _check_part(name)
        with self.folder(above, create=create) as descriptor:
            yield descriptor, name

    def walk(self, path: str, beginning: str = "") -> Iterator[tuple[str, os.stat_result]]:
        """What lies below a folder, folders included; nothing where it is not there.

        Args:
            path: of the folder; "" for the root.
            beginning: of the names in that folder itself that are wanted.

        Yields:
            Paths from the root with what `lstat` says.

        Raises:
            Refused: the folder is a link, or is reached by one.
            OSError: it cannot be read.
        """
        with contextlib.ExitStack() as opened:
            try:
                descriptor = opened.enter_context(self.folder(path))
            except (FileNotFoundError, NotADirectoryError):
                return
            yield from self._below(descriptor, f"{path}/" if path else "", beginning)

    def open(self, path: str) -> BinaryIO:
        """Opens a file to read.

        Raises:
            Refused: it is no plain file, or a link is on the way.
            OSError: it is not there, or cannot be opened.
        """
        with self.parent(path) as (folder, name):
            try:
                # A pipe would be waited for.
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except OSError as error:
                raise _explained(error, folder, name, path) from error
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise not_plain(path)
            return os.fdopen(descriptor, "rb")

    def create(self, path: str) -> BinaryIO:
        """Makes a new file to write, and the folders above it.

        Raises:
            FileExistsError: there is something.
            Refused: a link is on the way.
            OSError: it cannot be made.
        """
        with self.parent(path, create=True) as (folder, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb")

    def truncate(self, path: str) -> BinaryIO:
        """Opens a file to write anew; see `create`, but for its being there already."""
        with self.parent(path, create=True) as (folder, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                return os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb")
            except OSError as error:
                raise _explained(error, folder, name, path) from error

    def stat(self, path: str) -> os.stat_result:
        """What `lstat` says of a file."""
        with self.parent(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Removes a file, or a link itself, and folders that this leaves empty.

        Raises:
            OSError: it is not there, or cannot be removed.
        """
        above, _, name = path.rpartition("/")
        _check_part(name)
        with self._folders(above) as descriptors:
            os.unlink(name, dir_fd=descriptors[-1])
            for part, folder in zip(reversed(above.split("/")), reversed(descriptors[:-1]), strict=False):
                try:
                    os.rmdir(part, dir_fd=folder)
                except OSError:
                    return

    @contextlib.contextmanager
    def _folders(self, path: str, *, create: bool = False) -> Iterator[list[int]]:
        """Descriptors of the root and of all folders on a path."""
        with contextlib.ExitStack() as opened:
            descriptors = [os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
            opened.callback(os.close, descriptors[0])
            for part in path.split("/") if path else ():
                _check_part(part)
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptors[-1])
                descriptors.append(_open_folder(descriptors[-1], part, path))
                opened.callback(os.close, descriptors[-1])
            yield descriptors

    def _below(self, folder: int, at: str, beginning: str) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith(beginning))
        for name in names:
            # Somebody may remove a file while others are listed.
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                yield f"{at}{name}", found
                if stat.S_ISDIR(found.st_mode):
                    descriptor = _open_folder(folder, name, f"{at}{name}")
                    try:
                        yield from self._below(descriptor, f"{at}{name}/", "")
                    finally:
                        os.close(descriptor)


def not_plain(path: str) -> Refused:
    """The error for something that is neither a folder nor a file."""
    return Refused(
        f"{path} in the repository is a link, or else no plain file, and is not followed: it could lead out of the "
        "repository. Put there what it is to stand for, or remove it"
    )


def _open_folder(above: int, name: str, path: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        raise _explained(error, above, name, path) from error


def _explained(error: OSError, folder: int, name: str, path: str) -> Exception:
    """The error itself, unless it came of a link or a special file."""
    if error.errno in _NOT_WHAT_WAS_EXPECTED:
        with contextlib.suppress(OSError):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                return not_plain(path)
    return error


def _check_part(part: str) -> None:
    if part in ("", ".", "..") or "/" in part or "\0" in part:
        raise Refused(f"{part!r} is no name of a file in the repository; expected plain names without '/' and '..'")

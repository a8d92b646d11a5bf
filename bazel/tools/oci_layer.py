"""Write image layers whose bytes depend on nothing but their contents."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

# Higher levels take several times as long for a few percent.
_LEVEL = 6
_CHUNK = 1 << 20


class LayerError(Exception):
    """A layer can't be made as described; the text says why."""


@dataclass(frozen=True)
class File:
    """A regular file; in the image it belongs to root, and nobody else can write it.

    Attributes:
        content: its bytes, or a file that has them.
        executable: whether it may be run.
    """

    content: bytes | Path
    executable: bool = False

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def data(self) -> bytes:
        """Its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class Link:
    """A symbolic link to `target`."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder with the permission bits `mode`."""

    mode: int = 0o755


Entry = File | Link | Folder


class Tree:
    """What a layer holds.

    Args:
        exclude: patterns of paths that are left out; `*` matches `/`, too.

    Attributes:
        entries: entries by path below the image's root, without a leading slash.
    """

    def __init__(self, exclude: Iterable[str] = ()) -> None:
        self.entries: dict[str, Entry] = {}
        self._exclude = tuple(exclude)

    def add(self, path: str, entry: Entry) -> int:
        """Adds an entry, unless its path is excluded.

        Args:
            path: where it goes.
            entry: what goes there.

        Returns:
            Bytes that it adds to the layer.

        Raises:
            LayerError: the path leads out of the image, or something else is there already.
        """
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path == ".":
            raise LayerError(f"{path!r} is no path below the image's root")
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in self._exclude):
            return 0
        there = self.entries.setdefault(path, entry)
        if there is not entry and not _same(there, entry):
            raise LayerError(f"two different things want to be /{path}")
        return entry.size if isinstance(entry, File) and there is entry else 0


def _same(one: Entry, other: Entry) -> bool:
    if isinstance(one, File) and isinstance(other, File):
        return one.executable == other.executable and one.data() == other.data()
    return one == other


class _Sink:
    """Takes the bytes of a tar; hashes them, counts them and writes them compressed."""

    def __init__(self, output: IO[bytes]) -> None:
        # Neither a name nor a time may get into the header.
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=output, mtime=0)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._gzip.write(data)

    def close(self) -> str:
        self._gzip.close()
        return f"sha256:{self._hash.hexdigest()}"


def _with_parents(entries: dict[str, Entry]) -> dict[str, Entry]:
    folders = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    return {folder: Folder() for folder in folders - {"."}} | entries


def write(tree: Tree, output: Path) -> tuple[str, int]:
    """Writes a layer: a gzip-compressed tar with sorted entries, root as the owner, and the time 0.

    Args:
        tree: what it holds; missing parent folders are added.
        output: path of the .tar.gz file.

    Returns:
        The diff_id (digest of the uncompressed tar), and the tar's size in bytes.
    """
    entries = _with_parents(tree.entries)
    with output.open("wb") as raw:
        sink = _Sink(raw)
        # A stream asks for write() alone; tarfile's types ask for more.
        with tarfile.open(fileobj=cast(IO[bytes], sink), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
            for path in sorted(entries):
                _append(tar, tarfile.TarInfo(path), entries[path])
        return sink.close(), sink.size


def _append(tar: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry) -> None:
    if isinstance(entry, Folder):
        info.type, info.mode = tarfile.DIRTYPE, entry.mode
        tar.addfile(info)
    elif isinstance(entry, Link):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
        tar.addfile(info)
    else:
        info.size, info.mode = entry.size, 0o755 if entry.executable else 0o644
        with _open(entry) as content:
            tar.addfile(info, content)


def _open(entry: File) -> IO[bytes]:
    return io.BytesIO(entry.content) if isinstance(entry.content, bytes) else entry.content.open("rb")


def finish(tree: Tree, components: list[dict[str, Any]], output: Path, metadata: Path) -> None:
    """Writes a layer and what an image needs to know of it.

    Args:
        tree: what it holds.
        components: CycloneDX components of the software in it.
        output: path of the .tar.gz file.
        metadata: path of the JSON file.
    """
    diff_id, size = write(tree, output)
    described = {"diff_id": diff_id, "size": size, "components": components}
    metadata.write_text(json.dumps(described, sort_keys=True), encoding="utf-8")


def unavailable(reason: str, output: Path, metadata: Path) -> None:
    """Writes a layer that can't be made here, so that everything else can still be built.

    Args:
        reason: why, and what to do.
        output: path of the .tar.gz file, which will be empty.
        metadata: path of the JSON file, which will have the reason.
    """
    output.write_bytes(b"")
    metadata.write_text(json.dumps({"unavailable": reason}), encoding="utf-8")


def run(tool: Callable[[], None]) -> None:
    """Runs a tool; ends with exit status 1 and the text alone where the layer can't be made.

    Args:
        tool: its main function.
    """
    try:
        tool()
    except LayerError as error:
        sys.exit(str(error))

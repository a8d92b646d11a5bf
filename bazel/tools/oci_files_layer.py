"""Write an image layer of files at chosen places, and name the Python packages among them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import sbom
from oci_layer import File, LayerError, Tree, finish, run

_LOCKED = re.compile(r"^(?P<name>[^=\s]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$", re.M)
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
# Compiled Python differs from one compilation to the next.
_COMPILED = ("*/__pycache__/*", "*.pyc")


def hashes(lock: str) -> dict[tuple[str, str], str]:
    """What a lock pins.

    Args:
        lock: text of the lock file.

    Returns:
        SHA-256 of each wheel, by name and version.
    """
    return {(found["name"], found["version"]): found["sha256"] for found in _LOCKED.finditer(lock)}


def _is_program(path: Path) -> bool:
    # Modes don't tell: Bazel marks all that it builds as executable, and some wheels mark none of their programs.
    with path.open("rb") as content:
        start = content.read(4)
    return start == b"\x7fELF" or (start.startswith(b"#!") and os.access(path, os.X_OK))


def placed(files: Iterable[tuple[str, Path]], places: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Finds out where files go.

    Args:
        files: names and files; a folder stands for all files below it.
        places: beginnings of names to what replaces them; the first that fits counts.

    Yields:
        The path in the image of each file that a beginning fits, and the file.

    Raises:
        LayerError: a beginning fits none.
    """
    unused = dict.fromkeys(places)
    for name, source in _files(files):
        prefix = next((prefix for prefix in places if name.startswith(prefix)), None)
        if prefix is not None:
            unused.pop(prefix, None)
            yield str(PurePosixPath(places[prefix] + name.removeprefix(prefix))), source
    if unused:
        raise LayerError(f"the name of no file begins with {', '.join(unused)}")


def _files(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    for name, source in files:
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                if not path.is_dir():
                    yield f"{name}/{path.relative_to(source).as_posix()}", path
        else:
            yield name, source


def components(files: dict[str, Path], sizes: dict[str, int], lock: str) -> list[dict[str, Any]]:
    """The Python distributions among files.

    Args:
        files: files by their path in the image; each distribution was unpacked into a folder of its own.
        sizes: bytes in the image of each.
        lock: text of the lock file that they come from.

    Returns:
        CycloneDX components, with the wheels' hashes from the lock.

    Raises:
        LayerError: the lock does not hold a distribution in this version, or a file belongs to none.
    """
    locked = hashes(lock)
    roots = {source.parent.parent: source for path, source in files.items() if _METADATA.search(path)}
    totals = dict.fromkeys(roots, 0)
    for path, source in files.items():
        root = next((parent for parent in source.parents if parent in roots), None)
        if root is None:
            raise LayerError(f"/{path} ({source}) belongs to no distribution; does the layer leave its METADATA out?")
        totals[root] += sizes[path]
    found = []
    for root, source in roots.items():
        metadata = source.read_text(encoding="utf-8")
        key = sbom.distribution(metadata)
        if key not in locked:
            raise LayerError(f"{' '.join(key)} is not in the layer's lock")
        found.append(sbom.python(metadata, size=totals[root], sha256=locked[key]))
    return found


def main() -> None:
    """Write the layer that the command line, or the file behind its `@`, describes."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--lock", type=Path)
    parser.add_argument("--application", metavar="NAME=VERSION")
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("--file", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--place", action="append", default=[], metavar="BEGINNING=REPLACEMENT")
    options = parser.parse_args()
    tree = Tree([*_COMPILED, *options.exclude])
    files: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    given = [(name, Path(source)) for name, _, source in (item.partition("=") for item in options.file)]
    for path, source in placed(given, dict(item.split("=", 1) for item in options.place)):
        sizes[path] = tree.add(path, File(source, executable=_is_program(source)))
        files[path] = source
    found: list[dict[str, Any]] = []
    if options.lock:
        found = components(files, sizes, options.lock.read_text(encoding="utf-8"))
    if options.application:
        name, _, version = options.application.partition("=")
        found.append(sbom.application(name, version, size=sum(sizes.values())))
    finish(tree, found, options.output, options.metadata)


if __name__ == "__main__":
    run(main)

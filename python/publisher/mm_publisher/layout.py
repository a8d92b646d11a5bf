"""Which folder of what people have or register is the model's, and which of its files belong to the model."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mm_publisher.config import FILE
from mm_publisher.errors import Refused

# What Triton takes for a version; it ignores folders of other names.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_ONNX = "model.onnx"
# What MLflow adds to a model's files; it is of no use to Triton.
_MLFLOW_FILE = "MLmodel"
_MLFLOW = frozenset({
    _MLFLOW_FILE, "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json",
    "serving_input_example.json", "registered_model_meta", "metadata",
})  # fmt: skip
# What editors, notebooks and desktops leave behind; names that begin with a dot are left out, too.
_CLUTTER = frozenset({"__pycache__", "Thumbs.db", "desktop.ini", "__MACOSX"})
# What is beside version folders for people alone.
_FOR_PEOPLE = re.compile(r"(?:README|LICEN[CS]E|NOTICE|CHANGELOG)(?:\..*)?|.*\.md", re.IGNORECASE)
_DEEPEST = 3
_NAMED_AT_MOST = 8


@dataclass(frozen=True)
class Files:
    """Files below a folder.

    Attributes:
        found: those that belong to the model, by their path from it, sorted.
        left_out: paths of the others; those of folders end with "/" and stand for all that is in them.
    """

    found: Mapping[str, Path]
    left_out: tuple[str, ...]


def versions_in(names: Iterator[str]) -> list[int]:
    """The version folders among names, sorted."""
    return sorted({int(name) for name in names if _VERSION.fullmatch(name)})


def versions_of(folder: Path) -> list[int]:
    """The version folders in a folder, sorted."""
    return versions_in(path.name for path in folder.iterdir() if path.is_dir())


def belongs(name: str) -> bool:
    """Whether a file or folder of this name may be part of a model."""
    return not name.startswith(".") and name not in _CLUTTER


def model_folder(folder: Path) -> Path:
    """Finds the folder that has `config.pbtxt` or, without one, the model's files.

    That is mostly the folder itself. MLflow's Triton plugin registers `<name>/config.pbtxt` below `MLmodel`, and other
    flavours keep the model in a folder below it.

    Raises:
        Refused: there are several.
        OSError: something in it cannot be read.
    """
    top = {path.name for path in folder.iterdir() if belongs(path.name)}
    if FILE in top or versions_of(folder):
        return folder
    configured = _holding(folder, FILE)
    if (
        not configured
        and _ONNX not in top
        and top <= _MLFLOW | {path.name for path in folder.iterdir() if path.is_dir()}
    ):
        configured = _holding(folder, _ONNX)
    if len(configured) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in configured)
        raise Refused(
            f"{folder} holds several models: {names}; publish each by its own folder, registered on its own where it "
            "comes from a registry"
        )
    return configured[0] if configured else folder


def files_in(folder: Path, *, without: Collection[str] = ()) -> Files:
    """Finds a model's files.

    A link to a file counts as the file. Names that begin with a dot, what editors leave behind, and MLflow's own files
    beside its `MLmodel` are left out.

    Args:
        folder: what they lie below.
        without: names in the folder itself that are none of the model's, and are not reported as left out.

    Raises:
        Refused: there is a link to a folder, or a name that can't be printed.
        OSError: something cannot be read.
    """
    found, left_out = {}, []
    for parent, folders, names in os.walk(folder, onerror=_fail):
        top = Path(parent) == folder
        ours: Collection[str] = _MLFLOW if top and _MLFLOW_FILE in names else ()
        passed = without if top else ()
        for name in [*folders, *names]:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if name in passed:
                continue
            if not belongs(name) or name in ours:
                left_out.append(f"{relative}/" if name in folders else relative)
            elif path.is_symlink() and not path.is_file():
                raise Refused(
                    f"{folder} has a link to a folder, or to nothing: {relative}; put there what it is to stand for"
                )
            elif path.is_file():
                if not relative.isprintable():
                    raise Refused(f"{folder} has a file whose name can't be printed: {relative!r}; rename it")
                found[relative] = path
        folders[:] = [name for name in folders if belongs(name) and name not in ours and name not in passed]
    return Files(dict(sorted(found.items())), tuple(sorted(left_out)))


def for_people(path: str) -> bool:
    """Whether a file beside version folders is a text that only people read."""
    return _FOR_PEOPLE.fullmatch(path) is not None


def listed(paths: Collection[str]) -> str:
    """Paths for people, the first of them if there are many."""
    some = sorted(paths)[:_NAMED_AT_MOST]
    more = len(paths) - len(some)
    return ", ".join(ascii(path)[1:-1] for path in some) + (f" and {more} more" if more else "")


def _holding(folder: Path, name: str) -> list[Path]:
    """The folders below one that hold a file of a name, sorted, without those inside of others."""
    found = []
    for parent, folders, names in os.walk(folder, onerror=_fail):
        depth = len(Path(parent).relative_to(folder).parts)
        if name in names:
            # A folder of the name stands for the file in it.
            found.append(Path(parent).parent if Path(parent).name == name else Path(parent))
            folders[:] = []
        folders[:] = sorted(part for part in folders if belongs(part)) if depth < _DEEPEST else []
    return sorted(found)


def _fail(error: OSError) -> NoReturn:
    # os.walk leaves out what it cannot list, unless asked otherwise.
    raise error

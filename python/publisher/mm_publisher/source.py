"""What is to be published: the files of one version and its config.pbtxt, from a folder or a model registry."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mm_publisher.config import ENSEMBLE_FILE, FILE, ConfigError, ModelConfig
from mm_publisher.errors import Refused, UsageError
from mm_publisher.state import File
from mm_publisher.storage import OnBytes

# Safe as a folder's name, in an S3 key and in a shell. Triton takes more.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?")
# What Triton takes for a version; it ignores folders of other names.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
# What MLflow adds to a model's files; it is of no use to Triton.
_MLFLOW_FILE = "MLmodel"
_MLFLOW = frozenset({
    _MLFLOW_FILE, "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json",
    "serving_input_example.json", "registered_model_meta", "metadata",
})  # fmt: skip
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """What is to be published.

    Attributes:
        text: where it comes from, for people, without credentials.
        name: the model's name.
        version: its number; None leaves it to the target: the next free one.
        config_text: of config.pbtxt; None where there is none.
        files: the version folder's files by their path in it.
    """

    text: str
    name: str
    version: int | None
    config_text: str | None
    files: Mapping[str, Path]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def hashed(self, on_bytes: OnBytes) -> tuple[File, ...]:
        """Reads all files.

        Args:
            on_bytes: is told how many bytes more were read.

        Returns:
            Each with its size and SHA-256, sorted by path.
        """
        return tuple(_hashed(path, self.files[path], on_bytes) for path in sorted(self.files))


def parse_version(text: str) -> int:
    """Reads a version's number as Triton does.

    Raises:
        UsageError: Triton would ignore a folder of that name.
    """
    if not _VERSION.fullmatch(text):
        raise UsageError(f"the version is {text!r}; expected a whole number from 1, without leading zeros")
    return int(text)


def versions_in(names: Iterator[str]) -> list[int]:
    """The version folders among names, sorted."""
    return sorted({int(name) for name in names if _VERSION.fullmatch(name)})


def check_name(name: str) -> str:
    """Returns a model's name if it is safe in paths.

    Raises:
        UsageError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"the model's name is {name!r}; expected letters, digits, '_', '-' and '.', at most 128, beginning with a "
            "letter, digit or '_' and not ending with '.'; give another with --name"
        )
    return name


def from_folder(folder: Path, *, name: str | None, version: int | None, text: str | None = None) -> Source:
    """Reads a folder.

    It holds either `config.pbtxt` beside the model's files, which become the version folder, or is a model's folder as
    in Triton's repository: `config.pbtxt` and version folders, of which one is chosen. Names that begin with a dot and
    MLflow's own files are left out; a link to a file counts as the file. An ensemble needs no more than its
    config.pbtxt, a copy of which then is the version's only file.

    Args:
        folder: the folder.
        name: the model's name; None takes config.pbtxt's, or else the folder's.
        version: its number; None takes that of the only version folder.
        text: what to call it; None takes the path.

    Raises:
        Refused: it cannot be published; the text says why.
        UsageError: it is no folder, or a name or version is wrong.
        OSError: something in it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(
            f"the source {folder} is not a folder; expected a folder with {FILE} and the model's files, or a URI of a "
            "registered model such as models:/churn/3 or models:/churn@champion"
        )
    config_file = folder / FILE
    config_text = _text(config_file) if config_file.is_file() else None
    numbered = versions_in(path.name for path in folder.iterdir() if path.is_dir())
    if numbered:
        version = _chosen(folder, numbered, version)
        files = {**_files(folder / str(version)), **_labels(folder, numbered, config_text)}
    else:
        files = _files(folder)
        files.pop(FILE, None)
        if _MLFLOW_FILE in files:
            files = {path: file for path, file in files.items() if path.split("/")[0] not in _MLFLOW}
    if not files and config_text is not None and ModelConfig.parse(config_text).is_ensemble:
        # S3 and MLflow keep no empty folders, and an ensemble's version has nothing but its configuration.
        files = {ENSEMBLE_FILE: config_file}
    if not files:
        raise Refused(f"{text or folder} holds no model files; expected them beside {FILE}")
    configured = "" if config_text is None else ModelConfig.parse(config_text).name
    named = name or configured or folder.absolute().name
    return Source(text or str(folder.absolute()), check_name(named), version, config_text, files)


def _chosen(folder: Path, numbered: list[int], version: int | None) -> int:
    if version is None and len(numbered) == 1:
        return numbered[0]
    if version not in numbered:
        there = ", ".join(map(str, numbered))
        wrong = f"has no version {version}" if version else "has several versions"
        raise UsageError(f"{folder} {wrong}: there are {there}; choose one with --version")
    return version


def _labels(folder: Path, numbered: list[int], config_text: str | None) -> dict[str, Path]:
    """Files beside config.pbtxt that outputs name as labels; any other would be shared by all versions."""
    try:
        labels = set(ModelConfig.parse(config_text or "").label_files)
    except ConfigError:
        # Told later, with everything else that is wrong.
        labels = set()
    found, shared = {}, []
    for path, file in _files(folder, without={FILE, *map(str, numbered)}).items():
        if path in labels:
            found[path] = file
        else:
            shared.append(path)
    if shared:
        raise Refused(
            f"{folder} has files that all versions would share, so that a new version would change an old one: "
            f"{', '.join(sorted(shared))}. Put them into the version folder"
        )
    return found


def _files(folder: Path, without: Collection[str] = ()) -> dict[str, Path]:
    found = {}
    for parent, folders, names in os.walk(folder, onerror=_fail):
        left_out = without if Path(parent) == folder else ()
        folders[:] = [name for name in folders if _belongs(name) and name not in left_out]
        for name in [*folders, *names]:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if not _belongs(name) or name in left_out:
                continue
            if path.is_symlink() and not path.is_file():
                raise Refused(
                    f"{folder} has a link to a folder, or to nothing: {relative}; put there what it is to stand for"
                )
            if path.is_file():
                if not relative.isprintable():
                    raise Refused(f"{folder} has a file whose name can't be printed: {relative!r}; rename it")
                found[relative] = path
    return dict(sorted(found.items()))


def _belongs(name: str) -> bool:
    return not name.startswith(".") and name != "__pycache__"


def _fail(error: OSError) -> NoReturn:
    # os.walk leaves out what it cannot list, unless told otherwise.
    raise error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path.name} is no UTF-8 text ({error.reason} at byte {error.start})") from error


def _hashed(path: str, file: Path, on_bytes: OnBytes) -> File:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            on_bytes(len(chunk))
    return File(path, size, digest.hexdigest())

"""What is to be published: the files of one version and its config.pbtxt, from a folder or a model registry."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mm_publisher import layout
from mm_publisher.config import ENSEMBLE_FILE, FILE, ConfigError, ModelConfig
from mm_publisher.errors import Refused, UsageError
from mm_publisher.state import File
from mm_publisher.storage import OnBytes

# Safe as a folder's name, in an S3 key and in a shell. Triton takes more.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?")
_ONNX = "model.onnx"
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
        notes: what was left out, for people.
    """

    text: str
    name: str
    version: int | None
    config_text: str | None
    files: Mapping[str, Path]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    @property
    def onnx_file(self) -> str | None:
        """What Triton's onnxruntime backend is to load, by its name; None where there is no telling."""
        tops = {path for path in self.files if "/" not in path and path.endswith(".onnx")}
        if _ONNX in tops or f"{_ONNX}/{_ONNX}" in self.files:
            return _ONNX
        return tops.pop() if len(tops) == 1 else None

    def onnx_path(self, name: str) -> Path:
        """The file that the onnxruntime backend loads by a name.

        Raises:
            Refused: it is a folder without a model.onnx.
        """
        # A folder stands for the model.onnx in it (LoadModel in the backend's onnxruntime.cc).
        file = name if name in self.files else f"{name}/{_ONNX}"
        if file not in self.files:
            raise Refused(
                f"{self.text} was not published: {name} is a folder, and has no {_ONNX}; expected that file in it"
            )
        return self.files[file]

    def hashed(self, on_bytes: OnBytes) -> tuple[File, ...]:
        """Reads all files.

        Args:
            on_bytes: gets how many bytes more were read.

        Returns:
            Each with its size and SHA-256, sorted by path.
        """
        return tuple(_hashed(path, self.files[path], on_bytes) for path in sorted(self.files))

    def without_links(self, scratch: Path) -> Source:
        """The same with plain files alone, as they will lie in the version folder.

        ONNX Runtime refuses weights that a link leads to outside of the model's folder, and a link may lead somewhere
        else by the time that its file is written.

        Args:
            scratch: a folder that is made for them, if there are links.

        Raises:
            OSError: they cannot be copied.
        """
        if not any(file.is_symlink() for file in self.files.values()):
            return self
        copied = {}
        for path, file in self.files.items():
            copied[path] = scratch / path
            copied[path].parent.mkdir(parents=True, exist_ok=True)
            _copy(file.resolve(), copied[path])
        return replace(self, files=copied)


def parse_version(text: str) -> int:
    """Reads a version's number as Triton does.

    Raises:
        UsageError: Triton would ignore a folder of that name.
    """
    if not layout.versions_in(iter([text])):
        raise UsageError(f"the version is {text!r}; expected a whole number from 1, without leading zeros")
    return int(text)


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


def from_folder(
    folder: Path, *, name: str | None, version: int | None, text: str | None = None, registered: str | None = None
) -> Source:
    """Reads a folder.

    It, or the one folder in it that has a `config.pbtxt`, holds that file beside the model's files, which become the
    version folder, or is a model's folder as in Triton's repository: `config.pbtxt` and version folders, of which one
    is chosen. What does not belong to the model is left out, and noted; a link to a file counts as the file. An
    ensemble needs no more than its config.pbtxt, a copy of which then is the version's only file.

    Args:
        folder: the folder.
        name: the model's name; None takes config.pbtxt's, the registered one, or else the folder's.
        version: its number; None takes that of the only version folder.
        text: what to call it; None takes the path.
        registered: the name that it has in a registry.

    Raises:
        Refused: it cannot be published; the text says why.
        UsageError: it is no folder, or a name or version is wrong.
        OSError: something in it cannot be read.
    """
    if not folder.is_dir():
        what = "a file, not a folder" if folder.is_file() else "not a folder"
        raise UsageError(
            f"the source {folder} is {what}; expected a folder with {FILE} and the model's files, or a URI of a "
            "registered model such as models:/churn/3 or models:/churn@champion"
        )
    model = layout.model_folder(folder)
    config_file = model / FILE
    config_text = _text(config_file) if config_file.is_file() else None
    numbered = layout.versions_of(model)
    if numbered:
        version = _chosen(model, numbered, version)
        config_text = _of_version(config_text, version)
        read = layout.files_in(model / str(version))
        left_out = [f"{version}/{path}" for path in read.left_out]
        files, more = _beside_versions(model, numbered, config_text)
        files = {**read.found, **files}
        left_out += [*more, *(f"{number}/" for number in numbered if number != version)]
    else:
        read = layout.files_in(model, without={FILE})
        files, left_out = dict(read.found), list(read.left_out)
    inside = model.relative_to(folder)
    if inside.parts:
        left_out = [
            *((inside / path).as_posix() + "/" * path.endswith("/") for path in left_out),
            *_outside(folder, inside),
        ]
    notes = (f"left out: {layout.listed(left_out)}",) if left_out else ()
    if not files and config_text is not None and ModelConfig.parse(config_text).is_ensemble:
        # S3 and MLflow keep no empty folders, and an ensemble's version has nothing but its configuration.
        files = {ENSEMBLE_FILE: config_file}
    if not files:
        noted = f" ({notes[0]})" if notes else ""
        raise Refused(f"{text or folder} holds no model files; expected them beside {FILE}{noted}")
    configured = "" if config_text is None else ModelConfig.parse(config_text).name
    # Triton's layout has a model's name as the folder's; what MLflow calls its folders says nothing.
    named = name or configured or registered or (folder if config_text is None else model).absolute().name
    if not (name or configured or registered) and layout.versions_in(iter([named])):
        raise UsageError(
            f"the source {folder} is a version's folder by its name; expected the model's: publish the folder above "
            f"with --version {named}, or give the model's name with --name"
        )
    return Source(text or str(folder.absolute()), check_name(named), version, config_text, files, notes)


def _outside(folder: Path, inside: Path) -> list[str]:
    """What lies beside the model's folder and those that lead to it."""
    found, above = [], Path()
    for part in inside.parts:
        found += [
            (above / path.name).as_posix() + "/" * path.is_dir()
            for path in (folder / above).iterdir()
            if path.name != part
        ]
        above /= part
    return found


def _of_version(config_text: str | None, version: int) -> str | None:
    """A configuration whose paths are those of a version's files, though it was published with them once."""
    if config_text is None:
        return None
    try:
        return ModelConfig.parse(config_text).from_version(version).text()
    except ConfigError:
        # Reported later, with everything else that is wrong.
        return config_text


def _chosen(folder: Path, numbered: list[int], version: int | None) -> int:
    if version is None and len(numbered) == 1:
        return numbered[0]
    if version not in numbered:
        there = ", ".join(map(str, numbered))
        wrong = f"has no version {version}" if version else "has several versions"
        raise UsageError(f"{folder} {wrong}: there are {there}; choose one with --version")
    return version


def _beside_versions(
    model: Path, numbered: list[int], config_text: str | None
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Files beside config.pbtxt that it names, which become the version's, and what is left out.

    Raises:
        Refused: there are others, which all versions would share.
    """
    try:
        named = ModelConfig.parse(config_text or "").own_files
    except ConfigError:
        # Reported later, with everything else that is wrong.
        named = ()
    read = layout.files_in(model, without={FILE, *map(str, numbered)})
    found = {path: file for path, file in read.found.items() if any(f"{path}/".startswith(f"{of}/") for of in named)}
    shared = [path for path in read.found if path not in found and not layout.for_people(path)]
    if shared:
        raise Refused(
            f"{model} has files that all versions would share, so that a new version would change an old one: "
            f"{', '.join(sorted(shared))}. Put them into the version folder"
        )
    return found, (*read.left_out, *(path for path in read.found if path not in found))


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


def _copy(file: Path, to: Path) -> None:
    try:
        # No bytes are moved where both lie on one file system.
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)

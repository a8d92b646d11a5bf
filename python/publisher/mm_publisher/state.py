"""What the publisher knows of a repository: a manifest for each version and a journal for each model.

They are files at the repository's root, where Triton looks at folders only. A manifest is written once, when every file
of its version was verified; the holder of the model's lease replaces all of the journal at once.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, TypeVar, get_args

from mm_publisher.errors import Busy, Unavailable
from mm_publisher.storage import Storage
from mm_publisher.strict_json import (
    DamagedError,
    Reader,
    many,
    one_of,
    optional,
    record,
    relative_path,
    text,
    whole_number,
)

_T = TypeVar("_T")
FORMAT = 1
Step = Literal["uploading", "switching"]
Outcome = Literal["serving", "not awaited", "rolled back", "interrupted"]
# More than anybody rolls back by.
_SWITCHES_KEPT = 50
_WRITES_AT_MOST = 3
_ANOTHERS = "somebody else has written {path} meanwhile; run this again to see what is there now"
_MANIFEST_NAME = re.compile(r"\.mm-publish\.manifest\.(\d+)\.(.+)\.json")
_JOURNAL_NAME = re.compile(r"\.mm-publish\.journal\.(.+)\.json")


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class File:
    """One file of a version.

    Attributes:
        path: below the version folder.
        size: in bytes.
        sha256: of its content, in hex.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A version whose files were all verified.

    Attributes:
        model: the model's name.
        version: the version folder's number.
        source: where it came from, without credentials.
        at: when.
        by: who published it.
        files: all files of the version folder.
    """

    model: str
    version: int
    source: str
    at: str
    by: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Switch:
    """One change of config.pbtxt.

    Attributes:
        serial: its number, which config.pbtxt has in its first line.
        version: the version that it was to make serve.
        source: where that came from; "rollback" for one that was there before.
        at: when.
        by: who made it.
        config: the text of config.pbtxt; "" for none at all.
        outcome: "serving" where the proxy answered for the version, "not awaited" where nobody asked it.
        reason: why it was rolled back.
    """

    serial: int
    version: int
    source: str
    at: str
    by: str
    config: str
    outcome: Outcome
    reason: str = ""

    @property
    def stands(self) -> bool:
        """Whether it was not taken back."""
        return self.outcome in ("serving", "not awaited")


@dataclass(frozen=True)
class Pending:
    """What a publisher is about to do, so that the next one can finish it or clean it up.

    Attributes:
        switch: the change, with the outcome it is to have.
        before: config.pbtxt as it was; None where there was none.
        step: "uploading" while the version folder is incomplete, "switching" once config.pbtxt may have changed.
        files: what the publisher itself writes, and may be removed again; none where the version was there before.
    """

    switch: Switch
    before: str | None
    step: Step
    files: tuple[File, ...]


@dataclass(frozen=True)
class Journal:
    """All switches of a model, the latest last.

    Attributes:
        model: the model's name.
        serial: of the latest switch that was begun.
        switches: those that came to an end.
        pending: the one that is under way or was left behind.
        damaged: whether there was one that could not be read.
    """

    model: str
    serial: int = 0
    switches: tuple[Switch, ...] = field(default=())
    pending: Pending | None = None
    damaged: bool = field(default=False, compare=False)

    def begun(self, pending: Pending) -> Journal:
        """With a switch under way."""
        return dataclasses.replace(self, serial=max(self.serial, pending.switch.serial), pending=pending)

    def ended(self, outcome: Outcome, reason: str = "", serial: int = 0) -> Journal:
        """With the switch that was under way at its end.

        Args:
            outcome: what became of it.
            reason: why, where it was rolled back.
            serial: the latest that config.pbtxt was given meanwhile.
        """
        assert self.pending is not None  # noqa: S101 - callers have begun one
        done = dataclasses.replace(self.pending.switch, outcome=outcome, reason=reason)
        kept = (*self.switches, done)[-_SWITCHES_KEPT:]
        return dataclasses.replace(self, serial=max(self.serial, serial), switches=kept, pending=None)

    def dropped(self, serial: int = 0) -> Journal:
        """Without the switch that was under way, as if it had not begun."""
        return dataclasses.replace(self, serial=max(self.serial, serial), pending=None)

    @property
    def current(self) -> Switch | None:
        """The latest switch that stands."""
        return next((switch for switch in reversed(self.switches) if switch.stands), None)


class Records:
    """Reads and writes manifests and journals."""

    def __init__(self, storage: Storage) -> None:
        """Reads nothing yet."""
        self._storage = storage

    def manifest(self, model: str, version: int) -> Manifest | None:
        """A version's manifest; None where it was not published, or not to the end: the manifest is cut off, too."""
        path = _manifest_path(model, version)
        found = _content(self._storage.read(path), path, _MANIFEST)
        return found if found is not None and (found.model, found.version) == (model, version) else None

    def manifests(self, model: str) -> dict[int, Manifest]:
        """All manifests of a model, by version."""
        found = {}
        for item in self._storage.list(".mm-publish.manifest."):
            match = _MANIFEST_NAME.fullmatch(item.path)
            if match and match[2] == model and (manifest := self.manifest(model, int(match[1]))) is not None:
                found[int(match[1])] = manifest
        return found

    def models(self) -> set[str]:
        """The models that have a manifest or a journal."""
        paths = [item.path for item in self._storage.list(".mm-publish.")]
        manifests = (match[2] for match in map(_MANIFEST_NAME.fullmatch, paths) if match)
        journals = (match[1] for match in map(_JOURNAL_NAME.fullmatch, paths) if match)
        return {*manifests, *journals}

    def write_manifest(self, manifest: Manifest) -> None:
        """Writes a manifest, whose files were verified.

        Raises:
            Busy: somebody else has written one.
            Unavailable: the store does not hold what was written.
        """
        data = _json({"format": FORMAT, **dataclasses.asdict(manifest)})
        path = _manifest_path(manifest.model, manifest.version)
        there = self._storage.read(path)
        # One that was cut off is none.
        if self.manifest(manifest.model, manifest.version) is not None or not self._storage.swap(path, data, was=there):
            raise Busy(_ANOTHERS.format(path=path))
        self._check(path, data, _MANIFEST)

    def delete_manifest(self, model: str, version: int) -> None:
        """Forgets a version, whose files are gone."""
        self._storage.delete(_manifest_path(model, version))

    def journal(self, model: str) -> Journal:
        """A model's journal; an empty one where it has none, or one that is damaged.

        Each step is written down before it is taken: where a store has cut the writing off, the step was not taken.
        """
        data = self._storage.read(_journal_path(model))
        found = _content(data, _journal_path(model), _JOURNAL)
        return found if found is not None and found.model == model else Journal(model, damaged=data is not None)

    def write_journal(self, journal: Journal, *, was: Journal) -> None:
        """Replaces a journal.

        Args:
            journal: the new one.
            was: what it was made from.

        Raises:
            Busy: somebody else has written since.
            Unavailable: the store does not hold what was written.
        """
        path = _journal_path(journal.model)
        before = self._storage.read(path)
        if self.journal(journal.model) == was:
            content = dataclasses.asdict(journal)
            del content["damaged"]
            data = _json({"format": FORMAT, **content})
            if self._storage.swap(path, data, was=before):
                self._check(path, data, _JOURNAL)
                return
        raise Busy(_ANOTHERS.format(path=path))

    def _check(self, path: str, data: bytes, reader: Reader[object]) -> None:
        """Reads back what was written, and writes it again where a store has cut it off."""
        for _ in range(_WRITES_AT_MOST):
            there = self._storage.read(path)
            if there == data:
                return
            if there is not None and not data.startswith(there):
                if _content(there, path, reader) is not None:
                    raise Busy(_ANOTHERS.format(path=path))
                break
            self._storage.swap(path, data, was=there)
        raise Unavailable(f"{self._storage.url} does not hold what was written to {path}; nothing was switched by that")


def _manifest_path(model: str, version: int) -> str:
    return f".mm-publish.manifest.{version}.{model}.json"


def _journal_path(model: str) -> str:
    return f".mm-publish.journal.{model}.json"


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _content(data: bytes | None, path: str, reader: Reader[_T]) -> _T | None:
    """What a file holds; None where there is none, or it is not exactly as it is written here.

    Others may write to the repository, too: what they put in the place of a record is not believed.
    """
    if data is None:
        return None
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise Unavailable(f"{path} is not of the format that this mm-publish knows ({FORMAT}); update mm-publish")
    try:
        return reader(content)
    except DamagedError:
        return None


_FILE = record(File, path=relative_path, size=whole_number, sha256=text)
_MANIFEST = record(
    Manifest, model=text, version=whole_number, source=text, at=text, by=text, files=many(_FILE)
)  # fmt: skip
_SWITCH = record(
    Switch, serial=whole_number, version=whole_number, source=text, at=text, by=text, config=text,
    outcome=one_of(get_args(Outcome)), reason=text,
)  # fmt: skip
_PENDING = record(
    Pending, switch=_SWITCH, before=optional(text), step=one_of(get_args(Step)), files=many(_FILE)
)  # fmt: skip
_JOURNAL = record(
    Journal, model=text, serial=whole_number, switches=many(_SWITCH), pending=optional(_PENDING)
)  # fmt: skip

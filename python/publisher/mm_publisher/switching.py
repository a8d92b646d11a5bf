"""The switch: config.pbtxt is replaced, last of all and at once, and put back if the version does not serve.

Before anything changes it is written into the journal, so that the next publisher can finish or undo it. Each text of
config.pbtxt has a number of its own: a write that a store delays and carries out later meets a file that is no longer
what it was to replace.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from mm_publisher.config import ConfigError, ModelConfig, serial_of
from mm_publisher.config_file import ConfigFile, NotWrittenError, body, numbered
from mm_publisher.errors import Busy, PublisherError, RolledBack, Unavailable
from mm_publisher.lease import Lease, me
from mm_publisher.repository import config_path, remove_version
from mm_publisher.serving import NotGoneError, NotReadyError, Server
from mm_publisher.state import File, Journal, Outcome, Pending, Records, Switch, now
from mm_publisher.storage import Storage

# Takes the set that the paths of files in the version folder go into, before each is written.
Prepare = Callable[[set[str]], None]
# Named while a model's only version is removed: without config.pbtxt some Tritons would serve what is left of it.
_NO_VERSION = 2**62


@dataclass(frozen=True)
class Change:
    """A switch that is to be made.

    Attributes:
        version: the version that is to serve.
        source: where it comes from.
        config: the new configuration.
        before: config.pbtxt as it is; None where there is none.
        writes: the version's files, where they are still to be written.
        stops: versions that serve and are not to any more.
    """

    version: int
    source: str
    config: ModelConfig
    before: str | None
    writes: tuple[File, ...] = ()
    stops: tuple[int, ...] = ()


class Switcher:
    """Makes switches of one model, whose lease is held.

    Args:
        storage: the repository.
        lease: of the model.
        model: its name.
        server: says whether a version serves; None asks nobody.
        say: takes a line about what is being done.
    """

    def __init__(
        self, storage: Storage, lease: Lease, model: str, server: Server | None, say: Callable[[str], None]
    ) -> None:
        self._storage = storage
        self._lease = lease
        self._model = model
        self._server = server
        self._say = say
        self._records = Records(storage)
        self._journal = self._records.journal(model)
        self._file = ConfigFile(storage, model)

    @property
    def journal(self) -> Journal:
        """As it was last written."""
        return self._journal

    def switch(self, change: Change, prepare: Prepare | None = None) -> tuple[Switch, str]:
        """Makes a version serve.

        Args:
            change: what is to be.
            prepare: writes and verifies what the version consists of, and says what it wrote; None where it is there.

        Returns:
            The switch, and how it was seen to serve.

        Raises:
            RolledBack: the version does not serve, and what was before does again.
            Unavailable: the store failed; the text says what state that leaves.
            Busy: somebody else has taken over.
        """
        serial = self._next_serial(change.before)
        text = change.config.text(serial)
        outcome: Outcome = "not awaited" if self._server is None else "serving"
        record = Switch(serial, change.version, change.source, now(), me(), text, outcome)
        self._write(self._journal.begun(Pending(record, change.before, "uploading", change.writes)))
        if prepare is not None:
            self._prepare(change, prepare)
        self._lease.check()
        pending = Pending(record, change.before, "switching", change.writes)
        self._write(self._journal.begun(pending))
        self._put(text, change.before)
        try:
            seen = self._settle(pending, change.config)
        except Busy as lost:
            raise Busy(
                f"{lost}. Until then {config_path(self._model)} had named version {change.version} by this process; "
                "see `mm-publish list` for what serves now"
            ) from lost
        self._wait_gone(change)
        return record, seen

    def pin(self, config: ModelConfig, before: str) -> str:
        """Makes config.pbtxt name the versions that serve, so that no other is taken; returns its text."""
        serial = self._next_serial(before)
        text = config.text(serial)
        self._write(dataclasses.replace(self._journal, serial=serial))
        self._put(text, before)
        return text

    def recover(self) -> None:
        """Finishes or cleans up what a publisher left that was killed, or lost the store."""
        if self._journal.damaged:
            self._say(f"the journal of {self._model} is damaged: what was published before can't be rolled back to")
        pending = self._journal.pending
        if pending is None:
            return
        record = pending.switch
        self._say(f"{record.by} began to publish version {record.version} at {record.at} and did not finish")
        self._lease.check()
        now_there = self._file.text()
        if pending.step == "uploading":
            self._drop_upload(pending)
            self._write(self._journal.dropped())
        elif now_there == record.config:
            self._say(f"config.pbtxt names version {record.version} already; finishing")
            try:
                self._settle(pending, ModelConfig.parse(record.config))
            except RolledBack as error:
                # What was begun by somebody else is undone; what is wanted now goes on.
                self._say(str(error))
        elif now_there is not None and pending.before is not None and _left_as_it_was(now_there, pending):
            # Written anew, so that a delayed write of the other one meets something else.
            serial = self._next_serial(now_there)
            self._put(numbered(pending.before, serial), now_there, undo=False)
            self._write(self._journal.ended("interrupted", serial=serial))
        else:
            if pending.before is None and now_there is not None and _names_nothing(now_there):
                self._drop_first(pending)
            self._write(self._journal.ended("interrupted"))

    def _prepare(self, change: Change, prepare: Prepare) -> None:
        written: set[str] = set()
        try:
            prepare(written)
        except PublisherError as error:
            try:
                self._lease.check()
                if self._journal.pending is not None:
                    files = tuple(file for file in change.writes if file.path in written)
                    self._drop_upload(dataclasses.replace(self._journal.pending, files=files))
                self._write(self._journal.dropped())
            except Busy as lost:
                raise Busy(
                    f"{lost}. Nothing was switched by this process; what it had written of version {change.version} is "
                    "for the other to remove"
                ) from error
            except PublisherError as second:
                raise type(error)(
                    f"{error}\nNothing was switched. What was written could not be removed ({second}); the next "
                    "mm-publish does that"
                ) from error
            raise

    def _drop_upload(self, pending: Pending) -> None:
        version = pending.switch.version
        if pending.files and self._records.manifest(self._model, version) is None:
            self._say(f"removing the incomplete version {version}")
            self._remove(pending)

    def _remove(self, pending: Pending) -> None:
        """Removes what the publisher wrote of a version, and its manifest."""
        version = pending.switch.version
        left = remove_version(self._storage, self._model, version, self._lease.check, pending.files)
        self._records.delete_manifest(self._model, version)
        if left:
            self._say(f"{', '.join(left)} stays there: mm-publish did not write it")

    def _settle(self, pending: Pending, config: ModelConfig) -> str:
        """Waits for the version; returns how it was seen, or puts back what was before and raises RolledBack."""
        record, before = pending.switch, pending.before
        if self._server is None:
            self._write(self._journal.ended("not awaited"))
            return "nobody was asked whether it serves"
        self._say(f"waiting for version {record.version} through the proxy")
        try:
            seen = self._server.wait(self._model, record.version, config)
        except NotReadyError as error:
            self._lease.check()
            serial = self._put_back(pending)
            self._write(self._journal.ended("rolled back", str(error), serial))
            served = "nothing was served before" if before is None else "what served before still does"
            raise RolledBack(
                f"{self._model} version {record.version} was rolled back, and {served}: {error}"
            ) from error
        self._write(self._journal.ended("serving"))
        return seen

    def _wait_gone(self, change: Change) -> None:
        if self._server is None:
            return
        for version in change.stops:
            self._say(f"waiting for version {version} to stop")
            try:
                self._server.wait_gone(self._model, version, change.config)
            except NotGoneError as error:
                raise Unavailable(
                    f"{self._model} version {change.version} serves by config.pbtxt, but {error}: Triton has not taken "
                    "the new configuration over. Its log says why"
                ) from error

    def _put_back(self, pending: Pending) -> int:
        record, before = pending.switch, pending.before
        self._say("putting the configuration before back")
        if before is not None:
            serial = self._next_serial(record.config)
            self._put(numbered(before, serial), record.config, undo=False)
            return serial
        serial = self._next_serial(record.config)
        self._put(ModelConfig.parse(record.config).with_versions([_NO_VERSION]).text(serial), record.config, undo=False)
        self._drop_first(pending)
        return serial

    def _drop_first(self, pending: Pending) -> None:
        """Removes a model's only version, and with it the model."""
        self._remove(pending)
        self._lease.check()
        self._storage.delete(config_path(self._model))

    def _put(self, text: str, was: str | None, *, undo: bool = True) -> None:
        """Replaces config.pbtxt.

        Args:
            text: the new one.
            was: the one that is there.
            undo: whether to see to it, where that fails, that the old one stays.
        """
        try:
            self._file.put(text, was)
        except NotWrittenError as error:
            if undo and self._undone(text, was, error.there):
                raise Unavailable(f"{error}\nNothing was switched: what served before still does") from error
            raise Unavailable(f"{error}\nThe next mm-publish of {self._model} finishes or undoes this") from error

    def _undone(self, text: str, was: str | None, there: str | None) -> bool:
        """Sees to it that the old configuration stays, though a write of another may still be carried out."""
        if there is not None and there != was and not text.startswith(there):
            # Somebody else's.
            return False
        if was is None:
            if there is not None:
                self._storage.delete(config_path(self._model))
            return True
        serial = self._next_serial(was)
        if there is None or not self._file.restore(numbered(was, serial), there):
            return False
        self._write(self._journal.dropped(serial))
        return True

    def _next_serial(self, there: str | None) -> int:
        return max(self._journal.serial, serial_of(there or "") or 0) + 1

    def _write(self, journal: Journal) -> None:
        self._records.write_journal(journal, was=self._journal)
        self._journal = journal


def _names_nothing(there: str) -> bool:
    try:
        return ModelConfig.parse(there).pinned == (_NO_VERSION,)
    except ConfigError:
        return False


def _left_as_it_was(there: str, pending: Pending) -> bool:
    """Whether config.pbtxt is still the old one, or one of both that a store cut off."""
    return pending.switch.config.startswith(there) or body(pending.before or "").startswith(body(there))

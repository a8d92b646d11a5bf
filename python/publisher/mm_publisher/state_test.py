from __future__ import annotations

import dataclasses

import pytest

from mm_publisher.errors import Busy, Unavailable
from mm_publisher.state import File, Journal, Manifest, Pending, Records, Switch
from mm_publisher.storage import Storage
from mm_publisher.storage.folder import Folder

SWITCH = Switch(1, 2, "models:/m/2", "2026-01-01T00:00:00Z", "ann@host", "config", "serving")
FILES = (File("a/b.onnx", 3, "00"),)


def _manifest(model: str, version: int) -> Manifest:
    return Manifest(model, version, "here", "2026-01-01T00:00:00Z", "ann@host", FILES)


def test_manifests_and_journals_are_read_back(storage: Storage) -> None:
    records = Records(storage)
    for manifest in (_manifest("m", 1), _manifest("m", 12), _manifest("m.2", 1), _manifest("1.m", 1)):
        records.write_manifest(manifest)
    empty = Journal("journal.m")
    begun = empty.begun(Pending(SWITCH, "before", "switching", FILES))
    records.write_journal(begun, was=empty)

    assert records.manifests("m") == {1: _manifest("m", 1), 12: _manifest("m", 12)}
    assert records.manifest("m.2", 1) == _manifest("m.2", 1)
    assert records.manifest("m", 2) is None
    assert records.journal("journal.m") == begun
    assert records.journal("m") == Journal("m")
    assert records.models() == {"m", "m.2", "1.m", "journal.m"}
    records.delete_manifest("m", 12)
    assert set(records.manifests("m")) == {1}


def test_a_journal_that_somebody_else_wrote_is_not_overwritten(folder: Folder) -> None:
    records, empty = Records(folder), Journal("m")
    mine, theirs = empty.begun(Pending(SWITCH, None, "uploading", FILES)), dataclasses.replace(empty, serial=9)
    records.write_journal(theirs, was=empty)
    with pytest.raises(Busy, match="somebody else has written"):
        records.write_journal(mine, was=empty)
    assert records.journal("m") == theirs


def test_what_stands_is_the_latest_that_was_not_taken_back() -> None:
    journal = Journal("m").begun(Pending(SWITCH, None, "switching", FILES)).ended("serving")
    bad = dataclasses.replace(SWITCH, serial=2, version=3)
    journal = journal.begun(Pending(bad, "config", "switching", FILES)).ended("rolled back", "why", serial=3)
    assert journal.current == SWITCH
    assert journal.serial == 3
    assert [(switch.outcome, switch.reason) for switch in journal.switches] == [("serving", ""), ("rolled back", "why")]


def test_only_the_latest_switches_are_kept() -> None:
    journal = Journal("m")
    for serial in range(1, 70):
        journal = journal.begun(Pending(dataclasses.replace(SWITCH, serial=serial), None, "switching", FILES)).ended(
            "serving"
        )
    assert [switch.serial for switch in journal.switches] == list(range(20, 70))


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"format": 2, "model": "m"}',
        b"{}",
    ],
)
def test_what_a_newer_one_wrote_is_left_alone(folder: Folder, data: bytes) -> None:
    folder.write(".mm-publish.journal.m.json", data)
    folder.write(".mm-publish.manifest.1.m.json", data)
    for read in (lambda: Records(folder).journal("m"), lambda: Records(folder).manifest("m", 1)):
        with pytest.raises(
            Unavailable, match=r"is not of the format that this mm-publish knows \(1\); update mm-publish"
        ):
            read()


def test_what_was_cut_off_was_not_done(folder: Folder) -> None:
    folder.write(".mm-publish.journal.m.json", b'{"format": 1, "mod')
    folder.write(".mm-publish.manifest.1.m.json", b'{"format": 1, "mod')
    records = Records(folder)
    assert records.manifests("m") == {}
    assert records.journal("m") == Journal("m")
    assert records.journal("m").damaged
    begun = Journal("m").begun(Pending(SWITCH, None, "uploading", FILES))
    records.write_journal(begun, was=Journal("m"))
    assert records.journal("m") == begun
    assert not records.journal("m").damaged

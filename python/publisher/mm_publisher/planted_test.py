"""Whatever somebody plants in a repository on a shared file system, nothing outside of it is changed or published."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mm_publisher.api import publish, rollback
from mm_publisher.errors import PublisherError, Refused
from mm_publisher.inspecting import list_versions, verify
from mm_publisher.progress import Silent
from mm_publisher.retiring import retire
from mm_publisher.storage.folder import Folder
from publisher_testing.models import CONFIG, NAME
from publisher_testing.reader import served

_THEIRS = "of somebody else"
_FILES = ("graph.bin", "weights.bin")
# Where something is planted, and what.
_PLACES = (
    NAME, f"{NAME}/1", f"{NAME}/2", f"{NAME}/2/deep", f"{NAME}/1/graph.bin", f"{NAME}/2/graph.bin",
    f"{NAME}/2/deep/weights.bin", f"{NAME}/config.pbtxt", "other", f".mm-publish.journal.{NAME}.json",
    f".mm-publish.manifest.2.{NAME}.json", f".mm-publish.lease.00000007.{NAME}.json",
    f".mm-publish.scratch.{'0' * 32}.{NAME}", f".mm-publish.probe.{'0' * 32}.{NAME}",
)  # fmt: skip
_TARGETS = ("{outside}", "{outside}/2", "{outside}/graph.bin", "{outside}/nothing", "..", ".", "../../outside", "/")

_paths = st.sampled_from(
    ["graph.bin", "deep/weights.bin", "../../outside/graph.bin", "../../../outside/2/graph.bin", "/", "", ".", "x\0y"]
)
_versions = st.sampled_from([0, 1, 2, 7, -1, 2**70, True, None, "2", "../../outside", "../outside/2"])
_files = st.fixed_dictionaries({"path": _paths, "size": st.sampled_from([0, 9, 2**40, -1]), "sha256": st.just("00")})
_switches = st.fixed_dictionaries(
    {
        "serial": st.integers(0, 9), "version": _versions, "source": st.just("x"), "at": st.just("x"),
        "by": st.just("mallory"), "config": st.sampled_from(["", CONFIG, "version_policy {"]),
        "outcome": st.sampled_from(["serving", "rolled back", "gone"]), "reason": st.just(""),
    }
)  # fmt: skip
_journals = st.fixed_dictionaries(
    {
        "format": st.just(1),
        "model": st.sampled_from([NAME, "../outside/x", f"../../outside/{NAME}"]),
        "serial": st.integers(0, 9),
        "switches": st.lists(_switches, max_size=2),
        "pending": st.none()
        | st.fixed_dictionaries(
            {
                "switch": _switches,
                "before": st.sampled_from([None, "", CONFIG]),
                "step": st.sampled_from(["uploading", "switching", "other"]),
                "files": st.lists(_files, max_size=3),
            }
        ),
    }
)
_links = st.tuples(st.sampled_from(_PLACES), st.sampled_from(_TARGETS))


def _plant_link(path: Path, target: str) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _snapshot(folder: Path) -> dict[str, Any]:
    found = {}
    for path in [folder, *folder.rglob("*")]:
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, stat.st_nlink, content)
    return found


def _put(folder: Path, config: str | None = None) -> Path:
    (folder / "2").mkdir(parents=True)
    for name in (*_FILES, "2/graph.bin"):
        (folder / name).write_text(_THEIRS)
    if config is not None:
        shutil.rmtree(folder / "2")
        (folder / "config.pbtxt").write_text(config)
    return folder


_COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "publish": lambda root, source: publish(
        str(source), str(root), server=None, name=NAME, version=2, progress=Silent(), lease_wait_secs=0
    ),
    "publish the next": lambda root, source: publish(
        str(source), str(root), server=None, name=NAME, progress=Silent(), lease_wait_secs=0
    ),
    "roll back": lambda root, _: rollback(NAME, str(root), server=None, progress=Silent(), lease_wait_secs=0),
    "retire": lambda root, _: retire(NAME, 2, str(root), progress=Silent(), lease_wait_secs=0),
    "retire the first": lambda root, _: retire(NAME, 1, str(root), progress=Silent(), lease_wait_secs=0),
    "verify": lambda root, _: verify(str(root), progress=Silent()),
    "list": lambda root, _: list_versions(str(root)),
}
_BACKEND = CONFIG.replace("onnxruntime", "ours")
_JOURNAL_THAT_ASKS_TO_REMOVE: dict[str, Any] = {
    "format": 1, "model": NAME, "serial": 3, "switches": [],
    "pending": {
        "switch": {"serial": 3, "version": 2, "source": "x", "at": "x", "by": "mallory", "config": _BACKEND,
                   "outcome": "serving", "reason": ""},
        "before": None, "step": "uploading",
        "files": [{"path": path, "size": 2**40, "sha256": "00"} for path in (*_FILES, "2/graph.bin")],
    },
}  # fmt: skip


@example(links=[(f"{NAME}/2", "{outside}")], journal=_JOURNAL_THAT_ASKS_TO_REMOVE, command="publish", published=True)
@example(links=[(NAME, "{outside}")], journal=_JOURNAL_THAT_ASKS_TO_REMOVE, command="publish the next", published=False)
@example(links=[(f"{NAME}/2", "{outside}")], journal=None, command="retire", published=True)
@given(
    links=st.lists(_links, max_size=3),
    journal=st.none() | _journals,
    command=st.sampled_from(sorted(_COMMANDS)),
    published=st.booleans(),
)
def test_nothing_outside_changes(
    links: list[tuple[str, str]], journal: dict[str, Any] | None, command: str, published: bool
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root, outside = Path(scratch, "models"), _put(Path(scratch, "outside"))
        root.mkdir()
        source = _put(Path(scratch, "source"), _BACKEND)
        if published:
            publish(str(source), str(root), server=None, name=NAME, version=1, progress=Silent())
        if journal is not None:
            (root / f".mm-publish.journal.{NAME}.json").write_text(json.dumps(journal))
        for place, target in links:
            # What is planted first may be in the way of the next.
            with contextlib.suppress(OSError):
                _plant_link(root / place, target.format(outside=outside))
        # Planting itself may have gone through a link.
        shutil.rmtree(outside)
        _put(outside)
        before = _snapshot(outside)
        with contextlib.suppress(PublisherError):
            _COMMANDS[command](root, source)
        assert _snapshot(outside) == before


@pytest.mark.parametrize("place", [f"{NAME}/2", f"{NAME}/2/graph.bin", f"{NAME}/2/deep/weights.bin", NAME])
@pytest.mark.parametrize("target", ["{outside}", "{outside}/graph.bin", "{outside}/nothing"])
@pytest.mark.parametrize("command", ["publish", "retire", "publish a pipe"])
def test_a_version_that_is_or_holds_a_link_is_refused(tmp_path: Path, place: str, target: str, command: str) -> None:
    (tmp_path / "models").mkdir()
    outside = _put(tmp_path / "outside")
    if command == "publish a pipe":
        (tmp_path / "models" / place).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / "models" / place)
    else:
        _plant_link(tmp_path / "models" / place, target.format(outside=outside))
    expected = rf"{place} in the repository is a link, or else no plain file, and is not followed: it could lead out"
    with pytest.raises(Refused, match=expected):
        _COMMANDS[command.removesuffix(" a pipe")](tmp_path / "models", _put(tmp_path / "source", _BACKEND))


def test_verify_reports_links_and_goes_on(tmp_path: Path) -> None:
    root, source = tmp_path / "models", _put(tmp_path / "source", _BACKEND)
    root.mkdir()
    publish(str(source), str(root), server=None, name=NAME, version=1, progress=Silent())
    _plant_link(root / "other", "..")
    _plant_link(root / NAME / "2", "..")
    (root / NAME / "1/graph.bin").unlink()
    (root / NAME / "1/graph.bin").symlink_to(source / "graph.bin")
    assert verify(str(root), progress=Silent()) == [
        "adder/1/graph.bin is a link, or else no plain file; mm-publish writes none and follows none",
        "adder/2 is a link, or else no plain file; mm-publish writes none and follows none",
        "other is a link, or else no plain file; mm-publish writes none and follows none",
        "adder/1/graph.bin is missing",
        "adder/2 was not published by mm-publish, or not to the end",
    ]
    assert [(row.model, row.version) for row in list_versions(str(root))] == [(NAME, 1), (NAME, 2)]


@pytest.mark.parametrize("step", ["uploading", "switching"])
def test_what_the_journal_does_not_name_is_left_there(tmp_path: Path, step: str) -> None:
    root, source = tmp_path / "models", _put(tmp_path / "source", _BACKEND)
    root.mkdir()
    publish(str(source), str(root), server=None, name=NAME, version=1, progress=Silent())
    (root / NAME / "2").mkdir()
    (root / NAME / "2/theirs.bin").write_text("put there by hand")
    (root / NAME / "2/graph.bin").write_text("longer than what the publisher was to write")
    pending = {**_JOURNAL_THAT_ASKS_TO_REMOVE["pending"], "step": step}
    pending["files"] = [{"path": "graph.bin", "size": 3, "sha256": "00"}]
    (root / f".mm-publish.journal.{NAME}.json").write_text(
        json.dumps({**_JOURNAL_THAT_ASKS_TO_REMOVE, "pending": pending})
    )
    publish(str(source), str(root), server=None, name=NAME, version=3, progress=Silent())
    assert sorted(path.name for path in (root / NAME / "2").iterdir()) == ["graph.bin", "theirs.bin"]
    assert sorted(served(root, NAME)) == [1, 3]


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "models", _put(tmp_path / "outside")
    root.mkdir()
    folder = Folder(root, NAME)
    source = tmp_path / "source.bin"
    source.write_text("x")

    def swap() -> None:
        _plant_link(root / NAME, str(outside))

    with pytest.raises(Refused, match=f"{NAME}/1 in the repository is a link"):
        folder.create(f"{NAME}/1/graph.bin", source, lambda _: None, swap)
    assert not (outside / "1").exists()

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from mm_publisher.errors import Unavailable, UsageError
from mm_publisher.storage.folder import Folder


def _no_rename(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture
def mounted(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder that refuses what a mount of S3 refuses."""
    monkeypatch.setattr(os, "link", _no_rename)
    monkeypatch.setattr(os, "replace", _no_rename)
    return folder


def _root(folder: Folder) -> Path:
    return Path(folder.url)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"models is not a folder; expected .* check that it is mounted"):
        Folder(tmp_path / "models", "m")


def test_a_file_appears_complete_and_nothing_else_stays(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 << 20))
    seen: list[list[str]] = []

    def look(_: int) -> None:
        seen.append([item.path for item in folder.list("m/")])

    assert folder.create("m/1/model.onnx", source, look, lambda: look(0))
    assert seen == [[], [], [], []]
    assert [item.path for item in folder.list("")] == ["m/1/model.onnx"]


def test_a_mount_without_renames_is_written_to_directly(mounted: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"model")
    assert mounted.create("m/1/model.onnx", source, lambda _: None, lambda: None)
    assert mounted.swap("m/config.pbtxt", b"1", was=None)
    assert not mounted.swap("m/config.pbtxt", b"2", was=None)
    assert mounted.swap("m/config.pbtxt", b"2", was=b"1")
    mounted.write("m/config.pbtxt", b"3")
    assert [(item.path, item.size) for item in mounted.list("")] == [("m/1/model.onnx", 5), ("m/config.pbtxt", 1)]


def test_on_a_mount_the_next_second_is_awaited(mounted: Folder) -> None:
    newest = time.time_ns()
    assert mounted.swap("m/config.pbtxt", b"1", was=None, newer_than_ns=newest)
    assert mounted.list("m/")[0].modified_ns // 10**9 > newest // 10**9


def test_files_from_the_future_are_outdone(folder: Folder) -> None:
    folder.write("m/1/model.onnx", b"x")
    tomorrow = time.time_ns() + 86400 * 10**9
    os.utime(_root(folder) / "m/1/model.onnx", ns=(tomorrow, tomorrow))
    assert folder.swap("m/config.pbtxt", b"1", was=None, newer_than_ns=folder.newest_ns("m/"))
    assert folder.newest_ns("m/") > tomorrow


def test_files_from_the_future_are_reported_where_times_cannot_be_set(mounted: Folder) -> None:
    with pytest.raises(Unavailable, match="dated in the future, and Triton notices nothing older"):
        mounted.swap("m/config.pbtxt", b"1", was=None, newer_than_ns=time.time_ns() + 86400 * 10**9)


def test_a_fence_removes_what_others_were_about_to_put_in_place(folder: Folder) -> None:
    root = _root(folder)
    kinds = [("scratch", "adder"), ("scratch", "adder.2"), ("scratch", "other"), ("probe", "adder")]
    paths = [root / f".mm-publish.{kind}.{'0' * 32}.{owner}" for kind, owner in kinds]
    for path in paths:
        path.write_text("half")
    folder.fence()
    assert [path.exists() for path in paths] == [False, True, True, True]
    # A probe is of a publisher that waits for the lease, unless it is old.
    for path in paths[1:]:
        os.utime(path, (1, 1))
    folder.fence()
    assert [path.exists() for path in paths] == [False, True, True, False]


def test_what_the_volume_refuses_is_reported(folder: Folder) -> None:
    (_root(folder) / "m").write_text("a file where a folder should be")
    with pytest.raises(Unavailable, match=r"could not write m/1/x in .*; check that the volume is mounted for writing"):
        folder.write("m/1/x", b"x")


def test_the_space_that_is_free_is_the_volumes(folder: Folder) -> None:
    assert (folder.free_bytes() or 0) > 0

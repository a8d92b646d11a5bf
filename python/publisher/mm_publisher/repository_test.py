from __future__ import annotations

import hashlib

import pytest

from mm_publisher.repository import differences, look, models_in, remove_version
from mm_publisher.state import File
from mm_publisher.storage import Storage

FILES = tuple(File(path, len(path), hashlib.sha256(path.encode()).hexdigest()) for path in ("a.onnx", "deep/b.bin"))


@pytest.fixture
def published(storage: Storage) -> Storage:
    for file in FILES:
        storage.write(f"m/3/{file.path}", file.path.encode())
    storage.write("m/config.pbtxt", b'name: "m"')
    storage.write("m/12/x", b"")
    storage.write("m/03/x", b"")
    storage.write("m/notes/x", b"")
    storage.write(".mm-publish.journal.m.json", b"{}")
    storage.write("readme.txt", b"")
    storage.write("other/1/x", b"")
    return storage


def test_models_and_versions_are_found(published: Storage) -> None:
    present = look(published, "m")
    assert models_in(published) == ["m", "other"]
    assert present.versions == [3, 12]
    assert present.serving == (12,)
    assert present.files(3) == {"a.onnx": 6, "deep/b.bin": 10}
    assert look(published, "nothing").versions == []
    assert look(published, "other").config is None


def test_what_is_as_it_should_be_does_not_differ(published: Storage) -> None:
    sizes: list[int] = []
    assert differences(published, "m", 3, FILES, sizes.append) == []
    assert sum(sizes) == 16


def test_each_difference_is_reported(published: Storage) -> None:
    published.write("m/3/a.onnx", b"b.onnx")
    published.write("m/3/more", b"")
    assert differences(published, "m", 3, FILES, lambda _: None) == [
        f"m/3/a.onnx has SHA-256 {hashlib.sha256(b'b.onnx').hexdigest()[:12]}…, expected {FILES[0].sha256[:12]}…",
        "m/3/more was not published",
    ]
    published.write("m/3/deep/b.bin", b"short")
    published.delete("m/3/a.onnx")
    published.delete("m/3/more")
    assert differences(published, "m", 3, FILES, lambda _: None) == [
        "m/3/a.onnx is missing", "m/3/deep/b.bin has 5 bytes, expected 10",
    ]  # fmt: skip


def test_a_version_is_removed_and_no_other(published: Storage) -> None:
    assert remove_version(published, "m", 3, lambda: None) == []
    assert look(published, "m").versions == [12]

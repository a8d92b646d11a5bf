"""What holds for a folder and for S3 alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mm_publisher.errors import Busy, Unavailable
from mm_publisher.storage import Item, Storage


def test_what_is_written_is_listed_and_read_back(storage: Storage, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 5000)
    sizes: list[int] = []
    assert storage.create("m/1/deep/big.bin", big, sizes.append, lambda: None)
    storage.write(".mm-publish.x", b"1")
    storage.write("m/config.pbtxt", b"22")

    assert [(item.path, item.size) for item in storage.list("")] == [
        (".mm-publish.x", 1),
        ("m/1/deep/big.bin", big.stat().st_size),
        ("m/config.pbtxt", 2),
    ]
    assert [item.path for item in storage.list("m/c")] == ["m/config.pbtxt"]
    assert [item.path for item in storage.list("m/1/")] == ["m/1/deep/big.bin"]
    assert b"".join(storage.chunks("m/1/deep/big.bin")) == big.read_bytes()
    assert sum(sizes) == big.stat().st_size
    assert storage.read("m/config.pbtxt") == b"22"


def test_what_is_not_there_is_none(storage: Storage) -> None:
    storage.write("m/config.pbtxt", b"x")
    assert storage.read("m/1/model.onnx") is None
    assert storage.read("m/config.pbtxt/below") is None
    assert storage.age_secs("nothing") is None
    assert storage.list("nothing/") == []
    assert storage.newest_ns("nothing/") == 0
    storage.delete("nothing")


def test_reading_a_lost_file_is_an_error_in_words(storage: Storage) -> None:
    with pytest.raises(Unavailable, match="could not read m/1/gone"):
        list(storage.chunks("m/1/gone"))


def test_a_swap_needs_what_is_expected(storage: Storage) -> None:
    assert storage.swap("c", b"1", was=None)
    assert not storage.swap("c", b"2", was=None)
    assert not storage.swap("c", b"2", was=b"0")
    assert storage.read("c") == b"1"
    assert storage.swap("c", b"2", was=b"1")
    assert storage.read("c") == b"2"
    assert not storage.swap("d", b"2", was=b"1")
    assert storage.read("d") is None


def test_of_many_who_create_one_wins(storage: Storage) -> None:
    won: list[bytes] = []
    ready = threading.Barrier(8)

    def create(data: bytes) -> None:
        ready.wait()
        if storage.swap("lease", data, was=None):
            won.append(data)

    threads = [threading.Thread(target=create, args=(str(number).encode(),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("lease") == won[0]


def test_a_swap_is_dated_later_than_it_is_asked_to_be(storage: Storage) -> None:
    storage.write("m/1/model.onnx", b"x")
    newest = storage.newest_ns("m/")
    assert storage.swap("m/config.pbtxt", b"c", was=None, newer_than_ns=newest)
    later = storage.newest_ns("m/")
    assert later > newest
    assert storage.swap("m/config.pbtxt", b"d", was=b"c", newer_than_ns=later)
    assert storage.newest_ns("m/") > later


def test_deleting_leaves_no_empty_folders(storage: Storage) -> None:
    storage.write("m/1/deep/model.onnx", b"x")
    storage.write("m/config.pbtxt", b"x")
    storage.delete("m/1/deep/model.onnx")
    assert [item.path for item in storage.list("")] == ["m/config.pbtxt"]


def test_an_age_is_the_stores_own(storage: Storage) -> None:
    storage.write("lease", b"x")
    deadline = time.monotonic() + 10
    while (storage.age_secs("lease") or 0) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    age = storage.age_secs("lease")
    assert age is not None
    assert 1 <= age < 5
    storage.write("lease", b"x")
    assert (storage.age_secs("lease") or 0) < 1


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"new")
    return path


def _create(storage: Storage, source: Path, confirm: Callable[[], None] = lambda: None) -> bool:
    return storage.create("adder/1/x", source, lambda _: None, confirm)


def test_what_is_there_is_not_created_again(storage: Storage, source: Path) -> None:
    storage.write("adder/1/x", b"old")
    assert not _create(storage, source)
    assert storage.read("adder/1/x") == b"old"


def test_what_appears_before_a_new_file_does_stays(storage: Storage, source: Path) -> None:
    assert not _create(storage, source, lambda: storage.write("adder/1/x", b"theirs"))
    assert storage.read("adder/1/x") == b"theirs"


def test_nothing_is_seen_of_a_file_until_it_is_confirmed(storage: Storage, source: Path) -> None:
    seen: list[list[Item]] = []
    assert _create(storage, source, lambda: seen.append(storage.list("adder/")))
    assert seen == [[]]
    assert storage.read("adder/1/x") == b"new"


def test_what_is_not_confirmed_is_not_written(storage: Storage, source: Path) -> None:
    def refuse() -> None:
        raise Busy("lost")

    with pytest.raises(Busy, match="lost"):
        _create(storage, source, refuse)
    storage.fence()
    assert storage.list("") == []


def test_a_fence_ends_what_others_have_begun(storage: Storage, source: Path) -> None:
    assert not _create(storage, source, storage.fence)
    assert storage.list("") == []
    assert _create(storage, source)
    storage.fence()
    assert storage.read("adder/1/x") == b"new"


def test_an_empty_file_is_one(storage: Storage, source: Path) -> None:
    source.write_bytes(b"")
    assert _create(storage, source)
    assert storage.read("adder/1/x") == b""

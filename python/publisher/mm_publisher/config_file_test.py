from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_publisher import config_file
from mm_publisher.config import serial_of
from mm_publisher.config_file import ConfigFile, NotWrittenError, body, numbered
from mm_publisher.errors import Busy, Unavailable
from mm_publisher.storage import Storage
from mm_publisher.storage.folder import Folder

_PATH = "m/config.pbtxt"


def test_it_is_replaced_and_dated_later(storage: Storage) -> None:
    file = ConfigFile(storage, "m")
    assert file.text() is None
    file.put("one", None)
    newest = storage.newest_ns("m/")
    file.put("two", "one")
    assert file.text() == "two"
    assert storage.newest_ns("m/") > newest


def test_what_somebody_else_wrote_stays(storage: Storage) -> None:
    file = ConfigFile(storage, "m")
    storage.write(_PATH, b"theirs")
    for was in (None, "one"):
        with pytest.raises(Busy, match=r"m/config.pbtxt was changed by somebody else meanwhile, and was left as it is"):
            file.put("mine", was)
    assert file.text() == "theirs"
    assert not file.restore("mine", "one")
    assert file.restore("mine", "theirs")


class _Odd(Folder):
    """Does something else than it should."""

    kept: bytes | None = None
    failing = True

    def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
        if self.kept is not None:
            self.write(path, self.kept)
        if self.failing:
            raise Unavailable("the store failed")
        return True

    def newest_ns(self, prefix: str) -> int:
        return 1


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Odd:
    monkeypatch.setattr(config_file, "_READ_AGAIN_SECS", (0.0, 0.0))
    return _Odd(tmp_path, "m")


def test_a_write_that_failed_and_was_not_carried_out_is_reported(odd: _Odd) -> None:
    odd.write(_PATH, b"old")
    with pytest.raises(NotWrittenError, match="the store failed") as caught:
        ConfigFile(odd, "m").put("new", "old")
    assert caught.value.there == "old"


def test_half_a_write_is_noticed(odd: _Odd) -> None:
    odd.failing, odd.kept = False, b"ne"
    with pytest.raises(NotWrittenError, match=r"m/config.pbtxt is not what was just written") as caught:
        ConfigFile(odd, "m").put("new", None)
    assert caught.value.there == "ne"


def test_what_triton_would_not_notice_is_reported(odd: _Odd) -> None:
    odd.kept = b"new"
    with pytest.raises(Unavailable, match=r"is not dated later than what was there before"):
        ConfigFile(odd, "m").put("new", None)


def test_where_nothing_can_be_read_that_is_reported(odd: _Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> bytes:
        raise Unavailable("the store failed")

    monkeypatch.setattr(odd, "read", fail)
    with pytest.raises(
        Unavailable, match=r"Whether m/config.pbtxt was replaced is not known; the next mm-publish of m"
    ):
        ConfigFile(odd, "m").put("new", "old")


@given(text=st.text(), first=st.integers(0, 10**9), second=st.integers(0, 10**9))
def test_a_number_replaces_the_one_before(text: str, first: int, second: int) -> None:
    again = numbered(numbered(text, first), second)
    assert serial_of(again) == second
    assert body(again) == body(numbered(text, first)) == body(text)

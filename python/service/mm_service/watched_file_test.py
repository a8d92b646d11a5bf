from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mm_service.watched_file import WatchedFile, WatchedFileStatistics

TIMEOUT = 30
BROKEN = b"broken"


class UnusableError(Exception):
    pass


class Watching:
    """A watched file, and what its user heard."""

    def __init__(self, *paths: Path, every_secs: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.changed: list[bytes] = []
        self.failed: list[str] = []
        self.paths = paths
        self.made = 0
        self.file = WatchedFile(
            [str(path) for path in paths],
            self.read,
            self.make,
            error=UnusableError,
            changed=self.changed.append,
            failed=self.failed.append,
            look_every_secs=every_secs,
            clock=clock,
        )

    def read(self) -> tuple[bytes, ...]:
        try:
            return tuple(path.read_bytes() for path in self.paths)
        except OSError as error:
            raise UnusableError(f"can't be read: {error.strerror}") from None

    def make(self, contents: tuple[bytes, ...]) -> bytes:
        self.made += 1
        if BROKEN in contents:
            raise UnusableError("is broken")
        return b"".join(contents)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"1")
    return tmp_path / "file"


def test_new_contents_are_in_use_once_looked_at(path: Path) -> None:
    watching = Watching(path)
    assert not watching.file.look()
    path.write_bytes(b"2")
    assert watching.file.current == b"1"
    assert watching.file.look()
    assert not watching.file.look()
    assert watching.file.current == b"2"
    assert watching.changed == [b"2"]
    assert watching.file.statistics() == WatchedFileStatistics(changes=1, failures=0, stale=False)


def test_a_second_change_within_one_tick_of_the_clock_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = path.stat()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: status)
        watching = Watching(path)
        path.write_bytes(b"2")
        watching.file.look()
        path.write_bytes(b"3")
        watching.file.look()
    assert watching.changed == [b"2", b"3"]


def test_files_that_settled_are_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: an_hour_later)
    watching = Watching(path)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert not watching.file.look()
    assert watching.failed == []


def test_what_cannot_be_used_changes_nothing_and_is_heard_of_once(path: Path) -> None:
    watching = Watching(path)
    path.write_bytes(BROKEN)
    assert [watching.file.look() for _ in range(3)] == [False] * 3
    assert watching.file.current == b"1"
    assert watching.failed == ["is broken"]
    assert watching.made == 2
    assert watching.file.statistics() == WatchedFileStatistics(changes=0, failures=1, stale=True)
    path.write_bytes(b"1")
    assert not watching.file.look()
    assert not watching.file.statistics().stale
    path.write_bytes(BROKEN)
    assert not watching.file.look()
    assert watching.failed == ["is broken"] * 2


def test_a_file_that_comes_back_broken_is_heard_of_again(path: Path) -> None:
    watching = Watching(path)
    path.write_bytes(BROKEN)
    watching.file.look()
    away = path.with_suffix(".away")
    path.rename(away)
    watching.file.look()
    away.rename(path)
    watching.file.look()
    assert watching.failed == ["is broken", "can't be read: No such file or directory", "is broken"]
    assert watching.file.current == b"1"


@pytest.mark.parametrize("content", [None, BROKEN])
def test_files_that_cannot_be_used_at_first_raise(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnusableError, match=r"can't be read|is broken"):
        Watching(path)


def test_it_looks_no_more_often_than_it_may(path: Path) -> None:
    now = [0.0]
    watching = Watching(path, every_secs=1.0, clock=lambda: now[0])
    path.write_bytes(b"2")
    seen = []
    for moment in (0.99, 1.0, 1.5):
        now[0] = moment
        seen.append((watching.file.due, watching.file.look()))
    assert seen == [(False, False), (True, True), (False, False)]


def test_while_one_thread_looks_others_go_on(path: Path) -> None:
    watching = Watching(path)
    reading, may_go_on = threading.Event(), threading.Event()
    read = watching.read

    def slow() -> tuple[bytes, ...]:
        reading.set()
        assert may_go_on.wait(TIMEOUT)
        return read()

    slowly_from_now_on = threading.Event()
    slowly = WatchedFile(
        [str(path)],
        lambda: slow() if slowly_from_now_on.is_set() else read(),
        watching.make,
        error=UnusableError,
        changed=watching.changed.append,
        failed=watching.failed.append,
    )
    path.write_bytes(b"2")
    with ThreadPoolExecutor(1) as pool:
        slowly_from_now_on.set()
        looking = pool.submit(slowly.look)
        assert reading.wait(TIMEOUT)
        assert not slowly.due
        assert not slowly.look()
        assert slowly.current == b"1"
        may_go_on.set()
        assert looking.result(TIMEOUT)
    assert slowly.current == b"2"


def test_files_that_change_together_are_read_together(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"

    def put(content: bytes) -> None:
        one.write_bytes(content)
        other.write_bytes(content)

    put(b"1")
    coming = iter([b"3", b"4"])
    watching = Watching(one, other)

    def changing(contents: Iterator[bytes]) -> Callable[[], tuple[bytes, ...]]:
        def read() -> tuple[bytes, ...]:
            first = one.read_bytes()
            if (content := next(contents, None)) is not None:
                put(content)
            return first, other.read_bytes()

        return read

    file = WatchedFile(
        [str(one), str(other)],
        changing(coming),
        watching.make,
        error=UnusableError,
        changed=watching.changed.append,
        failed=watching.failed.append,
    )
    assert file.current == b"44"


def test_files_that_never_settle_leave_the_value_of_before(path: Path) -> None:
    watching = Watching(path)
    numbers = iter(range(100))
    changing = False

    def read() -> tuple[bytes, ...]:
        if changing:
            path.write_bytes(b"x" * next(numbers))
        return (path.read_bytes(),)

    file = WatchedFile(
        [str(path)],
        read,
        watching.make,
        error=UnusableError,
        changed=watching.changed.append,
        failed=watching.failed.append,
    )
    changing = True
    path.write_bytes(b"2")
    assert not file.look()
    assert watching.failed == [f"{path} changed while they were read"]
    assert file.current == b"1"


class Changes(RuleBasedStateMachine):
    """Whatever happens to a file, the value is the last usable content that was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "file"
        self.path.write_bytes(b"1")
        self.watching = Watching(self.path)
        self.holds: bytes | None = b"1"
        self.used = b"1"

    @rule(content=st.sampled_from([b"1", b"2", BROKEN]))
    def write(self, content: bytes) -> None:
        self.path.write_bytes(content)
        self.holds = content

    @rule()
    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.holds = None

    @rule()
    def look(self) -> None:
        usable = self.holds is not None and self.holds != BROKEN
        changed = self.watching.file.look()
        assert changed == (usable and self.holds != self.used)
        if usable and self.holds is not None:
            self.used = self.holds
        assert self.watching.file.statistics().stale == (not usable)

    @invariant()
    def value_is_the_last_usable(self) -> None:
        assert self.watching.file.current == self.used

    def teardown(self) -> None:
        self.folder.cleanup()


TestChanges = Changes.TestCase
TestChanges.settings = settings(deadline=None, max_examples=50)

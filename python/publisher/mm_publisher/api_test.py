from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mm_publisher import api
from mm_publisher.api import publish, rollback
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Busy, Refused, Unavailable
from mm_publisher.progress import Silent
from mm_publisher.report import PublishReport
from mm_publisher.serving import NotGoneError
from mm_publisher.storage import OnBytes
from mm_publisher.storage.folder import Folder
from mm_publisher.write_config import ConfigOptions
from publisher_testing.models import NAME, write_source
from publisher_testing.reader import Reader, served


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(1, 5):
        write_source(tmp_path / str(number), float(number))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def _publish(root: Path, number: int, *, keep: int = 1, server: Reader | None = None) -> PublishReport:
    return publish(
        str(root.parent / str(number)),
        str(root),
        server=server or Reader(root),
        name=NAME,
        keep=keep,
        progress=Silent(),
    )


def test_versions_that_serve_are_kept_as_it_is_said(root: Path) -> None:
    assert _publish(root, 1).serving == (1,)
    assert _publish(root, 2).serving == (1, 2)
    report = _publish(root, 3, keep=2)
    assert (report.serving, report.was_serving) == ((1, 2, 3), (1, 2))
    report = _publish(root, 4, keep=0)
    assert (report.serving, list(served(root, NAME))) == ((4,), [4])
    assert sorted(path.name for path in (root / NAME).iterdir()) == ["1", "2", "3", "4", "config.pbtxt"]


def test_rolling_back_goes_back_and_forth_or_to_a_version(root: Path) -> None:
    for number in (1, 2, 3):
        _publish(root, number)
    server = Reader(root)

    def back(to_version: int | None = None) -> tuple[int, ...]:
        return rollback(NAME, str(root), server=server, to_version=to_version, progress=Silent()).serving

    assert back() == (1, 2)
    assert back() == (2, 3)
    assert back(1) == (1,)
    with pytest.raises(Refused, match="adder version 1 is the one that serves"):
        back(1)
    with pytest.raises(Refused, match="adder has not served version 7 here; it has served 2, 3 besides version 1"):
        back(7)
    shutil.rmtree(root / NAME / "3")
    with pytest.raises(Refused, match=r"adder version 3 is not in .* any more; publish it again"):
        back(3)


def test_nothing_goes_back_to_what_was_meddled_with(root: Path) -> None:
    for number in (1, 2):
        _publish(root, number)
    data = bytearray((root / NAME / "1/model.onnx").read_bytes())
    data[-1] ^= 1
    (root / NAME / "1/model.onnx").write_bytes(data)
    with pytest.raises(Refused, match=r"adder version 1 is not what was published:\n  - adder/1/model.onnx has"):
        rollback(NAME, str(root), server=Reader(root), progress=Silent())
    assert sorted(served(root, NAME)) == [1, 2]


def test_who_may_not_ask_writes_nothing(root: Path) -> None:
    with pytest.raises(Refused, match="does not let it be asked"):
        _publish(root, 1, server=Reader(root, forbidden=True))
    assert list(root.iterdir()) == []


def test_without_space_nothing_is_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "free_bytes", lambda _: 10)
    with pytest.raises(
        Refused, match=r"has 10 bytes free, and the version needs .*; free some, for instance by `mm-publish retire`"
    ):
        _publish(root, 1)
    assert list(root.iterdir()) == []


def test_a_store_that_keeps_something_else_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Forgetful(Folder):
        def create(self, path: str, source: Path, on_bytes: OnBytes, confirm: Callable[[], None]) -> bool:
            self.write(path, source.read_bytes()[:-1] + b"?")
            return True

    monkeypatch.setattr(api, "open_target", lambda *_: _Forgetful(root, NAME))
    with pytest.raises(Unavailable, match=r"does not hold what was written to it: adder/1/model.onnx has SHA-256"):
        _publish(root, 1)
    assert not (root / NAME).exists()


def test_files_that_are_there_by_hand_and_alike_are_adopted(root: Path) -> None:
    shutil.copytree(root.parent / "1", root / NAME / "1")
    shutil.move(root / NAME / "1/config.pbtxt", root / NAME / "config.pbtxt")
    report = publish(str(root.parent / "1"), str(root), server=Reader(root), name=NAME, version=1, progress=Silent())
    assert report.serving == (1,)
    (root / NAME / "2").mkdir()
    data = bytearray((root.parent / "2/model.onnx").read_bytes())
    data[-1] ^= 1
    (root / NAME / "2/model.onnx").write_bytes(data)
    with pytest.raises(Refused, match="adder/2 is there already and differs; publish this as a new version"):
        publish(str(root.parent / "2"), str(root), server=Reader(root), name=NAME, version=2, progress=Silent())
    assert (root / NAME / "2/model.onnx").read_bytes() == data
    assert list(served(root, NAME)) == [1]


def test_a_version_that_does_not_stop_is_reported(root: Path) -> None:
    for number in (1, 2):
        _publish(root, number)

    class _Stubborn(Reader):
        def wait_gone(self, *_: object) -> None:
            raise NotGoneError("version 2 still answers after 9 s")

    with pytest.raises(Unavailable, match="but version 2 still answers after 9 s: Triton has not taken the new config"):
        rollback(NAME, str(root), server=_Stubborn(root), progress=Silent())


def test_a_configuration_is_made_and_shown(root: Path) -> None:
    (root.parent / "1/config.pbtxt").unlink()
    report = publish(
        str(root.parent / "1"), str(root), server=Reader(root), name=NAME, progress=Silent(),
        write_config=ConfigOptions(dynamic_batching=True),
    )  # fmt: skip
    assert "dynamic_batching {\n}" in report.config
    text = repr(report)
    for part in (
        "published adder version 1\n", "  files    model.onnx (", "  serving  1 (before: none)\n",
        "  seen     version 1 answered\n", "  took     0.",
    ):  # fmt: skip
        assert part in text


class _Meddler(Reader):
    """Another process that changes something right before the new version is seen to serve."""

    def __init__(self, root: Path, meddle: Callable[[], object]) -> None:
        super().__init__(root)
        self._meddle = meddle

    def wait(self, model: str, version: int, config: ModelConfig) -> str:
        seen = super().wait(model, version, config)
        self._meddle()
        return seen


def test_a_configuration_that_is_changed_after_the_switch_is_reported(root: Path) -> None:
    config = root / NAME / "config.pbtxt"
    meddler = _Meddler(root, lambda: config.write_text(config.read_text() + "# by hand\n"))
    with pytest.raises(
        Busy, match=r"adder version 1 was switched to, and then somebody else changed adder/config.pbtxt"
    ):
        _publish(root, 1, server=meddler)
    assert config.read_text().endswith("# by hand\n")


@pytest.mark.parametrize("change", ["more", "less", "other"])
def test_files_that_are_changed_after_the_switch_are_reported(root: Path, change: str) -> None:
    folder = root / NAME / "1"
    changes: dict[str, Callable[[], object]] = {
        "more": lambda: (folder / "more.bin").write_text("x"),
        "less": lambda: (folder / "model.onnx").unlink(),
        "other": lambda: (folder / "model.onnx").write_text("x"),
    }
    with pytest.raises(Unavailable, match=r"adder version 1 was switched to, and then somebody else changed its files"):
        _publish(root, 1, server=_Meddler(root, changes[change]))


def test_a_file_that_somebody_else_puts_there_meanwhile_is_left_as_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Meddled(Folder):
        def create(self, path: str, source: Path, on_bytes: OnBytes, confirm: Callable[[], None]) -> bool:
            self.write(path, b"theirs")
            return super().create(path, source, on_bytes, confirm)

    monkeypatch.setattr(api, "open_target", lambda *_: _Meddled(root, NAME))
    expected = r"models/adder/1/model.onnx appeared while this process wrote the version, and was left as it is"
    with pytest.raises(Busy, match=expected):
        _publish(root, 1)
    assert (root / NAME / "1/model.onnx").read_text() == "theirs"
    assert not (root / NAME / "config.pbtxt").exists()

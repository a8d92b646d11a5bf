"""A publisher is killed, or its store fails, at any moment: what serves is complete, and the next one cleans up."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mm_publisher import api, config_file, retiring
from mm_publisher.api import publish, rollback
from mm_publisher.config import serial_of
from mm_publisher.errors import Busy, PublisherError, RolledBack, Unavailable
from mm_publisher.inspecting import verify
from mm_publisher.lease import me
from mm_publisher.progress import Silent
from mm_publisher.state import Journal, Pending, Records
from mm_publisher.storage.folder import Folder
from mm_publisher.target import open_target
from publisher_testing.crashing import Crashing, Killed
from publisher_testing.models import CONFIG, NAME
from publisher_testing.reader import Reader, files, served

_BROKEN = 3
Command = Callable[[Path, Path], object]


def _publish(root: Path, source: Path, version: int) -> object:
    server = Reader(root, broken=frozenset({_BROKEN}))
    return publish(str(source), str(root), server=server, name=NAME, version=version, progress=Silent())


def _first(root: Path, sources: Path) -> None:
    _publish(root, sources / "1", 1)


def _second(root: Path, sources: Path) -> None:
    _publish(root, sources / "2", 2)


def _broken(root: Path, sources: Path) -> None:
    with pytest.raises(RolledBack):
        _publish(root, sources / "broken", _BROKEN)


def _back(root: Path, sources: Path) -> None:
    rollback(NAME, str(root), server=Reader(root), progress=Silent())


def _retire(root: Path, sources: Path) -> None:
    retiring.retire(NAME, 1, str(root), progress=Silent())


def _by_hand(root: Path, sources: Path) -> None:
    """As people copy models: without a version policy."""
    shutil.copytree(sources / "1", root / NAME / "1", ignore=shutil.ignore_patterns("config.pbtxt"))
    shutil.copy(sources / "1/config.pbtxt", root / NAME)


def _adopted(root: Path, sources: Path) -> None:
    """As people copy one more version, which is then published where it is."""
    shutil.copytree(sources / "2", root / NAME / "2", ignore=shutil.ignore_patterns("config.pbtxt"))


# What was done before, and what is then killed.
_SCENARIOS: dict[str, tuple[list[Command], Command]] = {
    "the first version": ([], _first),
    "a first version that does not load": ([], _broken),
    "the next version": ([_first], _second),
    "a next version that does not load": ([_first, _second], _broken),
    "beside one put there by hand": ([_by_hand], _second),
    "a version that lies there by hand": ([_first, _adopted], _second),
    "rollback": ([_first, _second], _back),
    "retiring": ([_first, _second, lambda root, sources: _publish(root, sources / "4", 4)], _retire),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in ("1", "2", "4", "9", "broken"):
        (folder / name).mkdir()
        # A backend without checks of its own: these hundreds of publications are about the store.
        (folder / name / "config.pbtxt").write_text(CONFIG.replace("onnxruntime", "ours"))
        for part in ("graph.bin", "weights.bin"):
            (folder / name / part).write_text(f"{part} of {name}")
    return folder


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "_READ_AGAIN_SECS", (0.0, 0.0))


def _check_complete(root: Path, sources: Path) -> None:
    """What config.pbtxt names is complete, to the last byte."""
    for version, found in served(root, NAME).items():
        source = sources / ("broken" if version == _BROKEN else str(version))
        assert found == {path: data for path, data in files(source).items() if path != "config.pbtxt"}, version


def _disturb(
    folder: Path, sources: Path, scenario: str, at: int | None, *, after: bool, error: type[BaseException]
) -> tuple[Crashing, BaseException | None, Path]:
    before, command = _SCENARIOS[scenario]
    root = folder / "models"
    root.mkdir(parents=True)
    for step in before:
        step(root, sources)
    storage = Crashing(Folder(root, NAME), at, after=after, error=error)
    with pytest.MonkeyPatch.context() as patch:
        for module in (api, retiring):
            patch.setattr(module, "open_target", lambda *_: storage)
        try:
            command(root, sources)
        except (Killed, PublisherError) as caught:
            return storage, caught, root
    return storage, None, root


def _expire_lease(root: Path) -> None:
    for path in root.glob(".mm-publish.lease.*"):
        os.utime(path, (1, 1))


@pytest.mark.parametrize("error", [Killed, Unavailable])
@pytest.mark.parametrize("scenario", _SCENARIOS)
def test_a_publisher_stopped_at_any_moment_leaves_what_serves_complete(
    tmp_path: Path, sources: Path, scenario: str, error: type[BaseException]
) -> None:
    counted, _, root = _disturb(tmp_path / "undisturbed", sources, scenario, None, after=False, error=error)
    _check_complete(root, sources)
    assert counted.changes >= 3
    for moment in range(counted.changes):
        for after in (False, True):
            case = tmp_path / f"{moment}-{after}"
            before, _ = _SCENARIOS[scenario]
            _, _, root = _disturb(case, sources, scenario, moment, after=after, error=error)
            # What served goes on serving.
            _check_complete(root, sources)
            assert not before or served(root, NAME), case.name
            _expire_lease(root)
            _publish(root, sources / "9", 9)
            assert max(served(root, NAME)) == 9
            _check_complete(root, sources)
            records = Records(open_target(str(root)))
            # A version by hand has no manifest, and a killed `retire` is finished by the same command.
            left = [text for text in verify(str(root), progress=Silent()) if "not published by mm-publish" not in text]
            assert left == [] or (scenario == "retiring" and all("/1/" in text for text in left)), case.name
            assert records.journal(NAME).pending is None
            # What people put there is theirs.
            assert scenario != "a version that lies there by hand" or files(root / NAME / "2")
            assert not list(root.glob(".mm-publish.scratch.*"))
            shutil.rmtree(case)


def test_a_killed_switch_is_finished_by_the_next(tmp_path: Path, sources: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    _first(root, sources)

    class _KilledWaiting(Reader):
        def wait(self, *_: object) -> str:
            raise Killed

    with pytest.raises(Killed):
        publish(str(sources / "2"), str(root), server=_KilledWaiting(root), name=NAME, version=2, progress=Silent())
    assert verify(str(root), progress=Silent())[0].startswith(f"{me()} began to publish {NAME} version 2 at ")
    _expire_lease(root)
    _back(root, sources)
    outcomes = [(switch.version, switch.outcome) for switch in Records(open_target(str(root))).journal(NAME).switches]
    assert outcomes == [(1, "serving"), (2, "serving"), (1, "serving")]


def test_a_killed_switch_to_what_does_not_load_is_undone_by_the_next(tmp_path: Path, sources: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    _first(root, sources)
    publish(str(sources / "broken"), str(root), server=None, name=NAME, version=2, progress=Silent())
    records = Records(open_target(str(root)))
    # As if it had been killed just before its end.
    journal = records.journal(NAME)
    last = journal.switches[-1]
    pending = Pending(last, journal.switches[0].config, "switching", ())
    unfinished = Journal(NAME, journal.serial, journal.switches[:-1], pending)
    records.write_journal(unfinished, was=journal)
    publish(str(sources / "4"), str(root), server=Reader(root, broken=frozenset({2})), name=NAME, version=4,
            progress=Silent())  # fmt: skip
    assert list(served(root, NAME)) == [1, 4]
    outcomes = [(switch.version, switch.outcome) for switch in records.journal(NAME).switches]
    assert outcomes == [(1, "serving"), (2, "rolled back"), (4, "serving")]


def test_somebody_elses_change_is_not_overwritten(tmp_path: Path, sources: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    _first(root, sources)
    config = root / NAME / "config.pbtxt"

    class _Meddler(Folder):
        def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
            if path.endswith("config.pbtxt"):
                config.write_text(config.read_text() + "# by hand\n")
            return super().swap(path, data, was=was, newer_than_ns=newer_than_ns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "open_target", lambda *_: _Meddler(root, NAME))
        with pytest.raises(Busy, match="was changed by somebody else meanwhile, and was left as it is"):
            _second(root, sources)
    assert config.read_text().endswith("# by hand\n")
    assert list(served(root, NAME)) == [1]


def test_each_text_has_a_number_of_its_own(tmp_path: Path, sources: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    numbers = []
    for step in (_first, _second, _broken, _back, _back):
        step(root, sources)
        text = (root / NAME / "config.pbtxt").read_text()
        numbers.append(serial_of(text))
    assert numbers == sorted({number for number in numbers if number is not None})


def test_the_new_configuration_is_dated_later_than_all_before(tmp_path: Path, sources: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    _first(root, sources)
    future = time.time_ns() + 3600 * 10**9
    os.utime(root / NAME / "1/graph.bin", ns=(future, future))
    _second(root, sources)
    assert (root / NAME / "config.pbtxt").stat().st_mtime_ns > future

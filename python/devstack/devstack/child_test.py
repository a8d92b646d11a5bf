from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from devstack.child import Child, scratch_folder

_ENVIRONMENT = {"PATH": os.defpath}
_WAIT_SECONDS = 20.0


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _family(folder: Path) -> tuple[Child, int, int]:
    """A child that ignores SIGTERM, with a grandchild in the same and one in a session of its own; and their ids."""
    script = f"trap '' TERM; sleep 600 & echo $! > {folder}/a; setsid sleep 600 & echo $! > {folder}/b; wait"
    child = Child(["sh", "-c", script], env=_ENVIRONMENT, grace=0.1)
    files = [folder / "a", folder / "b"]
    _wait(lambda: all(file.exists() and file.read_text().strip() for file in files))
    first, second = (int(file.read_text()) for file in files)
    return child, first, second


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_ending_it_ends_what_it_started_before_returning(tmp_path: Path, how: str) -> None:
    child, *descendants = _family(tmp_path)
    getattr(child, how)()

    assert not any(_exists(pid) for pid in (child.pid, *descendants))
    assert child.poll() == 128 + signal.SIGKILL


def test_exit_status_and_output_of_a_command_that_ends_by_itself(tmp_path: Path) -> None:
    with Child(["sh", "-c", "echo out; echo err >&2; exit 7"], env=_ENVIRONMENT, log=tmp_path / "log") as child:
        assert child.wait(_WAIT_SECONDS) == 7
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_sigterm_comes_first_and_what_is_to_be_removed_goes_last(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    script = (
        f"trap 'ls {tmp_path}/data > {tmp_path}/seen; exit 3' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    )
    child = Child(["sh", "-c", script], env=_ENVIRONMENT, remove=[f"{tmp_path}/da*"])
    _wait((tmp_path / "up").exists)
    child.stop()

    assert child.poll() == 3
    assert (tmp_path / "seen").read_text() == "file\n"
    assert not (tmp_path / "data").exists()


def test_a_command_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot start /no/such/program; expected an executable file"):
        Child(["/no/such/program"], env=_ENVIRONMENT, log=tmp_path / "log")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
        import time
        from devstack.child import Child, scratch_folder
        with scratch_folder("{tmp_path}/scratch-") as folder:
            child = Child(["sleep", "600"], env={{"PATH": "{os.defpath}"}})
            print(child.pid, folder, flush=True)
            time.sleep(600)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().decode().split()
        assert _exists(int(pid))
        assert Path(folder).is_dir()
        owner.send_signal(number)

    _wait(lambda: not _exists(int(pid)) and not Path(folder).exists())


def test_a_scratch_folder_is_gone_at_once_after_its_block() -> None:
    with scratch_folder("child-test-") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
    assert not folder.exists()


class _Interrupted(BaseException):
    pass


def _interrupt_at(line: int) -> Callable[..., Any]:
    """A trace function that raises at a line, counted over those of `child` and of what it makes folders with."""
    seen = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if Path(frame.f_code.co_filename).name not in ("child.py", "tempfile.py", "pathlib.py"):
            return None
        if event == "line" and next(seen) == line:
            raise _Interrupted
        return trace

    return trace


def test_an_interruption_at_any_line_of_making_a_folder_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for line in itertools.count():
        sys.settrace(_interrupt_at(line))
        try:
            with scratch_folder("interrupted-"):
                sys.settrace(None)
        except _Interrupted:
            pass
        else:
            assert line > 20
            return
        finally:
            sys.settrace(None)
        assert not list(tmp_path.iterdir()), f"interrupted at line {line}"

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tritonserver

# Stands in for Triton: says what it was called with.
PROGRAM = '#!/bin/sh\necho "$0" "$@"\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home/backends/python").mkdir(parents=True)
    (tmp_path / "home/backends/python/stub").write_text("new")
    (tmp_path / "home/libexec").mkdir()
    (tmp_path / "home/libexec/tritonserver").write_text(PROGRAM)
    (tmp_path / "home/libexec/tritonserver").chmod(0o755)
    (tmp_path / "tmp").mkdir()
    return tmp_path / "home"


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys, tritonserver, pathlib; tritonserver.main(sys.argv[2:], pathlib.Path(sys.argv[1]))"
    env = {"TMPDIR": str(home.parent / "tmp"), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", code, str(home), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_triton_gets_backends_of_its_own(home: Path) -> None:
    copy = home.parent / "tmp/tritonserver-backends"
    done = run(home, "--model-repository=/models", "--id=a b")
    assert done.stdout.split(" ", 1)[1] == f"--backend-directory={copy} --model-repository=/models --id=a b\n"
    assert (copy / "python/stub").read_text() == "new"

    # A container that starts again finds the copy of the one before.
    (copy / "python/stub").write_text("changed")
    (copy / "left").write_text("")
    assert run(home).returncode == 0
    assert (copy / "python/stub").read_text() == "new"
    assert not (copy / "left").exists()


@pytest.mark.parametrize("words", [["--backend-directory=/b"], ["--backend-directory", "/b"]])
def test_who_names_a_folder_gets_it(home: Path, words: list[str]) -> None:
    assert run(home, *words).stdout.split(" ", 1)[1] == f"{' '.join(words)}\n"
    assert list((home.parent / "tmp").iterdir()) == []


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(tritonserver.StartError, match=r"can't be copied to .*; expected a writable .*emptyDir"):
        tritonserver.copy_backends(tmp_path / "source", tmp_path / "file/backends")

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = Path("bazel/tools/ruff_main.py").absolute()

CLEAN = '"""A module."""\n\nimport sys\n\nsys.exit(0)\n'


def run(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    shutil.copy("pyproject.toml", folder)
    (folder / "module.py").write_text(source)
    command = [sys.executable, "-P", str(MAIN), "module.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_clean(tmp_path: Path) -> None:
    done = run(tmp_path, CLEAN)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        (CLEAN + "import os\n", "F401"),
        (CLEAN.replace('"""A module."""', ""), "D100"),
        (CLEAN.replace("exit(0)", "exit( 0 )"), "+sys.exit(0)"),
    ],
    ids=["style", "docstring", "format"],
)
def test_a_finding_fails(tmp_path: Path, source: str, finding: str) -> None:
    done = run(tmp_path, source)
    assert done.returncode != 0
    assert finding in done.stdout + done.stderr

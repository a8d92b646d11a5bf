"""Layers of a small package, laid out as Bazel's sandboxes have them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = Path("bazel/tools/layer_main.py").absolute()
LOW = "def low() -> int:\n    return 1\n"
NO_SUMS = 'Cannot find implementation or library stub for module named "pack._high.sums"'
HIGH = "from pack._low.values import low\n\n\ndef high() -> int:\n    return low() + 1\n"


def check(folder: Path, low: str, *words: str, high: str | None = None) -> subprocess.CompletedProcess[str]:
    """Check the lower layer of a package; `high` is in its sandbox only where it is given."""
    files = {"src/pack/_low/__init__.py": "", "src/pack/_low/values.py": low}
    if high is not None:
        files.update({"src/pack/_high/__init__.py": "", "src/pack/_high/sums.py": high})
    files["pyproject.toml"] = "[tool.mypy]\nstrict = true\nexplicit_package_bases = true\n"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "scratch").mkdir()
    roots = [os.path.normpath(entry) for entry in os.environ["PYTHONPATH"].split(os.pathsep)]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "src"), *map(os.path.abspath, roots)]),
        "TEST_TMPDIR": str(folder / "scratch"),
    }
    command = [sys.executable, "-P", str(MAIN), *words, "src/pack/_low/values.py"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_layer_that_imports_nothing_from_above_passes_and_an_import_from_above_is_refused(tmp_path: Path) -> None:
    done = check(tmp_path, LOW, "--above", "pack._high", "--above", "pack._high.sums")
    assert done.returncode == 0, done.stdout + done.stderr
    for module in ("pack._high", "pack._high.sums"):
        assert f'Cannot find implementation or library stub for module named "{module}"' in done.stdout


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("import pack._high.sums", NO_SUMS),
        ("from pack._high.sums import high", NO_SUMS),
        ("from pack import _high", 'Module "pack" has no attribute "_high"'),
    ],
)
def test_a_layer_that_imports_from_above_fails(tmp_path: Path, line: str, finding: str) -> None:
    done = check(tmp_path, f"{line}\n\n\n{LOW}", "--above", "pack._high.sums")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"src/pack/_low/values.py:1: error: {finding}" in done.stdout


def test_a_layer_whose_dependencies_hold_what_is_above_it_fails(tmp_path: Path) -> None:
    done = check(tmp_path, LOW, "--above", "pack._high.sums", "--above", "pack._other", high=HIGH)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        "src/pack/_low/values.py can import pack._high.sums, which is above or beside its layer; "
        "expected mypy to find no such module; take the library that holds it out of the layer's deps\n"
    ) in done.stdout
    assert "can import pack._other" not in done.stdout


def test_a_wrong_type_fails(tmp_path: Path) -> None:
    done = check(tmp_path, LOW.replace("1", "'1'"), "--above", "pack._high")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Incompatible return value type" in done.stdout

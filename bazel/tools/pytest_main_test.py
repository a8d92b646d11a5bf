from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = Path("bazel/tools/pytest_main.py").absolute()


def run(folder: Path, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the wrapper over one module, as Bazel would."""
    (folder / "pyproject.toml").touch()
    (folder / "some_test.py").write_text(source)
    env = {**os.environ, "TEST_TMPDIR": str(folder), "XML_OUTPUT_FILE": str(folder / "test.xml"), **environment}
    command = [sys.executable, "-P", str(MAIN), "some_test.py"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def cases(folder: Path) -> list[str]:
    return re.findall(r'<testcase [^>]*name="(\w+)"', (folder / "test.xml").read_text())


def test_passing_tests_are_in_the_junit_file(tmp_path: Path) -> None:
    assert run(tmp_path, "def test_a(): pass\ndef test_b(): pass\n").returncode == 0
    assert cases(tmp_path) == ["test_a", "test_b"]


@pytest.mark.parametrize("source", ["", "def test_a(): assert False\n", "import nothing\n", "def helper(): pass\n"])
def test_failing_broken_and_empty_modules_fail(tmp_path: Path, source: str) -> None:
    assert run(tmp_path, source).returncode != 0


def test_a_case_is_named_without_the_key_in_its_parameter(tmp_path: Path) -> None:
    key = "s3" + "cret"
    source = f"""
import pytest
@pytest.mark.parametrize(("a", "b"), [("grpc://user:{key}@host", 1), ("plain", 2)])
def test_a(a, b): assert a in ("plain", "grpc://user:{key}@host")
"""
    assert run(tmp_path, source).returncode == 0
    written = (tmp_path / "test.xml").read_text()
    assert key not in written
    assert 'name="test_a[grpc://user:KEY@host-1]"' in written
    assert 'name="test_a[plain-2]"' in written


def test_filter(tmp_path: Path) -> None:
    source = "def test_a(): assert False\ndef test_b(): pass\n"
    assert run(tmp_path, source, TESTBRIDGE_TEST_ONLY="test_b").returncode == 0
    assert cases(tmp_path) == ["test_b"]


@pytest.mark.parametrize(("profile", "examples", "derandomize"), [("bazel", 100, True), ("thorough", 2000, False)])
def test_hypothesis_profiles(tmp_path: Path, profile: str, examples: int, derandomize: bool) -> None:
    source = (
        "from hypothesis import settings\n"
        "def test_profile():\n"
        f"    assert settings.default.max_examples == {examples}\n"
        f"    assert settings.default.derandomize is {derandomize}\n"
    )
    done = run(tmp_path, source, HYPOTHESIS_PROFILE=profile)
    assert done.returncode == 0, done.stdout


def test_a_file_beside_the_test_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')\n")
    done = run(tmp_path, "import json\ndef test_a(): assert json.dumps(1) == '1'\n", PYTHONPATH=own_path())
    assert done.returncode == 0, done.stdout


def own_path() -> str:
    """The wheels alone: without the entries that name the current folder."""
    return os.pathsep.join(entry for entry in os.environ["PYTHONPATH"].split(os.pathsep) if Path(entry).is_absolute())

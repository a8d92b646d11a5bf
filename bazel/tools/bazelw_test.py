from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

BAZELW = Path("bazelw").absolute()
# Answers --version like the real ones: Bazelisk with what it was asked for.
BAZEL = '#!/bin/sh\n[ "$1" = --version ] && echo "bazel {version}" || echo "{name} $USE_BAZEL_VERSION" "$@"\n'


def run(programs: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run bazelw where `programs`, made in the current folder, come first on PATH."""
    for name, version in programs.items():
        path = Path(name)
        path.write_text(BAZEL.format(name=name, version=version))
        path.chmod(0o755)
    env = {"PATH": f"{Path.cwd()}:/usr/bin:/bin", "HOME": str(Path.cwd())}
    return subprocess.run([BAZELW, *words], env=env, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_explains_itself(words: tuple[str, ...]) -> None:
    done = run({}, *words)
    assert done.returncode == 0
    assert "./bazelw test //..." in done.stdout


@pytest.mark.parametrize(
    ("programs", "chosen"),
    [
        ({"bazel": "4.2.3"}, "bazel"),
        ({"bazel": "4.2.3-homebrew"}, "bazel"),
        ({"bazel": "8.0.0", "bazelisk": "$USE_BAZEL_VERSION"}, "bazelisk"),
        ({"bazel": "$USE_BAZEL_VERSION"}, "bazel"),
    ],
)
def test_words_reach_a_bazel_of_the_right_version(programs: dict[str, str], chosen: str) -> None:
    done = run(programs, "run", "//:demo", "--", "--out", "a b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{chosen} 4.2.3 run //:demo -- --out a b\n"

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def _demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "tmp").mkdir()
    return subprocess.run(
        [sys.executable, "-P", "-m", "devstack.demo_publish", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "BUILD_WORKING_DIRECTORY": str(folder),
            "TMPDIR": str(folder / "tmp"),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_way_from_training_to_serving_is_shown(tmp_path: Path) -> None:
    done = _demo(tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "$ mm-publish publish models:/irises@champion s3://models/triton/inference-dev/triton-inference-server/models\n",
        "published irises version 1\n",
        "published irises version 2\n",
        "irises version 3 was rolled back, and what served before still does",
        "all is as it was published",
        "rolled back to irises version 1\n",
        " ✓ all as it should be",
    ):
        assert part in done.stdout
    assert len(re.findall(r"^  version [12] said \[[\d. ]+\] \d+ times$", done.stdout, re.MULTILINE)) == 2
    assert not list((tmp_path / "tmp").iterdir())


def test_there_is_nothing_to_choose(tmp_path: Path) -> None:
    done = _demo(tmp_path, "--model-repository", str(tmp_path))
    assert done.returncode == 2
    assert "demo_publish: error: unrecognized arguments: --model-repository" in done.stderr


def test_help_says_what_is_shown(tmp_path: Path) -> None:
    done = _demo(tmp_path, "--help")
    assert done.returncode == 0
    assert "how a model gets from training to serving" in done.stdout
    assert "0    every command ended as it should" in done.stdout

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from devstack import models, video
from devstack.models import MODELS

_COMMAND = (sys.executable, "-P", "-m", "devstack.demo")


def _environment(folder: Path) -> dict[str, str]:
    """What `bazel run` gives to a user in `folder`."""
    (folder / "tmp").mkdir(exist_ok=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "BUILD_WORKING_DIRECTORY": str(folder),
        "TMPDIR": str(folder / "tmp"),
        # Somebody's real credential, which must not be used.
        "DOMINO_USER_TOKEN": "not.for.here",
    }


def _demo(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*_COMMAND, *arguments],
        env={**_environment(folder), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not list((folder / "tmp").iterdir())
    return done


def test_the_demo_succeeds_and_writes_its_files_where_the_user_stands(tmp_path: Path) -> None:
    done = _demo(tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "✓ 180 frames",
        "precision 1.000",
        "UNAUTHENTICATED",
        "size mismatch: got 4915199 bytes, expected 4915200",
    ):
        assert part in done.stdout
    assert "✗" not in done.stdout
    assert "✓ chat" in done.stdout
    # Without Maven it says why not.
    assert ("✓ similarity" in done.stdout) != ("without all_minilm_l6_v2: " in done.stderr)
    results = tmp_path / "results"
    rows = [json.loads(line) for line in (results / "frame_counts.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(180))
    assert cv2.VideoCapture(str(results / "annotated.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 180
    sheet = cv2.imread(str(results / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] == 2000


def test_ones_own_video_and_model_are_used_as_they_are(tmp_path: Path) -> None:
    video.write(tmp_path / "own.mp4", tmp_path / "truth.jsonl")
    models.write_repository(tmp_path / "models", [models.DETECTOR])
    # What Ultralytics' own guide tells people to write.
    (tmp_path / "models" / models.DETECTOR / "config.pbtxt").write_text("")
    done = _demo(tmp_path, "--video", "own.mp4", "--model-repository", "models", "--out", "deep/out", MAX_FRAMES="20")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "no truth to compare with" in done.stdout
    assert "✓ 20 frames" in done.stdout
    assert sorted(path.name for path in (tmp_path / "deep/out").iterdir()) == [
        "annotated.mp4",
        "contact_sheet.png",
        "frame_counts.jsonl",
    ]


def test_a_model_that_answers_something_else_is_a_failure(tmp_path: Path) -> None:
    MODELS[models.ADD_SUB].write(tmp_path / "models" / models.DETECTOR)
    done = _demo(tmp_path, "--model-repository", "models", MAX_FRAMES="3")

    assert done.returncode == 1
    assert "✗ something differs" in done.stdout
    assert "frame 0:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--video", "none.mp4"], {}, "there is no file"),
        (["--model-repository", "none"], {}, "is not a folder"),
        ([], {"CONF_THRES": "2"}, "CONF_THRES"),
    ],
)
def test_wrong_arguments_and_settings_are_refused_in_words(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    done = _demo(tmp_path, *arguments, **environment)
    assert done.returncode == 2
    assert expected in done.stderr


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(_COMMAND, env=_environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("running mm-client" in line for line in process.stderr)
        frames = tmp_path / "results/frame_counts.jsonl"
        while not (frames.exists() and frames.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130

    assert not list((tmp_path / "tmp").iterdir())
    environments = [path for path in Path("/proc").glob("[0-9]*/environ") if str(tmp_path).encode() in _bytes_of(path)]
    assert environments == []


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_help_documents_the_exit_status(tmp_path: Path) -> None:
    done = _demo(tmp_path, "--help")
    assert done.returncode == 0
    for part in ("exit status", "130", "examples:", "--out DIR"):
        assert part in done.stdout

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.video import FPS, HEIGHT, WIDTH, box_of, write_video

from mm_client import __main__ as command
from mm_client import command_line
from mm_client.video_io import VideoSource


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", echo.API_KEY)


def rows_of(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "frame_counts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("more", "batches"),
    [([], [1] * 20), (["--parse-numpy", "0"], [1] * 20), (["--batch-size", "8"], [8, 8, 4])],
)
def test_a_video_is_detected_counted_and_drawn(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], batches: list[int]
) -> None:
    video = write_video(tmp_path / "v.mp4", 20)
    results = tmp_path / "new" / "results"
    arguments = ["--addr", server.addr, "--video", str(video), "--results", str(results), "--model", echo.DETECTS]
    assert command.main([*arguments, "--img-size", "320", *more]) == command_line.OK
    rows = rows_of(results)
    assert [row["frame"] for row in rows] == list(range(20))
    assert [row["ts_ms"] for row in rows] == [round(number * 1000 / FPS) for number in range(20)]
    for row in rows:
        box = box_of(row["frame"])
        assert row["count"] == (box is not None)
        assert row["counts"] == ({"car": 1} if box else {})
        if box:
            (found,) = row["detections"]
            assert (found["class_id"], found["label"]) == (2, "car")
            np.testing.assert_allclose(found["box"], box, atol=3)
        assert row["timing"]["triton_infer_ms"] == 1.5
        assert row["timing"]["roundtrip_ms"] > 0
        assert (row["width"], row["height"]) == (WIDTH, HEIGHT)
    with VideoSource(str(results / "annotated.mp4")) as annotated:
        assert (annotated.width, annotated.height, annotated.fps) == (WIDTH, HEIGHT, FPS)
        assert len(list(annotated.frames())) == 20
    assert server.streams == 1
    assert [seen.shape[0] for seen in server.seen] == batches
    out = capsys.readouterr().out
    assert out.startswith("20 frames, ")
    assert "0 failed" in out
    assert str(results / "annotated.mp4") in out


def test_failed_frames_are_logged_and_the_rest_goes_on(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MM_ADDR", server.addr)
    monkeypatch.setenv("VIDEO_PATH", str(write_video(tmp_path / "v.mp4", 6)))
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("MAX_FRAMES", "4")
    for model, outputs, row_status, words in (
        (echo.REFUSES, "output0", "BAD_REQUEST", "size mismatch: got 3 bytes, expected 4"),
        (echo.DETECTS, "nope", "UNDECODABLE", "the model has no output 'nope'; correct OUTPUT_NAMES"),
        ("echo", "output0", "UNDECODABLE", "the output [1, 3, 32, 32] float32 is a feature map per stride"),
    ):
        flags = ["--model", model, "--output-names", outputs, "--img-size", "32"]
        assert command.main(flags) == command_line.FAILED
        rows = rows_of(tmp_path)
        assert len(rows) == 4
        for row in rows:
            assert row["status"] == row_status
            assert words in row["error"]
            assert "count" not in row
        captured = capsys.readouterr()
        assert captured.err.startswith(f"mm-client: 4 × {row_status}, the first: ")
        assert words in captured.err
        assert "4 failed" in captured.out


def test_a_declared_shape_is_sent_as_it_is(server: EchoServer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 1)
    flags = ["--addr", server.addr, "--video", str(video), "--results", str(tmp_path), "--img-size", "32"]
    command.main([*flags, "--model", "echo", "--input-shape", "1,3,7,7"])
    # The echo has fewer elements than its shape says.
    assert "size mismatch: got 12288 bytes, expected 588" in rows_of(tmp_path)[0]["error"]


@pytest.mark.parametrize(
    ("flags", "environ", "status", "words"),
    [
        (["--video", "none.mp4"], {}, command_line.WRONG_USE, "there is no file or folder none.mp4"),
        ([], {}, command_line.WRONG_USE, "VIDEO_PATH (--video) is not set"),
        (["--video", __file__], {}, command_line.WRONG_USE, "cannot be read as a video"),
        (["--video", "VIDEO", "--labels", "none.txt"], {}, command_line.WRONG_USE, "MM_LABELS (--labels) none.txt"),
        (["--video", "VIDEO", "--layout", "x"], {}, command_line.WRONG_USE, "(--layout) is 'x'; expected one of"),
        (["--conf", "2"], {}, command_line.WRONG_USE, "CONF_THRES (--conf) is '2'"),
        (["--video", "VIDEO", "--addr", "http://x"], {}, command_line.WRONG_USE, "expected HOST:PORT"),
        (
            ["--video", "VIDEO", "--ca-bundle", "none.pem"],
            {},
            command_line.WRONG_USE,
            "CA bundle none.pem cannot be read",
        ),
        (
            ["--video", "VIDEO", "--results", "/dev/null/x"],
            {},
            command_line.WRONG_USE,
            "RESULTS_DIR (--results) /dev/null/x",
        ),
        (["--video", "VIDEO"], {"MAX_MESSAGE_MB": "x"}, command_line.WRONG_USE, "MAX_MESSAGE_MB"),
        (["--video", "VIDEO"], {"DOMINO_USER_API_KEY": ""}, command_line.REFUSED, "no Domino credentials found"),
        (["--video", "VIDEO"], {"DOMINO_USER_API_KEY": "wrong"}, command_line.REFUSED, echo.UNAUTHENTICATED_TEXT),
        (["--video", "VIDEO", "--addr", "127.0.0.1:1"], {}, command_line.REFUSED, "UNAVAILABLE"),
        (["--video", "VIDEO", "--model", echo.ABORTS], {}, command_line.REFUSED, "shutting down"),
        (
            ["clip.mp4"],
            {},
            command_line.WRONG_USE,
            "no command clip.mp4; expected infer, models, try, chat, doctor, console, or flags",
        ),
        (["--video", "VIDEO", "--model", echo.SWAPS], {}, command_line.REFUSED, "of-another-packet"),
        (
            ["infer", "--model", "m", "--input", "x", "--output", "y"],
            {},
            command_line.WRONG_USE,
            "'x' is not NAME=VALUE",
        ),
        (
            ["infer", "--model", echo.BREAKS, "--input", "x=text:a", "--output", "x"],
            {},
            command_line.FAILED,
            "failed to load",
        ),
        (
            ["infer", "--model", "m", "--input", "x=text:a", "--output", "y"],
            {"DOMINO_USER_API_KEY": "wrong"},
            command_line.REFUSED,
            echo.UNAUTHENTICATED_TEXT,
        ),
    ],
)
def test_each_failure_has_its_status_and_a_sentence(
    server: EchoServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    environ: dict[str, str],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MM_ADDR", server.addr)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    video = str(write_video(tmp_path / "v.mp4", 3))
    assert command.main([video if flag == "VIDEO" else flag for flag in flags]) == status
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def infer(server: EchoServer, *flags: str) -> int:
    return command.main(["infer", "--addr", server.addr, "--model", "echo", *flags])


def test_infer_prints_a_summary(server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.arange(12, dtype=np.float32).reshape(3, 4) / 8)
    status = infer(
        server,
        "--input",
        f"A={tmp_path}/a.npy",
        "--input",
        "T=text:hi",
        "--input",
        "T=text:ü",
        "--output",
        "A",
        "--output",
        "T",
        "--output",
        "nope",
        "--model-version",
        "",
    )
    assert status == command_line.FAILED
    assert capsys.readouterr().out.splitlines() == [
        "echo version 7: 1.5 ms in Triton, 2.5 ms in all",
        "A  FP32 [3, 4]  0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, … (12 elements)",
        "T  BYTES [2]  'hi', 'ü'",
        "nope  missing: the model has no such output",
    ]


def test_infer_prints_json(server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.array([1.5, np.nan, np.inf], np.float32))
    np.save(tmp_path / "b.npy", np.array([b"\xff", b"ok"]))
    flags = ["--input", f"A={tmp_path}/a.npy", "--input", f"B={tmp_path}/b.npy", "--output", "A", "--output", "B"]
    assert infer(server, *flags, "--dtype", "A=BF16", "--json") == command_line.OK
    printed = json.loads(capsys.readouterr().out)
    assert printed["outputs"] == {
        "A": {"dtype": "BF16", "shape": [3], "data": [1.5, "nan", "inf"]},
        "B": {"dtype": "BYTES", "shape": [2], "data": [{"b64": "/w=="}, "ok"]},
    }
    assert (printed["model"], printed["model_version"], printed["missing"]) == ("echo", "1", [])
    assert printed["timing"]["total_ms"] == 2.5


def test_infer_saves_outputs(server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.arange(4, dtype=np.int16))
    out = tmp_path / "out"
    flags = ["--input", f"A/1={tmp_path}/a.npy", "--input", "T=text:hi", "--output", "A/1", "--output", "T"]
    assert infer(server, *flags, "--out", str(out)) == command_line.OK
    np.testing.assert_array_equal(np.load(out / "A_1.npy"), np.arange(4, dtype=np.int16))
    assert np.load(out / "T.npy").tolist() == [b"hi"]
    assert f"wrote {out}/T.npy" in capsys.readouterr().err
    assert infer(server, "--input", "T=text:hi\0", "--output", "T", "--out", str(out)) == command_line.WRONG_USE
    assert "ends in NUL" in capsys.readouterr().err


@pytest.mark.parametrize("command_words", [[], ["infer"], ["models"], ["try"], ["chat"]])
def test_help_has_examples_and_statuses(command_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main([*command_words, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  " in text
    assert "exit status: 0" in text


def test_without_the_extra_infer_works_and_video_says_what_to_install() -> None:
    # An interpreter that cannot find the extra's packages, as after a plain installation.
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('cv2', 'tqdm') else find(name, *more)\n"
        "from mm_client.__main__ import main\n"
        "assert 'cv2' not in sys.modules\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    environ = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, "--video", "v.mp4"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == command_line.WRONG_USE
    assert done.stderr == (
        "mm-client: the video pipeline needs cv2 and tqdm: pip install 'domino-triton-client[video]'\n"
    )

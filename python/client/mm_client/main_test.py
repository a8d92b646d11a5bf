from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_testing import echo, media
from client_testing.echo import EchoServer
from client_testing.video import FPS, HEIGHT, WIDTH, box_of, write_video

from mm_client import __main__ as command
from mm_client.letterbox import Image
from mm_client.pictures import read_picture
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
    assert command.main([*arguments, "--img-size", "320", *more]) == command.OK
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
        assert command.main(flags) == command.FAILED
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
        (["--video", "none.mp4"], {}, command.WRONG_USE, "there is no file or folder none.mp4"),
        ([], {}, command.WRONG_USE, "VIDEO_PATH (--video) is not set"),
        (["--video", __file__], {}, command.WRONG_USE, "cannot be read as a video"),
        (["--video", "VIDEO", "--labels", "none.txt"], {}, command.WRONG_USE, "MM_LABELS (--labels) none.txt"),
        (["--video", "VIDEO", "--layout", "x"], {}, command.WRONG_USE, "(--layout) is 'x'; expected one of"),
        (["--conf", "2"], {}, command.WRONG_USE, "CONF_THRES (--conf) is '2'"),
        (["--video", "VIDEO", "--addr", "http://x"], {}, command.WRONG_USE, "expected HOST:PORT"),
        (["--video", "VIDEO", "--ca-bundle", "none.pem"], {}, command.WRONG_USE, "CA bundle none.pem cannot be read"),
        (
            ["--video", "VIDEO", "--results", "/dev/null/x"],
            {},
            command.WRONG_USE,
            "RESULTS_DIR (--results) /dev/null/x",
        ),
        (["--video", "VIDEO"], {"MAX_MESSAGE_MB": "x"}, command.WRONG_USE, "MAX_MESSAGE_MB"),
        (["--video", "VIDEO"], {"DOMINO_USER_API_KEY": ""}, command.REFUSED, "no Domino credentials found"),
        (["--video", "VIDEO"], {"DOMINO_USER_API_KEY": "wrong"}, command.REFUSED, echo.UNAUTHENTICATED_TEXT),
        (["--video", "VIDEO", "--addr", "127.0.0.1:1"], {}, command.REFUSED, "UNAVAILABLE"),
        (["--video", "VIDEO", "--model", echo.ABORTS], {}, command.REFUSED, "shutting down"),
        (["--video", "VIDEO", "--model", echo.SWAPS], {}, command.REFUSED, "of-another-packet"),
        (["infer", "--model", "m", "--input", "x", "--output", "y"], {}, command.WRONG_USE, "'x' is not NAME=VALUE"),
        (
            ["infer", "--model", echo.BREAKS, "--input", "x=text:a", "--output", "x"],
            {},
            command.FAILED,
            "failed to load",
        ),
        (
            ["infer", "--model", "m", "--input", "x=text:a", "--output", "y"],
            {"DOMINO_USER_API_KEY": "wrong"},
            command.REFUSED,
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


def red_square(left: int, width: int = 320, height: int = 180) -> Image:
    image = np.full((height, width, 3), 90, np.uint8)
    image[40:100, left : left + 60] = (0, 0, 255)
    return image


def flags_for(server: EchoServer, source: Path, results: Path) -> list[str]:
    flags = ["--addr", server.addr, "--video", str(source), "--results", str(results)]
    return [*flags, "--model", echo.DETECTS, "--img-size", "320"]


def test_a_folder_of_pictures_is_detected_in_their_own_pixels(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, results = tmp_path / "photos", tmp_path / "results"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(media.picture(".jpg", red_square(20)))
    (photos / "b.png").write_bytes(b"damaged")
    # Held upright: taken as 320×180 and shown as 180×320, what was left on top.
    (photos / "c.JPG").write_bytes(media.picture(".jpg", red_square(30), orientation=6))
    (photos / "d.webp").write_bytes(media.picture(".webp", red_square(40, 640, 360)))
    (photos / "e.jpeg").write_bytes(b"")
    (photos / "f.heic").write_bytes(b"")
    assert command.main(flags_for(server, photos, results)) == command.FAILED
    rows = rows_of(results)
    assert [row["file"] for row in rows] == ["a.jpg", "b.png", "c.JPG", "d.webp", "e.jpeg"]
    assert [row["frame"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["ts_ms"] for row in rows] == [0, 1000, 2000, 3000, 4000]
    for row, box, size in (
        (rows[0], (20, 40, 80, 100), (320, 180)),
        (rows[2], (80, 30, 140, 90), (180, 320)),
        (rows[3], (40, 40, 100, 100), (640, 360)),
    ):
        assert (row["width"], row["height"]) == size
        (found,) = row["detections"]
        assert found["label"] == "car"
        np.testing.assert_allclose(found["box"], box, atol=4)
    for row in (rows[1], rows[4]):
        assert row["status"] == "UNREADABLE"
        assert "cannot be decoded as a picture" in row["error"]
    captured = capsys.readouterr()
    annotated = results / "annotated"
    assert captured.out.startswith("5 frames, ")
    assert captured.out.endswith(
        f", 2 failed; wrote {results}/frame_counts.jsonl, {results}/annotated.mp4 and {annotated}\n"
    )
    assert captured.err == (
        f"mm-client: 2 × UNREADABLE, the first: {photos}/b.png cannot be decoded as a picture: it is damaged or of "
        "another format; expected JPEG, PNG or WebP\n"
        "mm-client: left out, since not named as pictures: f.heic\n"
    )
    # The green box around red, and not what was read.
    assert {path.name: read_picture(path).shape for path in annotated.iterdir()} == {
        "a.jpg": (180, 320, 3),
        "c.JPG": (320, 180, 3),
        "d.webp": (360, 640, 3),
    }
    drawn = read_picture(annotated / "d.webp").astype(int)
    assert np.abs(drawn - red_square(40, 640, 360)).max() > 60
    with VideoSource(str(results / "annotated.mp4")) as video:
        assert (video.width, video.height, video.fps) == (320, 180, 1)
        assert len(list(video.frames())) == 3


def test_one_picture_is_a_run_of_its_own(server: EchoServer, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(media.picture(".png", red_square(20)))
    assert command.main(flags_for(server, tmp_path / "photo.png", tmp_path / "r")) == command.FAILED
    assert "photo.png cannot be read: No such file" in rows_of(tmp_path / "r")[0]["error"]
    assert command.main(flags_for(server, tmp_path / "photo", tmp_path / "r")) == command.OK
    assert rows_of(tmp_path / "r")[0]["counts"] == {"car": 1}
    assert read_picture(tmp_path / "r" / "annotated" / "photo.png").shape == (180, 320, 3)


def test_classes_are_named_by_the_file_that_is_given(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.png").write_bytes(media.picture(".png", red_square(20)))
    (tmp_path / "names.txt").write_text("".join(f"part {number}\n" for number in range(80)))
    flags = flags_for(server, tmp_path / "p.png", tmp_path / "r")
    assert command.main([*flags, "--labels", str(tmp_path / "names.txt")]) == command.OK
    assert rows_of(tmp_path / "r")[0]["counts"] == {"part 2": 1}
    (tmp_path / "names.txt").write_text("a\nb\n")
    assert command.main([*flags, "--labels", str(tmp_path / "names.txt")]) == command.FAILED
    assert "has scores of 80 classes, and 2 names are given" in rows_of(tmp_path / "r")[0]["error"]
    (tmp_path / "names.txt").write_text("".join(f"{number}\n" * (number != 2) or "\n" for number in range(80)))
    capsys.readouterr()
    assert command.main([*flags, "--labels", str(tmp_path / "names.txt")]) == command.OK
    assert rows_of(tmp_path / "r")[0]["counts"] == {"class 2": 1}
    assert capsys.readouterr().err == "mm-client: the names of some classes are not known; name them by --labels\n"


def test_a_video_that_ends_early_is_said_and_counted(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = media.cut(media.write(tmp_path / "v.mkv", media.grey_frames(60), codec="MJPG"), 0.5)
    assert command.main(flags_for(server, path, tmp_path / "r")) == command.FAILED
    read = len(rows_of(tmp_path / "r"))
    captured = capsys.readouterr()
    assert 20 <= read <= 40
    assert captured.err == (
        f"mm-client: {path} ends early: {read} of about 60 frames could be read; the rest is missing or damaged\n"
    )
    assert captured.out.startswith(f"{read} frames, ")
    assert f", 0 failed, {60 - read} missing; wrote " in captured.out


def test_rows_have_the_frames_own_times(server: EchoServer, tmp_path: Path) -> None:
    path = media.set_durations(media.write(tmp_path / "v.mp4", media.grey_frames(4)), [40, 160, 40, 40])
    assert command.main(flags_for(server, path, tmp_path / "r")) == command.OK
    assert [row["ts_ms"] for row in rows_of(tmp_path / "r")] == [0, 40, 200, 240]


@pytest.mark.parametrize("suffix", [".mkv", ".png"])
def test_a_full_disk_does_not_stop_the_inference(server: EchoServer, tmp_path: Path, suffix: str) -> None:
    """In a process of its own, whose files may have 60 KB; what it draws has more."""
    noise = np.random.default_rng(1).integers(0, 255, (6, 360, 640, 3), np.uint8)  # some of it is red
    source = tmp_path / f"noise{suffix}"
    if suffix == ".mkv":
        media.write(source, list(noise), codec="MJPG")
    else:
        source.write_bytes(media.picture(".png", noise[0]))
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "from mm_client.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *flags_for(server, source, tmp_path / "r")],
        env={"PYTHONPATH": ":".join(sys.path), "DOMINO_USER_API_KEY": echo.API_KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    rows = rows_of(tmp_path / "r")
    assert [row["count"] for row in rows] == [1] * (6 if suffix == ".mkv" else 1)
    assert done.returncode == command.FAILED, done.stderr
    assert f"; {tmp_path}/r/frame_counts.jsonl is complete\n" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["annotated.mp4", "annotated", "annotated/p.png"])
def test_what_is_read_is_not_written_over(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = tmp_path / name
    (tmp_path / "annotated").mkdir()
    (tmp_path / "annotated" / "p.png").write_bytes(media.picture(".png", red_square(20)))
    write_video(tmp_path / "annotated.mp4", 3)
    assert command.main(flags_for(server, source, tmp_path)) == command.WRONG_USE
    assert f"(--results) {tmp_path} would write over {source}, which is read; name another" in capsys.readouterr().err
    assert not (tmp_path / "frame_counts.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "environ", "shown"),
    [
        (["--video", "rtsp://user:s3cret@127.0.0.1:1/live"], {}, "rtsp://***@127.0.0.1:1/live cannot be read as"),
        ([], {"VIDEO_PATH": "rtsp://u:s3/cr@et@127.0.0.1:1/x?k=s3cret"}, "rtsp://***@127.0.0.1:1/x?*** cannot be read"),
        (["rtsp://user:s3cret@camera/live"], {}, "unrecognized arguments: rtsp://***@camera/live"),
        (["--video", "VIDEO", "--addr", "http://u:s3cret@host:1"], {}, "http://***@host:1"),
        (
            ["infer", "--model", "m", "--input", "x=rtsp://u:s3cret@camera/x", "--output", "y"],
            {},
            "--input x=rtsp://***@camera/x: expected FILE.npy",
        ),
    ],
)
def test_secrets_of_addresses_are_nowhere(
    tmp_path: Path, flags: list[str], environ: dict[str, str], shown: str
) -> None:
    """In a process of its own: OpenCV and FFmpeg write to its standard error themselves."""
    video = str(write_video(tmp_path / "v.mp4", 3))
    done = subprocess.run(
        [sys.executable, "-m", "mm_client", *(video if flag == "VIDEO" else flag for flag in flags)],
        env={"PYTHONPATH": ":".join(sys.path), "DOMINO_USER_API_KEY": echo.API_KEY, **environ},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == command.WRONG_USE
    assert shown in done.stderr
    assert "s3" not in done.stdout + done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["v.mp4"]


def test_opencv_writes_nothing_between_our_lines(server: EchoServer, tmp_path: Path) -> None:
    picture = media.picture(".png", red_square(20))
    (tmp_path / "p.png").write_bytes(picture[: len(picture) // 2])
    done = subprocess.run(
        [sys.executable, "-m", "mm_client", *flags_for(server, tmp_path / "p.png", tmp_path / "r")],
        env={"PYTHONPATH": ":".join(sys.path), "DOMINO_USER_API_KEY": echo.API_KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == command.FAILED
    (line,) = done.stderr.splitlines()
    assert line.startswith("mm-client: 1 × UNREADABLE, the first: ")


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
    assert status == command.FAILED
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
    assert infer(server, *flags, "--dtype", "A=BF16", "--json") == command.OK
    told = json.loads(capsys.readouterr().out)
    assert told["outputs"] == {
        "A": {"dtype": "BF16", "shape": [3], "data": [1.5, "nan", "inf"]},
        "B": {"dtype": "BYTES", "shape": [2], "data": [{"b64": "/w=="}, "ok"]},
    }
    assert (told["model"], told["model_version"], told["missing"]) == ("echo", "1", [])
    assert told["timing"]["total_ms"] == 2.5


def test_infer_saves_outputs(server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.arange(4, dtype=np.int16))
    out = tmp_path / "out"
    flags = ["--input", f"A/1={tmp_path}/a.npy", "--input", "T=text:hi", "--output", "A/1", "--output", "T"]
    assert infer(server, *flags, "--out", str(out)) == command.OK
    np.testing.assert_array_equal(np.load(out / "A_1.npy"), np.arange(4, dtype=np.int16))
    assert np.load(out / "T.npy").tolist() == [b"hi"]
    assert f"wrote {out}/T.npy" in capsys.readouterr().err
    assert infer(server, "--input", "T=text:hi\0", "--output", "T", "--out", str(out)) == command.WRONG_USE
    assert "ends in NUL" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["infer", "--help"]])
def test_help_has_examples_and_statuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
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
    assert done.returncode == command.WRONG_USE
    assert done.stderr == (
        "mm-client: the video pipeline needs cv2 and tqdm: pip install 'domino-triton-client[video]'\n"
    )

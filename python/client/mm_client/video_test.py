"""Runs of `mm-client` over videos and pictures as people have them."""

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
from client_testing.video import write_video

from mm_client import __main__ as command
from mm_client import command_line
from mm_client.letterbox import Image
from mm_client.pictures import read_picture
from mm_client.video_io import VideoSource


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", echo.API_KEY)


def rows_of(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "frame_counts.jsonl").read_text().splitlines()]


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
    assert command.main(flags_for(server, photos, results)) == command_line.FAILED
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
    assert command.main(flags_for(server, tmp_path / "photo.png", tmp_path / "r")) == command_line.FAILED
    assert "photo.png cannot be read: No such file" in rows_of(tmp_path / "r")[0]["error"]
    assert command.main(flags_for(server, tmp_path / "photo", tmp_path / "r")) == command_line.OK
    assert rows_of(tmp_path / "r")[0]["counts"] == {"car": 1}
    assert read_picture(tmp_path / "r" / "annotated" / "photo.png").shape == (180, 320, 3)


def test_classes_are_named_by_the_file_that_is_given(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.png").write_bytes(media.picture(".png", red_square(20)))
    (tmp_path / "names.txt").write_text("".join(f"part {number}\n" for number in range(80)))
    flags = flags_for(server, tmp_path / "p.png", tmp_path / "r")
    assert command.main([*flags, "--labels", str(tmp_path / "names.txt")]) == command_line.OK
    assert rows_of(tmp_path / "r")[0]["counts"] == {"part 2": 1}
    (tmp_path / "names.txt").write_text("a\nb\n")
    assert command.main([*flags, "--labels", str(tmp_path / "names.txt")]) == command_line.FAILED
    assert "has scores of 80 classes, and 2 names are given" in rows_of(tmp_path / "r")[0]["error"]
    (tmp_path / "names.txt").write_text("".join(f"{number}\n" * (number != 2) or "\n" for number in range(80)))
    capsys.readouterr()
    assert command.main([*flags, "--labels", str(tmp_path / "names.txt")]) == command_line.OK
    assert rows_of(tmp_path / "r")[0]["counts"] == {"class 2": 1}
    assert capsys.readouterr().err == "mm-client: the names of some classes are not known; name them by --labels\n"


def test_a_video_that_ends_early_is_said_and_counted(
    server: EchoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = media.cut(media.write(tmp_path / "v.mkv", media.grey_frames(60), codec="MJPG"), 0.5)
    assert command.main(flags_for(server, path, tmp_path / "r")) == command_line.FAILED
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
    assert command.main(flags_for(server, path, tmp_path / "r")) == command_line.OK
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
    assert done.returncode == command_line.FAILED, done.stderr
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
    assert command.main(flags_for(server, source, tmp_path)) == command_line.WRONG_USE
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
    assert done.returncode == command_line.WRONG_USE
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
    assert done.returncode == command_line.FAILED
    (line,) = done.stderr.splitlines()
    assert line.startswith("mm-client: 1 × UNREADABLE, the first: ")

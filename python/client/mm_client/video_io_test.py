from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from client_testing import media
from hypothesis import given
from hypothesis import strategies as st

from mm_client.media import MediaError
from mm_client.video_io import VideoSink, VideoSource, encodable_fps


def times_of(path: Path) -> list[float]:
    source = VideoSource(str(path))
    return [round(frame.ts_ms, 1) for frame in source.frames()]


def test_frames_have_the_containers_own_times(tmp_path: Path) -> None:
    durations = [40, 40, 80, 160, 40, 500, 40, 40]
    path = media.set_durations(media.write(tmp_path / "phone.mp4", media.grey_frames(8)), durations)
    assert times_of(path) == [0, 40, 80, 160, 320, 360, 860, 900]


def test_frames_without_times_have_those_of_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "frames.mjpeg"
    path.write_bytes(b"".join(media.picture(".jpg", frame) for frame in media.grey_frames(4)))
    assert times_of(path) == [0, 40, 80, 120]


@pytest.mark.parametrize("declared", [211.222, 1000, 90000])
def test_a_rate_that_is_the_clocks_is_measured(tmp_path: Path, declared: float) -> None:
    path = media.declare_fps(media.write(tmp_path / "v.mkv", media.grey_frames(12), 25, "MJPG"), declared)
    source = VideoSource(str(path))
    assert source.fps == pytest.approx(25, rel=1e-3)
    assert source.frame_count == 12
    assert len(list(source.frames())) == 12
    assert source.missing == 0


def test_a_rate_of_a_fast_camera_is_kept(tmp_path: Path) -> None:
    path = media.write(tmp_path / "fast.mp4", media.grey_frames(12), 1000)
    assert VideoSource(str(path)).fps == pytest.approx(1000)


@pytest.mark.parametrize("fps", [0.01, 0.5, 23.976, 29.97, 143.856, 211.222, 1000, 65535, 90000, 1e9])
def test_any_rate_is_written_as_the_nearest_that_mpeg4_holds(tmp_path: Path, fps: float) -> None:
    with VideoSink(tmp_path / "v.mp4", fps, 64, 64) as sink:
        for frame in media.grey_frames(3, 64, 64):
            sink.write(frame)
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(min(max(fps, 0.1), 65535), abs=0.01)


@given(st.floats(0.01, 1e6))
def test_the_nearest_rate_is_near(fps: float) -> None:
    assert encodable_fps(fps) == pytest.approx(min(max(fps, 0.1), 65535), rel=1e-3, abs=0.001)


@pytest.mark.parametrize(
    ("size", "written"),
    [((1, 1), (2, 2)), ((321, 181), (320, 180)), ((8190, 64), (8190, 64)), ((16380, 128), (8190, 64))],
)
def test_sizes_that_mpeg4_cannot_hold_are_brought_near(
    tmp_path: Path, size: tuple[int, int], written: tuple[int, int]
) -> None:
    with VideoSink(tmp_path / "v.mp4", 20, *size) as sink:
        sink.write(np.full((size[1], size[0], 3), 200, np.uint8))
    source = VideoSource(str(tmp_path / "v.mp4"))
    (frame,) = source.frames()
    assert (source.width, source.height) == written
    assert frame.image.mean() > 190


def test_frames_of_another_size_are_fitted_into_the_first(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "v.mp4", 20, 160, 80) as sink:
        sink.write(np.full((80, 160, 3), 200, np.uint8))
        sink.write(np.full((200, 100, 3), 200, np.uint8))
    _, second = VideoSource(str(tmp_path / "v.mp4")).frames()
    # 100×200 into 160×80: 40×80 in the middle.
    assert second.image[:, 65:95].mean() > 180
    assert second.image[:, :50].mean() < 20
    assert second.image[:, 110:].mean() < 20


def test_a_size_that_changes_under_way_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "frames.mjpeg"
    frames = [*media.grey_frames(3, 320, 180), *media.grey_frames(3, 160, 120)]
    path.write_bytes(b"".join(media.picture(".jpg", frame) for frame in frames))
    assert [frame.image.shape for frame in VideoSource(str(path)).frames()] == [(180, 320, 3)] * 6


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    frame = np.zeros((180, 320, 3), np.uint8)
    frame[:, :100] = 255
    source = VideoSource(str(media.turn(media.write(tmp_path / "phone.mp4", [frame] * 3))))
    first = next(source.frames())
    assert first.image.shape == (320, 180, 3)
    assert (source.width, source.height) == (180, 320)
    # The left edge is on top.
    assert first.image[:90].mean() > 245
    assert first.image[120:].mean() < 10


def test_a_grey_video_has_three_channels(tmp_path: Path) -> None:
    path = media.write(tmp_path / "grey.avi", media.grey_frames(4), codec="FFV1", grey=True)
    frames = [frame.image for frame in VideoSource(str(path)).frames()]
    assert [frame.shape for frame in frames] == [(180, 320, 3)] * 4
    np.testing.assert_allclose(frames[3], 30, atol=2)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_video_that_ends_early_says_how_much_is_missing(tmp_path: Path, suffix: str) -> None:
    path = media.cut(media.write(tmp_path / f"v{suffix}", media.grey_frames(60), codec="MJPG"), 0.5)
    source = VideoSource(str(path))
    read = len(list(source.frames()))
    assert source.frame_count == 60
    assert 20 <= read <= 40
    assert source.missing == 60 - read


def test_a_video_that_is_stopped_misses_nothing(tmp_path: Path) -> None:
    source = VideoSource(str(media.write(tmp_path / "v.mp4", media.grey_frames(60))))
    assert len(list(source.frames(limit=10))) == 10
    assert source.missing == 0


@pytest.mark.parametrize("declared", [26, 50])
def test_a_number_of_frames_that_is_calculated_and_too_large_is_no_early_end(tmp_path: Path, declared: float) -> None:
    path = media.declare_fps(media.write(tmp_path / "v.mkv", media.grey_frames(60), 25, "MJPG"), declared)
    source = VideoSource(str(path))
    assert source.frame_count > 60
    assert len(list(source.frames())) == 60
    assert source.missing == 0


def test_a_last_frame_that_is_shown_for_long_is_no_early_end(tmp_path: Path) -> None:
    path = media.set_durations(media.write(tmp_path / "screen.mp4", media.grey_frames(6)), [40] * 5 + [9000])
    source = VideoSource(str(path))
    assert len(list(source.frames())) == 6
    assert source.missing == 0


def test_what_has_no_frames_is_said(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "none.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (320, 180))
    writer.release()
    with pytest.raises(MediaError, match=r"none\.avi has no frame that can be decoded"):
        list(VideoSource(str(tmp_path / "none.avi")).frames())


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4"])
def test_what_is_no_video_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"" if name == "empty.mp4" else b"no video")
    with pytest.raises(MediaError, match=f"{name} cannot be read as a video: it is empty or damaged, or of"):
        VideoSource(str(tmp_path / name))


def test_a_video_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written as a video of 64×64 pixels"):
        VideoSink(tmp_path / "none" / "v.mp4", 20, 64, 64)

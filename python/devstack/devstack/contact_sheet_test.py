from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from devstack import contact_sheet


def _video(path: Path, frames: int, width: int, height: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
    for number in range(frames):
        writer.write(np.full((height, width, 3), number * 255 // frames, np.uint8))
    writer.release()


@pytest.mark.parametrize(
    ("frames", "width", "height", "lines", "first"),
    [(60, 320, 240, 3, 5), (60, 240, 320, 3, 5), (3, 320, 240, 1, 0), (1, 320, 240, 1, 0)],
)
def test_the_tiles_are_frames_of_all_of_the_video(
    tmp_path: Path, frames: int, width: int, height: int, lines: int, first: int
) -> None:
    _video(tmp_path / "v.mp4", frames, width, height)
    rows = [{"frame": number, "count": number % 3} for number in range(frames)]
    contact_sheet.write(tmp_path / "v.mp4", rows, "title", "subtitle", tmp_path / "sheet.png")

    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    tile_height = 480 * height // width + 30
    assert sheet.shape == (84 + lines * (tile_height + 16), 4 * (480 + 16) + 16, 3)
    brightness = int(sheet[84 + tile_height // 2, 16 + 240][0])
    assert abs(brightness - first * 255 // frames) < 8


def test_a_video_without_frames_is_said(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(OSError, match=r"cannot read frames from .*v\.mp4; expected a video with 2 frames"):
        contact_sheet.write(tmp_path / "v.mp4", [{}, {}], "title", "subtitle", tmp_path / "sheet.png")

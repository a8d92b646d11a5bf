from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from devstack import video


def test_the_video_has_what_its_truth_says_and_both_are_the_same_each_time(tmp_path: Path) -> None:
    video.write(tmp_path / "a.mp4", tmp_path / "a.jsonl")
    video.write(tmp_path / "b.mp4", tmp_path / "b.jsonl")

    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    frames = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(video.FRAMES))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == video.FRAMES
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (960, 540)


def test_the_truth_has_empty_frames_occlusion_several_sizes_and_two_of_a_class(tmp_path: Path) -> None:
    video.write(tmp_path / "a.mp4", tmp_path / "a.jsonl")
    frames = [json.loads(line)["objects"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    objects = [entry for frame in frames for entry in frame]
    widths = [entry["box"][2] - entry["box"][0] for entry in objects if entry["visible"] > 0.98]

    assert sum(not frame for frame in frames) >= 30
    assert sum(entry["visible"] < 0.8 for entry in objects if entry["counts"]) >= 20
    assert any(not entry["counts"] for entry in objects)
    assert min(widths) < 40
    assert max(widths) > 150
    assert len({entry["label"] for entry in objects}) == 6
    assert any([entry["label"] for entry in frame].count("car") == 2 for frame in frames)
    assert all(0 <= x1 < x2 <= 960 and 0 <= y1 < y2 <= 540 for x1, y1, x2, y2 in (entry["box"] for entry in objects))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot write .*no/video\.mp4"):
        video.write(tmp_path / "no" / "video.mp4", tmp_path / "truth.jsonl")

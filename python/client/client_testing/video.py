"""A small video with known truth for the pipeline's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mm_client.video_io import VideoSink

WIDTH, HEIGHT, FPS = 320, 180, 20.0


def box_of(number: int) -> tuple[int, int, int, int] | None:
    """Where the red rectangle is in a frame, as x1, y1, x2, y2; None where there is none."""
    return None if number % 5 == 4 else (20 + 8 * number, 40, 80 + 8 * number, 100)


def write_video(path: Path, frames: int) -> Path:
    """Write the video: a red rectangle that moves to the right and is absent from each fifth frame."""
    with VideoSink(path, FPS, WIDTH, HEIGHT) as sink:
        for number in range(frames):
            frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            if box := box_of(number):
                frame[box[1] : box[3], box[0] : box[2]] = (0, 0, 255)
            sink.write(frame)
    return path

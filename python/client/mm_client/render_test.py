from __future__ import annotations

import numpy as np
import pytest

from mm_client.render import draw, draw_error
from mm_client.yolo import Detection


@pytest.mark.parametrize("side", [1, 40, 1000, 6000])
def test_lines_are_as_visible_in_large_frames_as_in_small_ones(side: int) -> None:
    edge = side * 0.5
    for boxes in ([], [Detection(0, "car", 0.9, (0.0, 0.0, edge, edge))]):
        frame = np.zeros((side, side, 3), np.uint8)
        draw(frame, boxes)
        drawn = frame.max(axis=2) > 0
        if boxes and side >= 1000:
            # The box's right edge, below the letters.
            line = np.flatnonzero(drawn[round(side * 0.4)])
            assert 0.002 * side <= (line > edge - side * 0.01).sum() <= 0.005 * side
    frame = np.zeros((side, side, 3), np.uint8)
    draw_error(frame, "INTERNAL")
    assert frame[side // 2, 0].tolist() == [0, 0, 255]

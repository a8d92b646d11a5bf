"""Drawing detections into a frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from mm_client.yolo import Detection, Image

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_RED = (0, 0, 255)
# Far apart in hue and dark enough for white letters, BGR.
_COLOURS = ((180, 60, 20), (20, 130, 40), (30, 30, 190), (150, 30, 150), (130, 110, 0), (0, 100, 180), (90, 90, 90))


def draw(frame: Image, found: Sequence[Detection]) -> None:
    """Draw boxes with their labels and scores, and the number of detections, into `frame`, BGR."""
    for detection in found:
        x1, y1, x2, y2 = (round(edge) for edge in detection.box)
        colour = _COLOURS[detection.class_id % len(_COLOURS)]
        cv2.rectangle(frame, (x1, y1), (x2, y2), colour, 2)
        _text(frame, f"{detection.label} {detection.score:.2f}", (x1, max(y1, 14)), colour)
    _text(frame, f"{len(found)} found", (4, 16), (60, 60, 60))


def draw_error(frame: Image, status: str) -> None:
    """Mark a frame that was not inferred."""
    cv2.rectangle(frame, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), _RED, 4)
    _text(frame, status, (4, 16), _RED)


def _text(frame: Image, text: str, bottom_left: tuple[int, int], background: tuple[int, int, int]) -> None:
    (width, height), base = cv2.getTextSize(text, _FONT, 0.45, 1)
    x, y = bottom_left
    cv2.rectangle(frame, (x, y - height - base), (x + width, y), background, cv2.FILLED)
    cv2.putText(frame, text, (x, y - base // 2 - 1), _FONT, 0.45, _WHITE, 1, cv2.LINE_AA)

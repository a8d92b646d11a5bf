"""Drawing detections into a frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from mm_client.letterbox import Image
from mm_client.yolo import Detection

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Up to this many pixels on the longer side, lines and letters have the size below; beyond, they grow with the frame.
_USUAL_SIDE = 1000
_LETTERS, _LINE, _MARGIN = 0.45, 2, 14
_WHITE = (255, 255, 255)
_RED = (0, 0, 255)
# Far apart in hue and dark enough for white letters, BGR.
_COLOURS = ((180, 60, 20), (20, 130, 40), (30, 30, 190), (150, 30, 150), (130, 110, 0), (0, 100, 180), (90, 90, 90))


def draw(frame: Image, found: Sequence[Detection]) -> None:
    """Draw boxes with their labels and scores, and the number of detections, into `frame`, BGR."""
    scale = _scale(frame)
    for detection in found:
        x1, y1, x2, y2 = (round(edge) for edge in detection.box)
        colour = _COLOURS[detection.class_id % len(_COLOURS)]
        cv2.rectangle(frame, (x1, y1), (x2, y2), colour, round(_LINE * scale))
        text = f"{detection.label} {detection.score:.2f}"
        _text(frame, text, (x1, max(y1, round(_MARGIN * scale))), colour)
    _text(frame, f"{len(found)} found", _corner(scale), (60, 60, 60))


def draw_error(frame: Image, status: str) -> None:
    """Mark a frame that was not inferred."""
    scale = _scale(frame)
    cv2.rectangle(frame, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), _RED, round(2 * _LINE * scale))
    _text(frame, status, _corner(scale), _RED)


def _scale(frame: Image) -> float:
    height, width = frame.shape[:2]
    return max(1.0, float(max(height, width)) / _USUAL_SIDE)


def _corner(scale: float) -> tuple[int, int]:
    return round(4 * scale), round((_MARGIN + 2) * scale)


def _text(frame: Image, text: str, bottom_left: tuple[int, int], background: tuple[int, int, int]) -> None:
    scale = _scale(frame)
    thickness = round(scale)
    (width, height), base = cv2.getTextSize(text, _FONT, _LETTERS * scale, thickness)
    x, y = bottom_left
    cv2.rectangle(frame, (x, y - height - base), (x + width, y), background, cv2.FILLED)
    cv2.putText(frame, text, (x, y - base // 2 - 1), _FONT, _LETTERS * scale, _WHITE, thickness, cv2.LINE_AA)

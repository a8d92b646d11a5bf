"""Frames to YOLOv8's input and its output to detections in the frame's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mm_client.labels import label
from mm_client.nms import Floats, per_class_nms

Image = npt.NDArray[np.uint8]
_GREY = (114, 114, 114)


class DecodeError(Exception):
    """The model's output is not of YOLOv8's layout."""


@dataclass(frozen=True)
class Detection:
    """One found object.

    Attributes:
        class_id: from 0.
        label: its name.
        score: from 0 to 1.
        box: x1, y1, x2, y2 in pixels of the original frame.
    """

    class_id: int
    label: str
    score: float
    box: tuple[float, float, float, float]

    def as_json(self) -> dict[str, Any]:
        """The detection as it stands in frame_counts.jsonl."""
        return {
            "class_id": self.class_id,
            "label": self.label,
            "score": round(self.score, 4),
            "box": [round(edge, 2) for edge in self.box],
        }


@dataclass(frozen=True)
class Letterbox:
    """How a frame was put into a square: scaled to fit, grey on both sides of what is shorter.

    Attributes:
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        size: side of the square, in pixels.
    """

    width: int
    height: int
    size: int

    @property
    def scale(self) -> float:
        """Pixels of the square per pixel of the frame."""
        return self.size / max(self.width, self.height)

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the scaled frame, in pixels of the square."""
        return max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))

    @property
    def offset(self) -> tuple[int, int]:
        """Left and top edge of the scaled frame in the square."""
        width, height = self.inner
        return (self.size - width) // 2, (self.size - height) // 2

    def apply(self, frame: Image) -> Image:
        """Return the square `[size, size, 3]` for a frame `[height, width, 3]`."""
        (width, height), (left, top) = self.inner, self.offset
        square = np.full((self.size, self.size, 3), _GREY, np.uint8)
        square[top : top + height, left : left + width] = cv2.resize(
            frame, (width, height), interpolation=cv2.INTER_LINEAR
        )
        return square

    def to_frame(self, boxes: Floats) -> Floats:
        """Map boxes `[N, 4]` (x1, y1, x2, y2) from the square back to the frame, cut at its edges."""
        offset = np.array(self.offset * 2, np.float32)
        limits = np.array((self.width, self.height) * 2, np.float32)
        mapped: Floats = np.clip((boxes - offset) / np.float32(self.scale), 0, limits)
        return mapped


def to_tensor(square: Image) -> Floats:
    """Turn a BGR square `[S, S, 3]` into RGB planes `[1, 3, S, S]`, FP32 from 0 to 1, in C order."""
    planes = square[None, :, :, ::-1].transpose(0, 3, 1, 2)
    return np.multiply(planes, np.float32(1 / 255), dtype=np.float32, order="C")


def detections(output: npt.NDArray[Any], letterbox: Letterbox, conf_threshold: float) -> list[Detection]:
    """Decode YOLOv8's output, best score first.

    Args:
        output: [1, 4 + classes, N]: centre x, centre y, width, height in pixels of the square, then a score per class.
        letterbox: how the frame was put into the square.
        conf_threshold: detections with a lower score are dropped.

    Raises:
        DecodeError: another layout.
    """
    if output.ndim != 3 or output.shape[0] != 1 or output.shape[1] < 5 or output.dtype.kind != "f":
        raise DecodeError(
            f"the detections have shape {list(output.shape)} and type {output.dtype}; "
            "expected [1, 4+classes, N] of floating point, as YOLOv8 gives them"
        )
    prediction = output[0]
    classes = prediction.shape[0] - 4
    candidates = np.flatnonzero(prediction[4:].max(axis=0) >= conf_threshold)
    prediction = prediction[:, candidates].astype(np.float32, copy=False)
    class_ids = prediction[4:].argmax(axis=0)
    scores: Floats = prediction[4:].max(axis=0)
    centres, halves = prediction[:2].T, prediction[2:4].T / 2
    boxes = np.concatenate((centres - halves, centres + halves), axis=1)
    kept = per_class_nms(boxes, scores, class_ids)
    found = []
    for index, (x1, y1, x2, y2) in zip(kept, letterbox.to_frame(boxes[kept]).tolist(), strict=True):
        class_id = int(class_ids[index])
        found.append(Detection(class_id, label(class_id, classes), float(scores[index]), (x1, y1, x2, y2)))
    return found

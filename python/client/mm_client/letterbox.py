"""Frames of any size to the square input of a detector, and boxes back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mm_client.nms import Floats

Image = npt.NDArray[np.uint8]
_GREY = (114, 114, 114)


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

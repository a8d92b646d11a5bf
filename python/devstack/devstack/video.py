"""A short synthetic video and the truth about it: which object can be seen where in each frame."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from devstack import scene
from devstack.palette import PALETTE
from devstack.scene import Kind, Placed

# Not square and not 640 pixels wide, so that letterboxing has to do its work.
WIDTH, HEIGHT, FPS = 960, 540, 25.0
FRAMES = 180
_SEED = 7
# Less of an object than this is for nobody to say whether it should be found.
_COUNTS_FROM = 0.4
_COLOURS = {colour.label: colour for colour in PALETTE}


@dataclass(frozen=True)
class _Mover:
    """A shape and its way: evenly from one point to another, swaying up and down, between two frames."""

    kind: Kind
    label: str
    size: float
    first: int
    last: int
    start: tuple[float, float]
    end: tuple[float, float]
    sway: float = 0.0

    def at(self, frame: int) -> Placed | None:
        if not self.first <= frame <= self.last:
            return None
        done = (frame - self.first) / (self.last - self.first)
        x, y = (start + (end - start) * done for start, end in zip(self.start, self.end, strict=True))
        return Placed(self.kind, _COLOURS[self.label], self.size, x, y + self.sway * math.sin(4 * math.pi * done))


# Later ones are in front. Nothing is seen before frame 10, between the two acts and after frame 169.
_MOVERS = (
    # First act: two cars at once, a stop sign that passes in front of a banana, objects that enter over the border.
    _Mover(Kind.CIRCLE, "banana", 150, 10, 89, (470, 190), (540, 210)),
    _Mover(Kind.TRIANGLE, "potted plant", 90, 10, 89, (130, 120), (250, 150), 30),
    _Mover(Kind.SQUARE, "car", 64, 10, 89, (-40, 470), (420, 470)),
    _Mover(Kind.SQUARE, "car", 110, 10, 89, (1020, 400), (800, 410)),
    _Mover(Kind.SQUARE, "stop sign", 84, 10, 89, (800, 180), (180, 280), 20),
    _Mover(Kind.CIRCLE, "frisbee", 40, 10, 89, (60, 320), (900, 60), 60),
    # Second act: all six at once, large and small, and an umbrella that passes in front of three others.
    _Mover(Kind.SQUARE, "banana", 36, 102, 169, (80, 90), (880, 90), 12),
    _Mover(Kind.CIRCLE, "stop sign", 120, 102, 169, (250, 330), (300, 360)),
    _Mover(Kind.TRIANGLE, "potted plant", 130, 102, 169, (520, 350), (560, 330), 10),
    _Mover(Kind.CIRCLE, "car", 170, 102, 169, (770, 320), (800, 360)),
    _Mover(Kind.TRIANGLE, "umbrella", 110, 102, 169, (1010, 300), (60, 420), 25),
    _Mover(Kind.CIRCLE, "frisbee", 34, 102, 169, (900, 500), (60, 200), 40),
)


def write(video: Path, truth: Path) -> None:
    """Writes the video and its truth; the same bytes of truth each time.

    Args:
        video: MP4 file to write, 960 x 540 pixels, 180 frames at 25 per second.
        truth: JSON-lines file to write, a line for each frame: {"frame": n, "objects": [...]}, each object with
            class_id, label, box [x1, y1, x2, y2] in pixels of the video, visible (the part of it that can be seen)
            and counts: false where so little of it can be seen that finding it is neither right nor wrong.

    Raises:
        OSError: the video cannot be written.
    """
    backdrop = scene.background(WIDTH, HEIGHT, np.random.default_rng(_SEED))
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"cannot write {video}; expected a folder that can be written to and OpenCV with the mp4v codec")
    with truth.open("w", encoding="utf-8") as lines:
        for frame in range(FRAMES):
            shapes = [shape for mover in _MOVERS if (shape := mover.at(frame)) is not None]
            image = backdrop.copy()
            scene.paint(image, shapes)
            writer.write(image)
            objects = [
                {
                    "class_id": part.colour.class_id,
                    "label": part.colour.label,
                    "box": list(part.box),
                    "visible": round(part.fraction, 3),
                    "counts": part.fraction >= _COUNTS_FROM,
                }
                for part in scene.visible_parts(WIDTH, HEIGHT, shapes)
            ]
            lines.write(json.dumps({"frame": frame, "objects": objects}) + "\n")
    writer.release()

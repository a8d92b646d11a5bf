"""The colours that the detector tells apart, and the COCO classes that they stand for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One class of object.

    Attributes:
        class_id: number among the 80 COCO classes.
        label: COCO's name.
        rgb: red, green and blue, each 0 to 1.
    """

    class_id: int
    label: str
    rgb: tuple[float, float, float]


COCO_CLASSES = 80
# Corners of the colour cube: even the blend of two of them, as between two touching objects, is far from a third.
PALETTE = (
    Colour(2, "car", (0.0, 0.0, 1.0)),
    Colour(11, "stop sign", (1.0, 0.0, 0.0)),
    Colour(25, "umbrella", (1.0, 0.0, 1.0)),
    Colour(29, "frisbee", (0.0, 1.0, 1.0)),
    Colour(46, "banana", (1.0, 1.0, 0.0)),
    Colour(58, "potted plant", (0.0, 1.0, 0.0)),
)

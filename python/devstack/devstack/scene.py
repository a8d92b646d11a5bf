"""Coloured shapes that move over a dark background, and what of each of them can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from devstack.palette import Colour

Image = NDArray[np.uint8]
# Sub-pixel bits of cv2's drawing functions.
_SHIFT = 4
_BRIGHTEST, _DARKEST = 235, 20


class Kind(Enum):
    """Outline of a shape."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"


@dataclass(frozen=True)
class Placed:
    """A shape at its place in one frame.

    Attributes:
        kind: its outline.
        colour: its colour and class.
        size: width and height in pixels.
        x: middle, in pixels from the left.
        y: middle, in pixels from the top.
    """

    kind: Kind
    colour: Colour
    size: float
    x: float
    y: float

    @property
    def area(self) -> float:
        """Area in pixels, where nothing hides or cuts it."""
        return self.size**2 * {Kind.CIRCLE: math.pi / 4, Kind.SQUARE: 1.0, Kind.TRIANGLE: 0.5}[self.kind]

    def draw(self, image: Image, colour: tuple[int, ...], line_type: int) -> None:
        """Fills the shape on an image, in place."""
        scale = 1 << _SHIFT
        # cv2 puts the middle of the first pixel at 0, boxes its left edge.
        x, y, half = self.x - 0.5, self.y - 0.5, self.size / 2
        if self.kind is Kind.CIRCLE:
            centre = (round(x * scale), round(y * scale))
            cv2.circle(image, centre, round((half - 0.5) * scale), colour, cv2.FILLED, line_type, _SHIFT)
            return
        reach = half - 0.5
        top = [(-reach, -reach), (reach, -reach)] if self.kind is Kind.SQUARE else [(0.0, -reach)]
        corners = [*top, (reach, reach), (-reach, reach)]
        points = np.array([[round((x + dx) * scale), round((y + dy) * scale)] for dx, dy in corners], np.int32)
        cv2.fillPoly(image, [points], colour, line_type, _SHIFT)


@dataclass(frozen=True)
class Visible:
    """What can be seen of a shape.

    Attributes:
        colour: its colour and class.
        box: x1, y1, x2, y2 in pixels of the part that can be seen, x2 and y2 just behind its last pixel.
        fraction: area that can be seen, as a part of all of it.
    """

    colour: Colour
    box: tuple[int, int, int, int]
    fraction: float


def background(width: int, height: int, random: np.random.Generator) -> Image:
    """Paints a dark, cloudy texture.

    Args:
        width: pixels per row.
        height: rows.
        random: source of the clouds.

    Returns:
        BGR image [height, width, 3].
    """
    clouds = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((6, 16.0), (24, 8.0), (120, 4.0)):
        noise = random.random((max(2, cells * height // width), cells, 3), np.float32)
        clouds += strength * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(clouds + np.array([26, 20, 16], np.float32), 0, 80).astype(np.uint8)


def paint(image: Image, shapes: Sequence[Placed]) -> None:
    """Draws shapes on a BGR image, in place, the later ones in front."""
    for shape in shapes:
        red, green, blue = (round(_DARKEST + (_BRIGHTEST - _DARKEST) * part) for part in shape.colour.rgb)
        shape.draw(image, (blue, green, red), cv2.LINE_AA)


def visible_parts(width: int, height: int, shapes: Sequence[Placed]) -> list[Visible]:
    """Finds what can be seen of each shape, the later ones being in front.

    Args:
        width: pixels per row.
        height: rows.
        shapes: as for `paint`.

    Returns:
        One entry for each shape of which anything can be seen.
    """
    seen = []
    taken = np.zeros((height, width), np.uint8)
    for shape in reversed(shapes):
        mask = np.zeros_like(taken)
        shape.draw(mask, (255,), cv2.LINE_8)
        hidden = taken > 0
        if mask[hidden].any():
            mask[hidden] = 0
            taken |= mask
            # What sticks out behind another shape by a pixel or two does not survive video compression.
            mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(np.uint8)
        taken |= mask
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            seen.append(Visible(shape.colour, box, min(1.0, float(np.count_nonzero(mask)) / shape.area)))
    return seen[::-1]

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack import scene
from devstack.palette import PALETTE
from devstack.scene import Kind, Placed


@given(st.sampled_from(Kind), st.integers(12, 120), st.floats(100, 200), st.floats(100, 200))
def test_a_shape_in_the_open_has_its_own_box_and_area(kind: Kind, size: int, x: float, y: float) -> None:
    (part,) = scene.visible_parts(320, 320, [Placed(kind, PALETTE[0], size, x, y)])

    wanted = [x - size / 2, y - size / 2, x + size / 2, y + size / 2]
    assert all(abs(real - ideal) <= 1.6 for real, ideal in zip(part.box, wanted, strict=True))
    assert part.fraction == pytest.approx(1, abs=4 / size + 0.02)


def test_what_is_in_front_hides_what_is_behind() -> None:
    behind = Placed(Kind.SQUARE, PALETTE[0], 40, 50, 50)
    front = Placed(Kind.SQUARE, PALETTE[1], 40, 70, 50)
    hidden, complete = scene.visible_parts(200, 100, [behind, front])

    assert hidden.box == (30, 30, 50, 70)
    assert hidden.fraction == pytest.approx(0.5, abs=0.03)
    assert complete.box == (50, 30, 90, 70)
    assert scene.visible_parts(200, 100, [behind, Placed(Kind.SQUARE, PALETTE[1], 60, 50, 50)])[0].colour == PALETTE[1]


def test_what_is_outside_is_cut_off() -> None:
    (part,) = scene.visible_parts(100, 100, [Placed(Kind.SQUARE, PALETTE[0], 40, 0, 50)])
    assert part.box == (0, 30, 20, 70)
    assert part.fraction == pytest.approx(0.5, abs=0.03)
    assert scene.visible_parts(100, 100, [Placed(Kind.SQUARE, PALETTE[0], 40, -50, 50)]) == []


def test_paint_uses_the_colours_and_the_background_stays_dark() -> None:
    image = scene.background(64, 48, np.random.default_rng(1))
    assert image.shape == (48, 64, 3)
    assert image.max() <= 80
    scene.paint(image, [Placed(Kind.CIRCLE, colour, 4, 8 + 8 * index, 24) for index, colour in enumerate(PALETTE)])
    for index, colour in enumerate(PALETTE):
        seen = image[24, 8 + 8 * index, ::-1] / 255
        assert math.dist(seen, colour.rgb) < 0.2

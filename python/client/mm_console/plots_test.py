"""Plots are well-formed, say what they show, and have everything within their borders."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_console.plots import lines, spectrogram, waveform

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
VALUES = st.floats(0, 1e9, allow_subnormal=False) | st.just(math.nan)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{svg}</div>")  # noqa: S314 - our own


@given(st.lists(st.tuples(FINITE, VALUES), max_size=20), st.booleans())
def test_any_points_stay_within_the_picture(points: list[tuple[float, float]], stepped: bool) -> None:
    points.sort(key=lambda point: point[0])
    root = parsed(lines("A <title>", {"a & b": points}, "x", "y", stepped=stepped))
    (svg, legend) = root
    assert svg.attrib["aria-label"] == "A <title>"
    assert "a & b" in "".join(legend.itertext())
    (path,) = [each for each in svg.iter("path") if "line" in each.attrib["class"]]
    for command, numbers in re.findall(r"([MLHV])([^MLHVh]*)", path.attrib["d"]):
        spots = [float(number) for number in numbers.split()]
        largest = (640, 260) if len(spots) == 2 else (640,) if command == "H" else (260,)
        assert all(0 <= spot <= most for spot, most in zip(spots, largest))


def test_a_gap_is_a_gap_and_a_point_alone_a_dot() -> None:
    root = parsed(lines("t", {"a": [(0, 1), (1, math.nan), (2, 1)]}, "x", "y"))
    (path,) = root.iter("path")
    assert path.attrib["d"].count("M") == path.attrib["d"].count("h0") == 2


def test_a_waveform_reaches_from_its_least_to_its_greatest_sample() -> None:
    samples = np.zeros(1000, np.float32)
    samples[500], samples[501] = 1, -1
    (polygon,) = parsed(waveform(samples, 100)).iter("polygon")
    heights = [float(spot.split(",")[1]) for spot in polygon.attrib["points"].split()]
    assert (min(heights), max(heights)) == (16, 210)


@pytest.mark.parametrize("count", [1, 100, 512, 40_000])
def test_a_spectrogram_of_any_length_is_a_picture(count: int) -> None:
    svg = spectrogram(np.sin(np.arange(count) / 3).astype(np.float32), 8000)
    assert 'href="data:image/png;base64,' in svg
    assert "4000" in "".join(parsed(svg).itertext())

"""Plots as inline SVG, made here: nothing is fetched for them, and their text can be read and tested."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np

from mm_client_api.tensors import Array

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 18, 16, 50
_COLOURS = 6
_TICKS = 4
_COLUMNS = 400
_WINDOW = 512
_FLOOR_DB = -80.0
Points = Sequence["tuple[float, float]"]


class _Axes:
    """A rectangle of values, drawn into a rectangle of the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x = x if x[1] > x[0] else (x[0], x[0] + 1)
        self._y = y if y[1] > y[0] else (y[0], y[0] + 1)

    def x(self, value: float) -> float:
        share = (value - self._x[0]) / (self._x[1] - self._x[0])
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self._y[0]) / (self._y[1] - self._y[0])
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def frame(self, x_label: str, y_label: str) -> list[str]:
        parts = []
        for value in _ticks(*self._y):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{_number(value)}</text>')
        for value in _ticks(*self._x):
            x = self.x(value)
            parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{_number(value)}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
        height = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text x="18" y="{height}" text-anchor="middle" transform="rotate(-90 18 {height})">'
            f"{escape(y_label)}</text>"
        )
        return parts


def lines(title: str, series: Mapping[str, Points], x_label: str, y_label: str, *, stepped: bool = False) -> str:
    """Return a plot of lines.

    Args:
        title: what it shows, for people that cannot see it.
        series: points (x, y) in the order of x, by name; a gap is a NaN.
        x_label: what is to the right, with its unit.
        y_label: what is upward, with its unit; it begins at 0.
        stepped: whether a value holds until the next.
    """
    points = [point for each in series.values() for point in each if math.isfinite(point[1])]
    xs, ys = ([point[place] for point in points] or [0.0] for place in (0, 1))
    axes = _Axes((min(xs), max(xs)), (0.0, _rounded_up(max(ys))))
    parts = axes.frame(x_label, y_label)
    for number, each in enumerate(series.values()):
        path = _path(axes, each, stepped=stepped)
        parts.append(f'<path class="line c{number % _COLOURS}" d="{path}"/>')
    return f"{_svg(title, parts)}{_legend(series)}"


def waveform(samples: Array, rate: float) -> str:
    """Return a plot of a recording.

    Args:
        samples: `[N]` from -1 to 1.
        rate: samples a second.
    """
    seconds = len(samples) / rate
    axes = _Axes((0.0, seconds), (-1.0, 1.0))
    columns = np.array_split(samples, min(_COLUMNS, max(1, len(samples))))
    upper = [(index, float(column.max(initial=-1))) for index, column in enumerate(columns)]
    lower = [(index, float(column.min(initial=1))) for index, column in enumerate(columns)]
    spots = [
        f"{axes.x((index + 0.5) * seconds / len(columns))},{axes.y(value)}" for index, value in (*upper, *lower[::-1])
    ]
    parts = [*axes.frame("seconds", "amplitude"), f'<polygon class="area c0" points="{" ".join(spots)}"/>']
    return _svg(f"Waveform of {seconds:.2f} s at {rate:g} Hz", parts)


def spectrogram(samples: Array, rate: float) -> str:
    """Return a plot of a recording's frequencies over time: the power of a Hann window's Fourier transform, in dB.

    Args:
        samples: `[N]` from -1 to 1.
        rate: samples a second.
    """
    seconds = len(samples) / rate
    axes = _Axes((0.0, seconds), (0.0, rate / 2))
    picture = base64.b64encode(_spectrum(samples)).decode()
    left, right, top, bottom = axes.x(0), axes.x(seconds), axes.y(rate / 2), axes.y(0)
    image = (
        f'<image x="{left}" y="{top}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{picture}"/>'
    )
    return _svg(f"Spectrogram up to {rate / 2:g} Hz", [image, *axes.frame("seconds", "Hz")])


def _spectrum(samples: Array) -> bytes:
    padded = np.pad(samples.astype(np.float32), (0, max(0, _WINDOW - len(samples))))
    starts = np.linspace(0, len(padded) - _WINDOW, min(_COLUMNS, 1 + (len(padded) - _WINDOW) // 64)).astype(int)
    frames = np.stack([padded[start : start + _WINDOW] for start in starts]) * np.hanning(_WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)).T[::-1] ** 2
    loudest = float(power.max())
    decibels = 10 * np.log10(np.maximum(power / loudest if loudest else power, 1e-12))
    shades = np.clip((decibels - _FLOOR_DB) / -_FLOOR_DB * 255, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", cv2.applyColorMap(shades, cv2.COLORMAP_VIRIDIS))[1])


def _svg(title: str, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'


def _legend(series: Mapping[str, Points]) -> str:
    items = "".join(
        f'<li><svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">'
        f'<rect class="c{number % _COLOURS}" width="12" height="12" rx="3"/></svg>{escape(name)}</li>'
        for number, name in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'


def _path(axes: _Axes, points: Points, *, stepped: bool) -> str:
    words, drawing = [], False
    for x, y in points:
        if not math.isfinite(y):
            drawing = False
            continue
        if drawing and stepped:
            words.append(f"H{axes.x(x)}V{axes.y(y)}")
        else:
            # A point alone is a dot.
            words.append(f"{'L' if drawing else 'M'}{axes.x(x)} {axes.y(y)}{'' if drawing else 'h0'}")
        drawing = True
    return "".join(words)


def _ticks(low: float, high: float) -> list[float]:
    step = _step((high - low) / _TICKS)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _step(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _rounded_up(value: float) -> float:
    if value <= 0:
        return 1.0
    step = _step(value / _TICKS)
    return math.ceil(value / step - 1e-9) * step


def _number(value: float) -> str:
    return f"{value:.10g}" if abs(value) < 1e5 else f"{value:.2g}"

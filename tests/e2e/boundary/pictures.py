"""Draws a dashboard about as Grafana shows it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from boundary.dashboards import STEP_SECS, Board, Seen, legend
from boundary.prometheus import Series

mpl.use("Agg")
_COLUMNS = 3
_PANEL_INCHES = (5.4, 3.3)
_HEADING_INCHES = 0.45
_MOST_LINES = 5
_LONGEST_LEGEND = 70
# A line at the largest value is seen below the frame.
_ABOVE = 1.04
_COLOURS = (
    "#73BF69", "#F2CC0C", "#5794F2", "#FF9830", "#F2495C", "#B877D9", "#8AB8FF", "#C4162A", "#37872D", "#FA6400",
)  # fmt: skip
_BACK, _PANEL, _TEXT, _GRID = "#111217", "#181b1f", "#ccccdc", "#2c3036"


def _scaled(base: float, units: Sequence[str]) -> Callable[[float], str]:
    def text(value: float) -> str:
        number = 0
        while abs(value) >= base and number < len(units) - 1:
            value, number = value / base, number + 1
        return f"{value:.3g}{units[number]}"

    return text


def _seconds(value: float) -> str:
    return (
        f"{value:.3g} s"
        if value >= 1 or not value
        else f"{value * 1e3:.3g} ms"
        if value >= 1e-3
        else f"{value * 1e6:.3g} µs"
    )


_BYTES = (" B", " KiB", " MiB", " GiB", " TiB")
# Grafana's names of units.
_UNITS: dict[str, Callable[[float], str]] = {
    "reqps": lambda value: f"{value:.3g} req/s",
    "s": _seconds,
    "d": lambda value: f"{value:.3g} d",
    "percentunit": lambda value: f"{value * 100:.3g} %",
    "bytes": _scaled(1024, _BYTES),
    "Bps": _scaled(1000, (" B/s", " kB/s", " MB/s", " GB/s")),
    "watt": lambda value: f"{value:.3g} W",
    "short": _scaled(1000, ("", " K", " Mil")),
}


def draw(board: Board, path: Path) -> None:
    """Draws one.

    Args:
        board: the dashboard with its data.
        path: the PNG.
    """
    heights: list[float] = []
    for _, panels in board.rows:
        heights += [_HEADING_INCHES, *[_PANEL_INCHES[1]] * -(-len(panels) // _COLUMNS)]
    size = (_PANEL_INCHES[0] * _COLUMNS, sum(heights) + _HEADING_INCHES)
    figure = Figure(figsize=size, dpi=80, facecolor=_BACK, layout="constrained")
    figure.suptitle(board.title, color=_TEXT, fontsize=16, fontweight="bold", x=0.01, ha="left")
    grid = figure.add_gridspec(len(heights), _COLUMNS * 2, height_ratios=heights)
    line = 0
    for title, panels in board.rows:
        heading = figure.add_subplot(grid[line, :])
        heading.axis("off")
        heading.text(0, 0.2, title, color=_TEXT, fontsize=13, fontweight="bold")
        line += 1
        across = min(len(panels), _COLUMNS)
        width = _COLUMNS * 2 // across
        for number, seen in enumerate(panels):
            down, column = divmod(number, across)
            place = grid[line + down, column * width : (column + 1) * width]
            _panel(figure.add_subplot(place), board, seen)
        line += -(-len(panels) // across)
    figure.savefig(path, facecolor=_BACK)


def _panel(axes: Axes, board: Board, seen: Seen) -> None:
    panel: dict[str, Any] = seen.panel
    defaults, custom = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["defaults"].get("custom", {})
    axes.set_title(panel["title"], color=_TEXT, fontsize=11, loc="left")
    axes.set_facecolor(_PANEL)
    axes.tick_params(colors=_TEXT, labelsize=8)
    axes.grid(color=_GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(_GRID)
    named = [
        (legend(target["legendFormat"], series), series)
        for target, answer in zip(panel["targets"], seen.answers, strict=True)
        for series in answer
    ]
    if not named:
        axes.text(0.5, 0.5, "No data", color=_TEXT, ha="center", va="center", transform=axes.transAxes, fontsize=12)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    (_stack if stacked else _lines)(axes, named)
    unit = _UNITS[defaults["unit"]]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: unit(value)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(MaxNLocator(4))
    most = defaults.get("max")
    axes.set_ylim(0, None if most is None else most * _ABOVE)
    axes.set_xlim(*_times([board.begin, board.end]))  # type: ignore[arg-type]
    _legend(axes)


def _times(times: Sequence[float]) -> list[datetime.datetime]:
    return [datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in times]


def _all_times(known: Sequence[float]) -> list[float]:
    """All moments from the first to the last: where nothing is known there is a gap, not a slope."""
    return [float(at) for at in np.arange(min(known), max(known) + STEP_SECS, STEP_SECS)]


def _lines(axes: Axes, named: Sequence[tuple[str, Series]]) -> None:
    for number, (name, series) in enumerate(named):
        colour = _COLOURS[number % len(_COLOURS)]
        values = dict(zip(series.times, series.values, strict=True))
        times = _all_times(series.times)
        heights = [values.get(at, float("nan")) for at in times]
        axes.plot(_times(times), heights, color=colour, linewidth=1.2, label=name)  # type: ignore[arg-type]


def _stack(axes: Axes, named: Sequence[tuple[str, Series]]) -> None:
    times = _all_times([at for _, series in named for at in series.times])
    layers = []
    for _, series in named:
        values = dict(zip(series.times, series.values, strict=True))
        layers.append([np.nan_to_num(values.get(at, 0.0)) for at in times])
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(named))]
    axes.stackplot(_times(times), layers, labels=[name for name, _ in named], colors=colours, alpha=0.75)  # type: ignore[arg-type]


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    shown = [name if len(name) <= _LONGEST_LEGEND else f"{name[: _LONGEST_LEGEND - 1]}…" for name in labels]
    columns = 1 if max(map(len, shown)) > _LONGEST_LEGEND // 2 else 2
    most = _MOST_LINES * columns
    if len(shown) > most:
        handles, shown = handles[:most], [*shown[: most - 1], f"… and {len(labels) - most + 1} more"]
    axes.legend(
        handles,
        shown,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=columns,
        fontsize=6.5,
        labelcolor=_TEXT,
        frameon=False,
    )

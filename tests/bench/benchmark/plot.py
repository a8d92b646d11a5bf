"""The results as a picture: answers per second of each path, a panel for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmark.paths import DIRECT, ENVOY, NAIVE, NGINX, ONE, OURS, PATHS, TRACED, TWO
from benchmark.report import size_name

_COLOURS = {DIRECT: "#7f7f7f", NGINX: "#8fb9a8", ENVOY: "#b58fc9", NAIVE: "#d9a441"}
_COLOURS |= {OURS: "#2a6fbb", TRACED: "#6fa8dc", ONE: "#2a6fbb", TWO: "#1c4a7d"}
_HOPS = {path.name: path.hop for path in PATHS}
_INCHES = 4.6


def draw(rows: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Writes a PNG.

    Args:
        rows: as `rows.rows` makes them; what has no figures is left out.
        target: the file.
    """
    sizes = sorted({row["size_bytes"] for row in rows})
    flights = sorted({row["in_flight"] for row in rows})
    figure = Figure(figsize=(_INCHES * len(flights), _INCHES * len(sizes)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sizes), len(flights), squeeze=False)
    figure.suptitle("Answers per second: median over rounds, least and most")
    for line, size_bytes in zip(panels, sizes, strict=True):
        for panel, in_flight in zip(line, flights, strict=True):
            panel.set_title(f"{size_name(size_bytes)}, {in_flight} in flight", fontsize=10)
            found = [row for row in rows if (row["size_bytes"], row["in_flight"]) == (size_bytes, in_flight)]
            measured = [row for row in reversed(found) if row["per_second"] is not None]
            panel.set_visible(bool(measured))
            _bars(panel, measured)
    figure.savefig(target, dpi=90)


def _bars(panel: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    names = [row["path"] for row in rows]
    medians = [row["per_second"] for row in rows]
    below = [row["per_second"] - min(row["per_second_by_round"]) for row in rows]
    above = [max(row["per_second_by_round"]) - row["per_second"] for row in rows]
    # A median is rounded, so it may lie a hair outside.
    errors = [[max(0.0, value) for value in side] for side in (below, above)]
    panel.barh(names, medians, xerr=errors, color=[_COLOURS[_HOPS[name]] for name in names], ecolor="#444444")
    panel.tick_params(labelsize=8)
    panel.grid(axis="x", alpha=0.3)

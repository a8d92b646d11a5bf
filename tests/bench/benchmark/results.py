"""What was measured, and comparisons within it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmark.paths import DIRECT, HTTP, PATHS
from benchmark.stats import Figures, Ratio, ratio

# Of gRPC: what HTTP costs is compared with HTTP.
_DIRECT_NAMES = [path.name for path in PATHS if path.hop == DIRECT and path.way != HTTP]


class Key(NamedTuple):
    """Whose figures."""

    path: str
    size_bytes: int
    in_flight: int


@dataclass
class Results:
    """What was measured.

    Attributes:
        figures: for each path and cell, one of each round, in their order.
        errors: the first failure of each path and cell that had one; it was not measured again.
        absent: the reason for each path that could not run.
    """

    figures: dict[Key, list[Figures]] = field(default_factory=dict)
    errors: dict[Key, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def best_direct(results: Results, size_bytes: int, in_flight: int, better: Callable[[Figures], float]) -> str | None:
    """Returns the direct path with the highest median over rounds in this cell; None where none was measured.

    Args:
        results: of all rounds.
        size_bytes: the cell's.
        in_flight: the cell's.
        better: the larger, the better.
    """
    keys = [Key(name, size_bytes, in_flight) for name in _DIRECT_NAMES]
    measured = [key for key in keys if key in results.figures and key not in results.errors]
    if not measured:
        return None
    return max(measured, key=lambda key: statistics.median(map(better, results.figures[key]))).path


def compare(results: Results, above: Key, below: Key, figure: Callable[[Figures], float]) -> Ratio | None:
    """Divides the figures of two paths round by round; None where one of them has none."""
    if any(key in results.errors or key not in results.figures for key in (above, below)):
        return None
    return ratio([figure(each) for each in results.figures[above]], [figure(each) for each in results.figures[below]])

"""Results made by hand, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.results import Key, Results
from benchmark.stats import ROLES, Figures


def figures(per_second: float, p50_ms: float = 1.0) -> Figures:
    """One round's figures; each role takes 2 ms and 10 MiB."""
    per_role = dict.fromkeys(ROLES, 2.0)
    return Figures(p50_ms, 2 * p50_ms, 3 * p50_ms, per_second, per_role, dict.fromkeys(ROLES, 10.0), True, 100)


def results(cell: tuple[int, int], per_second: Mapping[str, Sequence[float]]) -> Results:
    """Results of one cell from each path's answers per second in each round; its p50 is 1000 ms divided by them."""
    found = Results()
    for path, rounds in per_second.items():
        found.figures[Key(path, *cell)] = [figures(each, 1000 / each) for each in rounds]
    return found

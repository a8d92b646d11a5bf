"""The results as rows for bench.json."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.paths import Path
from benchmark.results import Key, Results, best_direct, compare
from benchmark.stats import ROLES, Figures

_FIGURES = ("p50_ms", "p95_ms", "p99_ms", "per_second", "cpu_ms", "peak_mb", "share_of_direct", "spread")


def rows(results: Results, paths: Sequence[Path], cells: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Makes a row for each cell and path, in this order, whether it was measured or not.

    Figures are medians over the rounds, `share_of_direct` of the ratios within each round to that direct path that
    answers most requests in this cell. `spread` is least and most of these ratios. What failed has all figures None and
    `error`, what could not run `absent`, each with the reason.
    """
    made = []
    for size_bytes, in_flight in cells:
        for path in paths:
            key = Key(path.name, size_bytes, in_flight)
            row: dict[str, Any] = {**key._asdict(), **dict.fromkeys(_FIGURES)}
            if path.name in results.absent:
                row["absent"] = results.absent[path.name]
            elif key in results.errors:
                row["error"] = results.errors[key]
            elif key in results.figures:
                row |= _measured(results, key)
            made.append(row)
    return made


def _measured(results: Results, key: Key) -> dict[str, Any]:
    rounds = results.figures[key]

    def median(figure: Callable[[Figures], float]) -> float:
        return round(statistics.median(map(figure, rounds)), 3)

    row: dict[str, Any] = {
        "p50_ms": median(lambda each: each.p50_ms),
        "p95_ms": median(lambda each: each.p95_ms),
        "p99_ms": median(lambda each: each.p99_ms),
        "per_second": median(lambda each: each.per_second),
        "cpu_ms": median(lambda each: sum(each.cpu_ms.values())),
        "peak_mb": median(lambda each: sum(each.peak_mb.values())),
        "rounds": len(rounds),
        "requests": sum(each.requests for each in rounds),
        "per_second_by_round": [round(each.per_second, 1) for each in rounds],
        "peak_is_own": all(each.peak_is_own for each in rounds),
    }
    for role in ROLES:
        row[f"{role}_cpu_ms"] = round(statistics.median(each.cpu_ms[role] for each in rounds), 3)
        row[f"{role}_peak_mb"] = round(statistics.median(each.peak_mb[role] for each in rounds), 1)
    fastest = best_direct(results, key.size_bytes, key.in_flight, lambda each: each.per_second)
    if fastest and (share := compare(results, key, key._replace(path=fastest), lambda each: each.per_second)):
        row["share_of_direct"] = round(share.median, 3)
        row["spread"] = [round(share.least, 3), round(share.most, 3)]
    return row

"""The few figures that the product is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.paths import DIRECT, ENVOY, HTTP, NAIVE, NGINX, OURS, PATHS
from benchmark.payload import SIZES
from benchmark.results import Key, Results, best_direct, compare
from benchmark.stats import Figures, Ratio

# Bytes and requests in flight.
STREAM_CELL = (SIZES["5mb"], 8)
SINGLE_CELL = (SIZES["5mb"], 1)
SMALL_CELL = (SIZES["1kb"], 64)
CELLS = (STREAM_CELL, SINGLE_CELL, SMALL_CELL)


@dataclass(frozen=True)
class Interest:
    """One figure.

    Attributes:
        what: what is compared, in words.
        target: what this proxy has to reach.
        rows: the paths in it, the denominator of each, and the ratio; None where it could not be measured.
    """

    what: str
    target: str
    rows: list[tuple[str, str, Ratio | None]]


def interests(results: Results) -> list[Interest]:
    """Returns the figures, as far as their cells were measured."""
    found = [_stream(results), _single(results), _small(results), _http(results), _traced(results)]
    return [interest for interest in found if interest.rows]


def _stream(results: Results) -> Interest:
    below = best_direct(results, *STREAM_CELL, _per_second)
    rows = _rows(results, STREAM_CELL, _hops(OURS, ENVOY, NGINX, NAIVE), below, _per_second)
    what = "5 MB, 8 in flight: answers per second as a share of the fastest direct way"
    return Interest(what, "`ours_new_stream` ≥ 0.70, and ≥ Envoy's stream", rows)


def _single(results: Results) -> Interest:
    below = best_direct(results, *SINGLE_CELL, lambda each: -each.p50_ms)
    rows = _rows(results, SINGLE_CELL, _hops(OURS, ENVOY, NGINX, NAIVE), below, lambda each: each.p50_ms)
    return Interest("5 MB, one at a time: p50 over that of the quickest direct way", "ours ≤ 1.8; aim: Envoy's", rows)


def _small(results: Results) -> Interest:
    rows = [
        row
        for above, below in (
            ("ours_new_unary", "envoy_unary"),
            ("ours_new_unary", "envoy_async"),
            ("ours_new_stream", "envoy_stream"),
            ("ours_new_stream", "envoy_async"),
            ("ours_old_client", "envoy_async"),
            ("naive", "envoy_async"),
        )
        for row in _rows(results, SMALL_CELL, [above], below, _per_second)
    ]
    return Interest("1 KB, 64 in flight: answers per second over Envoy's with ext_authz", "ours ≥ 0.5", rows)


def _http(results: Results) -> Interest:
    rows = _rows(results, STREAM_CELL, ["ours_http", "nginx_http"], "direct_http", _per_second)
    return Interest("5 MB over HTTP, 8 in flight: answers per second over those of direct HTTP", "ours ≥ 0.6", rows)


def _traced(results: Results) -> Interest:
    rows = [
        row
        for way in ("new_unary", "new_stream")
        for row in _rows(results, SMALL_CELL, [f"traced_{way}"], f"ours_{way}", _per_second)
    ]
    return Interest("1 KB, 64 in flight: answers per second with traces at 1 % over those without", "≥ 0.95", rows)


def _rows(
    results: Results, cell: tuple[int, int], names: list[str], below: str | None, figure: Callable[[Figures], float]
) -> list[tuple[str, str, Ratio | None]]:
    if below is None or Key(below, *cell) not in results.figures:
        return []
    tried = results.figures.keys() | results.errors.keys()
    return [
        (name, below, compare(results, Key(name, *cell), Key(below, *cell), figure))
        for name in names
        if Key(name, *cell) in tried
    ]


def _hops(*hops: str) -> list[str]:
    assert DIRECT not in hops
    return [path.name for hop in hops for path in PATHS if path.hop == hop and path.way != HTTP]


def _per_second(figures: Figures) -> float:
    return figures.per_second

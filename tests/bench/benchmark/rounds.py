"""Rounds in which every path meets every cell, in a different order each time, so that all meet the machine's moods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmark.measure import Bench, MeasureError
from benchmark.paths import Path
from benchmark.results import Key, Results
from benchmark.stats import figures_of


def measure_rounds(
    bench: Bench,
    paths: Sequence[Path],
    cells: Sequence[tuple[int, int]],
    *,
    rounds: int,
    seconds: float,
    absent: Mapping[str, str],
    say: Callable[[str], None],
) -> Results:
    """Measures all.

    Args:
        bench: where.
        paths: what to compare.
        cells: bytes and requests in flight.
        rounds: how often.
        seconds: of each single measurement.
        absent: reasons by hop.
        say: takes lines about how far it is.

    Raises:
        TritonError: it ended, and does not start again.
    """
    results = Results(absent={path.name: absent[path.hop] for path in paths if path.hop in absent})
    present = [path for path in paths if path.hop not in absent]
    for number in range(rounds):
        for place, (size_bytes, in_flight) in enumerate(cells):
            say(f"round {number + 1} of {rounds}: {size_bytes} bytes, {in_flight} in flight")
            first = (number + place) % len(present) if present else 0
            for path in [*present[first:], *present[:first]]:
                key = Key(path.name, size_bytes, in_flight)
                if key in results.errors:
                    continue
                try:
                    sample = bench.measure(path, size_bytes, in_flight, seconds)
                except MeasureError as error:
                    ended = " (Triton itself has ended)" if bench.revive() else ""
                    results.errors[key] = f"{error}{ended}"
                    say(f"  {path.name}: {results.errors[key]}")
                    continue
                figures = figures_of(sample)
                results.figures.setdefault(key, []).append(figures)
                say(f"  {path.name:16} {figures.per_second:8.1f} /s  p50 {figures.p50_ms:8.2f} ms")
    return results

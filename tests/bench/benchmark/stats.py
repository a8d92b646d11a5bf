"""From samples to figures: percentiles, medians over rounds, and ratios within a round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROLES = ("client", "hop", "triton")


@dataclass(frozen=True)
class Sample:
    """What one client did in one go.

    Attributes:
        latencies_ms: of each request.
        elapsed_secs: from the first request to the last answer.
        cpu_secs: by role.
        peak_mb: peak of resident memory by role, in MiB.
        peak_is_own: whether the peaks are of this measurement, not of the processes' lives.
    """

    latencies_ms: list[float]
    elapsed_secs: float
    cpu_secs: Mapping[str, float]
    peak_mb: Mapping[str, float]
    peak_is_own: bool


@dataclass(frozen=True)
class Figures:
    """One path in one cell in one round; times in milliseconds, memory in MiB, CPU per request."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float
    cpu_ms: Mapping[str, float]
    peak_mb: Mapping[str, float]
    peak_is_own: bool
    requests: int


@dataclass(frozen=True)
class Ratio:
    """A ratio over rounds: its median, least and most."""

    median: float
    least: float
    most: float


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the least value that at least this share of the values does not exceed (nearest rank).

    Args:
        values: not empty, in any order.
        share: above 0, up to 1.
    """
    return sorted(values)[math.ceil(share * len(values)) - 1]


def figures_of(sample: Sample) -> Figures:
    """Sums up a sample, which has at least one request."""
    requests = len(sample.latencies_ms)
    return Figures(
        percentile(sample.latencies_ms, 0.50),
        percentile(sample.latencies_ms, 0.95),
        percentile(sample.latencies_ms, 0.99),
        requests / sample.elapsed_secs,
        {role: sample.cpu_secs[role] * 1000 / requests for role in ROLES},
        sample.peak_mb,
        sample.peak_is_own,
        requests,
    )


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Divides round by round.

    Args:
        numerators: one of each round, in their order; not empty.
        denominators: likewise, and as many.
    """
    each = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))

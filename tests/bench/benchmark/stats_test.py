from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.stats import Sample, figures_of, percentile, ratio

POSITIVE = st.floats(0.001, 1000)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.01) == 7
    assert percentile([1.0, 2.0, 3.0], 0.99) == 3


@given(st.lists(POSITIVE, min_size=1), st.floats(0.01, 1))
def test_so_many_values_are_not_above_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_figures_are_per_request() -> None:
    sample = Sample(
        latencies_ms=[1.0, 2.0, 3.0, 4.0],
        elapsed_secs=0.5,
        cpu_secs={"client": 0.1, "hop": 0.2, "triton": 0.0},
        peak_mb={"client": 10.0, "hop": 20.0, "triton": 30.0},
        peak_is_own=True,
    )
    figures = figures_of(sample)
    assert (figures.p50_ms, figures.p99_ms, figures.per_second, figures.requests) == (2, 4, 8, 4)
    assert figures.cpu_ms == pytest.approx({"client": 25, "hop": 50, "triton": 0})
    assert figures.peak_mb == sample.peak_mb


def test_ratios_are_made_within_each_round() -> None:
    # The machine was three times as fast in the last round; a ratio of medians would not see it.
    found = ratio([50, 40, 150], [100, 100, 300])
    assert (found.median, found.least, found.most) == (0.5, 0.4, 0.5)


def test_rounds_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1, 2, 3])


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1))
def test_the_median_lies_in_the_spread(rounds: list[tuple[float, float]]) -> None:
    found = ratio([above for above, _ in rounds], [below for _, below in rounds])
    assert found.least <= found.median <= found.most
    assert math.isfinite(found.median)

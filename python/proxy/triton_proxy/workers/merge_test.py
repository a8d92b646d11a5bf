"""The metrics of several processes, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from triton_proxy.telemetry import metrics_table as table
from triton_proxy.telemetry.metrics_table import Metric
from triton_proxy.telemetry.series import Distribution, family, histogram
from triton_proxy.workers.merge import Series


def exposition(
    *metrics: tuple[Metric, Sequence[tuple[tuple[str, ...], float]]], seconds: Iterable[float] = ()
) -> Series:
    """What a worker writes and its supervisor reads."""
    observed = Distribution(table.CALL_SECONDS)
    for value in seconds:
        observed.observe(value, "ab" * 16)
    together = Series.of(
        [*(family(*each) for each in metrics), histogram(table.CALL_SECONDS, [(("REST", "m"), observed)])]
    )
    registry = CollectorRegistry()
    registry.register(together)
    return Series.parsed(generate_latest(registry))  # type: ignore[no-untyped-call] # the library has no types there


def values(series: Series, metric: Metric) -> dict[tuple[str, ...], float]:
    name = metric.name.removesuffix("_total")
    return {tuple(dict(labels).values()): value for (_, labels), (value, _) in series.samples[name].items()}


def test_counters_and_gauges_add_up_and_states_are_the_worst() -> None:
    one = exposition(
        (table.AUDIT_LINES, [(("written",), 3)]),
        (table.CALLS_OPEN, [((), 2)]),
        (table.SERVING, [((), 1)]),
        (table.LOOP_PAUSE, [((), 0.25)]),
        (table.FILE_STALE, [(("listener",), 0), (("triton",), 1)]),
    )
    other = exposition(
        (table.AUDIT_LINES, [(("written",), 4), (("dropped",), 1)]),
        (table.CALLS_OPEN, [((), 5)]),
        (table.SERVING, [((), 0)]),
        (table.LOOP_PAUSE, [((), 0.125)]),
        (table.FILE_STALE, [(("listener",), 0), (("triton",), 0)]),
    )
    together = Series()
    for each in (one, other):
        together.add(each)
    assert values(together, table.AUDIT_LINES) == {("written",): 7, ("dropped",): 1}
    assert values(together, table.CALLS_OPEN) == {(): 7}
    assert values(together, table.SERVING) == {(): 0}
    assert values(together, table.LOOP_PAUSE) == {(): 0.25}
    assert values(together, table.FILE_STALE) == {("listener",): 0, ("triton",): 1}


def test_histograms_add_up_bucket_by_bucket_and_keep_an_exemplar() -> None:
    together = Series()
    for seconds in ([0.005, 5.0], [0.05]):
        together.add(exposition(seconds=seconds))
    samples = together.samples[table.CALL_SECONDS.name]
    buckets = {dict(labels)["le"]: value for (name, labels), (value, _) in samples.items() if name.endswith("_bucket")}
    assert (buckets["0.01"], buckets["0.1"], buckets["10.0"], buckets["+Inf"]) == (1, 2, 3, 3)
    assert sum(value for (name, _), (value, _) in samples.items() if name.endswith("_sum")) == 5.055
    assert [e.labels for _, e in samples.values() if e is not None] == [{"trace_id": "ab" * 16}] * 3


def test_what_only_grows_outlives_its_process() -> None:
    ended = exposition((table.AUDIT_LINES, [(("written",), 3)]), (table.CALLS_OPEN, [((), 2)]), seconds=[1.0])
    left = ended.growing()
    assert set(left.families) == {"triton_proxy_audit_lines", table.CALL_SECONDS.name}
    assert values(left, table.AUDIT_LINES) == {("written",): 3}

"""Counting for Prometheus, as cheap as a packet's path needs it: ADR 30 has the figures.

prometheus-client's own counters take a lock for each observation, and a packet has nine. These take a third of the
time, and leave the lock to their user. prometheus-client writes what is exposed.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar, Sample

from triton_proxy.telemetry.metrics_table import Metric, Type

Labels = tuple[str, ...]
# Half a millisecond's worth of writing.
_SAMPLES_AT_ONCE = 64
_SERIES_AT_ONCE = 4
# Shorter, and it is over before a thread that waits for the lock has woken up.
_PAUSE_SECS = 0.0001


class _Samples(list[Sample]):
    """A family's samples, which lets calls have the interpreter's lock now and then while it is written."""

    def __iter__(self) -> Iterator[Sample]:
        for index, sample in enumerate(super().__iter__()):
            if index % _SAMPLES_AT_ONCE == 0:
                time.sleep(_PAUSE_SECS)
            yield sample


class Distribution:
    """One series of a histogram. Not for several threads at once."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_sum")

    def __init__(self, metric: Metric) -> None:
        """Nothing was observed.

        Args:
            metric: says the bounds.
        """
        self._bounds = metric.buckets
        self._counts = [0] * (len(metric.buckets) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float, trace_id: str = "") -> None:
        """Counts a value.

        Args:
            value: in the metric's unit.
            trace_id: of the trace that it was observed in; "" for none.
        """
        index = bisect_left(self._bounds, value)
        self._counts[index] += 1
        self._sum += value
        if trace_id:
            self._exemplars[index] = Exemplar({"trace_id": trace_id}, value, time.time())

    def copy(self) -> Distribution:
        """What was observed so far, to be looked at while more is observed."""
        made = Distribution.__new__(Distribution)
        made._bounds, made._counts, made._sum = self._bounds, self._counts[:], self._sum
        made._exemplars = dict(self._exemplars)
        return made

    def add_to(self, family: HistogramMetricFamily, labels: Labels) -> None:
        """Exposes it as a series of a family."""
        total = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for index, (bound, count) in enumerate(zip((*self._bounds, math.inf), self._counts, strict=True)):
            total += count
            exemplar = self._exemplars.get(index)
            # As prometheus-client writes its own.
            le = "+Inf" if bound == math.inf else str(bound)
            buckets.append((le, total) if exemplar is None else (le, total, exemplar))
        family.add_metric(labels, buckets, self._sum)


def family(metric: Metric, series: Iterable[tuple[Sequence[str], float]]) -> Family:
    """A counter or gauge to expose.

    Args:
        metric: says what it is.
        series: label values and value of each series.
    """
    of_type = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
    made = of_type(metric.name, metric.help, labels=metric.labels)
    made.samples = _Samples()
    for labels, value in series:
        made.add_metric(labels, value)
    return made


def histogram(metric: Metric, series: Iterable[tuple[Labels, Distribution]]) -> Family:
    """A histogram to expose.

    Args:
        metric: says what it is.
        series: label values and what was observed, of each series.
    """
    made = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    made.samples = _Samples()
    for index, (labels, distribution) in enumerate(series):
        if index % _SERIES_AT_ONCE == 0:
            time.sleep(_PAUSE_SECS)
        distribution.add_to(made, labels)
    return made

"""The proxy's metrics, from the table that it counts by."""

from __future__ import annotations

from reference_pages.pieces import code, entry, prose
from triton_proxy.telemetry.metrics_table import METRICS

_INTRODUCTION = """# Metrics

What the proxy serves at `GET /metrics` on `METRICS_LISTEN_ADDR`. What the labels hold is in [Metrics for
Prometheus](../metrics.md#what-labels-hold), and what to do when an alert fires in
[Operations](../operations.md#alerts).

"""


def page() -> str:
    """All metrics, in the order of the table."""
    parts = [_INTRODUCTION]
    for metric in METRICS:
        labels = f"labels {', '.join(map(code, metric.labels))}" if metric.labels else "no labels"
        buckets = f"buckets {', '.join(f'{bound:g}' for bound in metric.buckets)}" if metric.buckets else ""
        parts.append(entry(metric.name, [metric.type.value, labels, buckets], prose(metric.help)))
    return "".join(parts)

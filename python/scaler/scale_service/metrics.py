"""What Prometheus reads of the scale service. No label is a text that a caller chose."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from mm_service.line_sink import LineSinkStatistics
from mm_service.status import Code
from scale_service.autoscaler import AutoscalerStatistics
from scale_service.rest import RestStatistics

VERSION = "0.1.0"
_KUBERNETES_SECS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0)
_DIRECTIONS, _OUTCOMES = ("up", "down"), ("ok", "refused")


@dataclass(frozen=True)
class Sources:
    """What is asked at each scrape.

    Attributes:
        rest: requests under way.
        audit: lines of the audit log.
        policy_stale: whether the policy's file can't be used; None where there is none.
        autoscaler: what it sees and did; None where it is off.
    """

    rest: Callable[[], RestStatistics]
    audit: Callable[[], LineSinkStatistics]
    policy_stale: Callable[[], bool] | None
    autoscaler: Callable[[], AutoscalerStatistics] | None


class Metrics:
    """Counts, and writes what is counted."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "scale_service_requests",
            "Requests that have their answer, by the route or method and the name of the status.",
            ["transport", "method", "code"],
            registry=self._registry,
        )
        self._kubernetes = Histogram(
            "scale_service_kubernetes_request_duration_seconds",
            "Requests to the API server: ok, refused, or no_answer.",
            ["operation", "outcome"],
            buckets=_KUBERNETES_SECS,
            registry=self._registry,
        )

    def serve(self, sources: Sources) -> None:
        """From now on a scrape asks these, too."""
        self._registry.register(_State(sources))

    def request(self, transport: str, method: str, code: Code) -> None:
        """A request has its answer.

        Args:
            transport: rest or grpc.
            method: the route or method, as this service names it; unknown for none of them.
            code: the status.
        """
        self._requests.labels(transport, method, code.name).inc()

    def kubernetes(self, operation: str, outcome: str, secs: float) -> None:
        """The API server was asked.

        Args:
            operation: the official client's name of it.
            outcome: ok, refused or no_answer.
            secs: how long it took.
        """
        self._kubernetes.labels(operation, outcome).observe(secs)

    def page(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and their content type, as a scraper accepts them."""
        write, content_type = choose_encoder(accept)
        return write(self._registry), content_type


class _State:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        sources = self._sources
        build = GaugeMetricFamily("scale_service_build_info", "1, with what is running.", labels=["version", "python"])
        build.add_metric([VERSION, platform.python_version()], 1)
        yield build
        rest = sources.rest()
        yield GaugeMetricFamily(
            "scale_service_requests_under_way", "Requests over REST that have no answer.", rest.requests
        )
        yield GaugeMetricFamily(
            "scale_service_rollouts_followed", "Callers that follow a rollout over REST.", rest.streams
        )
        audit = sources.audit()
        lines = CounterMetricFamily(
            "scale_service_audit_lines", "Lines of the audit log that were written, or dropped.", labels=["result"]
        )
        lines.add_metric(["written"], audit.written)
        lines.add_metric(["dropped"], audit.dropped)
        yield lines
        if sources.policy_stale is not None:
            yield GaugeMetricFamily(
                "scale_service_policy_stale",
                "1 where the policy's file can't be used and what was read before is in force.",
                int(sources.policy_stale()),
            )
        if sources.autoscaler is not None:
            yield from _autoscaler(sources.autoscaler())


def _autoscaler(found: AutoscalerStatistics) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "scale_service_idle_seconds", "For how long no proxy had a request for Triton.", found.idle_secs
    )
    yield GaugeMetricFamily(
        "scale_service_proxies_unanswered",
        "Proxies that did not say lately whether they have requests; Triton is not scaled to zero then.",
        found.unanswered,
    )
    changes = CounterMetricFamily(
        "scale_service_automatic_scalings",
        "Changes that the service made by itself: up on a request, down after none.",
        labels=["direction", "outcome"],
    )
    # Also those that never happened: an increase from nothing is none to Prometheus.
    for direction in _DIRECTIONS:
        for outcome in _OUTCOMES:
            count = sum(
                count
                for (way, code), count in found.done.items()
                if way == direction and (code == Code.OK.name) == (outcome == "ok")
            )
            changes.add_metric([direction, outcome], count)
    yield changes

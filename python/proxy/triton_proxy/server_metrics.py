"""What Prometheus reads of a running proxy: what calls did, what `Server.statistics()` says now, and the process."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from mm_service.watched_file import WatchedFileStatistics
from triton_proxy.app import Server, ServerStatistics
from triton_proxy.http2.limits import Counters
from triton_proxy.settings import Settings
from triton_proxy.telemetry import metrics_table as table
from triton_proxy.telemetry.metrics import Metrics
from triton_proxy.telemetry.metrics_table import Metric
from triton_proxy.telemetry.series import family
from triton_proxy.transports.http2.health import TRITON_SERVICE
from triton_proxy.transports.metrics.listener import OPEN_METRICS, MetricsListener
from triton_proxy.version import VERSION

_MB = 1024 * 1024
_Series = Sequence[tuple[Sequence[str], float]]


class ServerMetrics:
    """The port, and what is on it.

    Attributes:
        port: where it listens; 0 for nowhere.
    """

    def __init__(self, server: Server, settings: Settings, metrics: Metrics, *, listens: bool = True) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            server: the proxy.
            settings: what it runs with.
            metrics: what was counted of its calls.
            listens: whether there is a port; without, `render` is called by others.

        Raises:
            RuntimeError: METRICS_LISTEN_ADDR can't be bound.
        """
        self._server = server
        self._settings = settings
        self._registry = CollectorRegistry()
        for collector in (metrics, self):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._listener = MetricsListener(settings.metrics_listen_addr, self.render) if listens else None
        self.port = self._listener.port if self._listener else 0

    def start(self) -> None:
        """Serves from now on."""
        if self._listener is not None:
            self._listener.start()

    def close(self) -> None:
        """Ends it."""
        if self._listener is not None:
            self._listener.close()

    def describe(self) -> list[Family]:
        """Names nothing beforehand: what is registered is not collected for it."""
        return []

    def collect(self) -> Iterator[Family]:
        """What there is at this moment."""
        for metric, series in self._series():
            yield family(metric, series)

    def render(self, content_type: str) -> bytes:
        """All metrics at this moment.

        Args:
            content_type: `PLAIN` or `OPEN_METRICS`.
        """
        write = openmetrics.generate_latest if content_type == OPEN_METRICS else exposition.generate_latest
        return bytes(write(self._registry))

    def _series(self) -> Iterator[tuple[Metric, _Series]]:
        # A broken file is to be seen also where nobody calls, and a renewed one.
        self._server.look_at_files()
        statistics = self._server.statistics()
        yield from _settings(self._settings)
        yield from _callers(statistics)
        yield from _under_way(statistics)
        yield from _triton(statistics, self._settings.triton_url)
        yield from _parts(statistics)
        if statistics.listener is not None:
            yield from _connections(statistics.listener)
        yield table.LIMIT_HITS, _limit_hits(statistics)
        yield table.SCRAPES_REFUSED, _one(self._listener.refused if self._listener else 0)
        yield table.WORKERS_SERVING, _one(1)
        yield table.WORKER_RESTARTS, _one(0)


def _one(value: float) -> _Series:
    return [((), value)]


def _by(values: Iterable[tuple[str, float]]) -> _Series:
    return [((name,), value) for name, value in values]


def _settings(settings: Settings) -> Iterator[tuple[Metric, _Series]]:
    yield table.BUILD, [((VERSION, platform.python_version(), settings.grpc_server), 1)]
    yield table.CALLS_LIMIT, _one(settings.max_calls)
    yield table.MEMORY_LIMIT, _one(settings.max_mb_in_flight * _MB)


def _callers(statistics: ServerStatistics) -> Iterator[tuple[Metric, _Series]]:
    decisions = statistics.decisions
    yield (
        table.DECISIONS,
        [
            ((kind.value, source.value, outcome.value), count)
            for (kind, source, outcome), count in decisions.decided.items()
        ],
    )
    yield table.STALE, _one(decisions.stale_answers)
    yield table.REMEMBERED, _by([("yes", decisions.remembered_yes), ("no", decisions.remembered_no)])
    yield table.EVICTED, _one(decisions.evicted)
    yield table.ASKING, _one(decisions.asking)
    yield table.ASK_WAITING, _one(decisions.waiting)
    router = statistics.router
    yield table.CALLS_WAITING, _by([("stranger", router.strangers), ("lapsed", router.lapsed)])
    breaker = statistics.authenticators.breaker if statistics.authenticators else None
    if breaker is not None:
        circuits = [("known", breaker.known), ("strangers", breaker.strangers)]
        yield table.BREAKER_OPEN, _by((name, circuit.open) for name, circuit in circuits)
        yield table.BREAKER_OPENED, _by((name, circuit.opened) for name, circuit in circuits)
        yield table.BREAKER_REFUSED, _by((name, circuit.refused) for name, circuit in circuits)


def _under_way(statistics: ServerStatistics) -> Iterator[tuple[Metric, _Series]]:
    calls, quotas, budget = statistics.calls, statistics.quotas, statistics.budget
    yield table.CALLS_OPEN, _one(calls.open)
    yield table.CALLS_UNHEARD, _one(calls.unheard)
    yield table.CALLS_SENDING, _one(calls.sending)
    yield table.CALLS_LAPSED, _one(calls.lapsed)
    yield table.DRAINING, _one(calls.draining)
    # Of principals only how many there are: a name in a label would have no bound, and be nobody's business here.
    yield table.IN_FLIGHT, _one(sum(quotas.in_flight.values()))
    yield table.PRINCIPALS, _one(quotas.principals)
    yield table.MEMORY_USED, _one(budget.in_use)
    yield table.MEMORY_ARRIVING, _one(budget.arriving)
    yield table.MEMORY_WAITING, _one(budget.waiting)
    yield table.MEMORY_HELD_BACK, _one(budget.held_back)


def _triton(statistics: ServerStatistics, url: str) -> Iterator[tuple[Metric, _Series]]:
    models, triton = statistics.models, statistics.triton
    yield table.MODELS, _one(models.known.entries)
    yield table.MODELS_UNANSWERED, _one(models.unanswered.entries)
    yield table.MODEL_QUESTIONS, _one(models.settled)
    yield table.TRITON_READY, _by([(url, TRITON_SERVICE in statistics.health.serving)])
    outstanding: list[tuple[Sequence[str], float]] = []
    for each in triton.tritons:
        outstanding.append(((each.address, "channel"), each.endpoint.calls))
        if each.endpoint.large is not None:
            outstanding.append(((each.address, "direct"), each.endpoint.large.under_way))
    yield table.TRITON_OUTSTANDING, outstanding
    large = [(each.address, each.endpoint.large) for each in triton.tritons]
    yield table.TRITON_IDLE, _by((address, calls.idle) for address, calls in large if calls is not None)
    there = [each for each in triton.tritons if not each.leaving]
    yield table.TRITON_EJECTED, _by((each.address, each.ejected) for each in there)
    yield table.TRITON_EJECTIONS, _one(triton.ejections)
    yield table.TRITON_MOVED, _one(triton.moved)
    yield table.TRITON_WANTED, _one(triton.awaited.wanted)
    yield table.TRITON_AWAITED, _one(triton.awaited.waiting)
    yield table.SEQUENCES, _one(triton.sequences)


def _parts(statistics: ServerStatistics) -> Iterator[tuple[Metric, _Series]]:
    health, audit = statistics.health, statistics.audit
    yield table.SERVING, _one("" in health.serving)
    yield table.OWN_CALLS_UNANSWERED, _one(health.unanswered)
    if statistics.probes is not None:
        probes = statistics.probes
        yield table.PROBES, _by([("answered", probes.answered), ("refused", probes.refused)])
    if statistics.loop is not None:
        yield table.LOOP_PAUSE, _one(statistics.loop.longest_pause_secs)
    ends = [("listener", statistics.listener_certificate_ends_at), ("triton", statistics.triton_certificate_ends_at)]
    yield table.CERTIFICATE_ENDS, _by((end, at) for end, at in ends if at is not None)
    watched: list[tuple[str, WatchedFileStatistics | None]] = [
        ("access_policy", statistics.access.policy),
        ("listener", statistics.certificates),
        ("triton", statistics.triton.certificates),
    ]
    files = [(name, file) for name, file in watched if file is not None]
    yield table.FILE_STALE, _by((name, file.stale) for name, file in files)
    yield table.FILE_CHANGES, _by((name, file.changes) for name, file in files)
    yield table.FILE_FAILURES, _by((name, file.failures) for name, file in files)
    yield table.AUDIT_LINES, _by([("written", audit.written), ("dropped", audit.dropped)])
    yield table.AUDIT_WAITING, _one(audit.waiting)
    if statistics.traces is not None:
        traces = statistics.traces
        yield table.TRACED, _by([("exported", traces.exported), ("dropped", traces.dropped)])
        yield table.TRACED_WAITING, _one(traces.waiting)


def _connections(listener: Counters) -> Iterator[tuple[Metric, _Series]]:
    yield table.CONNECTIONS, _one(listener.connections)
    yield table.CONNECTIONS_ACCEPTED, _one(listener.accepted)
    yield table.HELD_BYTES, _one(listener.held_bytes)
    yield (
        table.CONNECTION_ERRORS,
        _by(
            [
                ("http1", listener.http1),
                ("handshake", listener.handshakes_failed),
                ("violation", listener.violations),
                ("head", listener.refused_heads),
                ("handler", listener.handler_errors),
            ]
        ),
    )


def _limit_hits(statistics: ServerStatistics) -> _Series:
    hits = {
        "MAX_CALLS": statistics.calls.refused + statistics.calls.gave_way,
        "strangers": statistics.decisions.refused,
        **statistics.quotas.exceeded,
    }
    if statistics.listener is not None:
        hits |= statistics.listener.cut
    return _by(hits.items())

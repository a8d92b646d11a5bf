"""Counts calls and their requests. A label's value is ours or Triton's: nothing that a caller made becomes one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from prometheus_client.metrics_core import Metric as Family

from mm_service.status import Status
from triton_proxy.inference.answer import Timing
from triton_proxy.telemetry import metrics_table as table
from triton_proxy.telemetry.metrics_table import Metric
from triton_proxy.telemetry.observer import CallInfo, PacketInfo
from triton_proxy.telemetry.series import Distribution, Labels, family, histogram

UNKNOWN = "unknown"
# Triton's own choice, where a request names no version.
DEFAULT_VERSION = "default"
# Models come and go on a Triton that runs for a year; each has some fifty series.
_MOST_MODELS = 1000
_STAGES = ("auth", "queue", "validate", "triton", "answer")


class _Requests:
    """What is counted of one method's requests for one version of a model."""

    __slots__ = ("answer_bytes", "labels", "outcomes", "request_bytes", "seconds", "stages")

    def __init__(self, labels: Labels, seconds: Distribution, stages: Sequence[Distribution]) -> None:
        self.labels = labels
        self.seconds = seconds
        self.stages = stages
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.request_bytes = self.answer_bytes = 0


class Metrics:
    """The observer that counts. `collect` gives what it has counted to prometheus-client."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was counted.

        Args:
            clock: the time in seconds, for the length of calls.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._methods: dict[str, Labels] = {}
        self._described: Callable[[str, str], bool] = lambda model, version: False
        # By protocol, method, model and version as labels; the second finds it again by what a packet says.
        self._requests: dict[Labels, _Requests] = {}
        self._found: dict[tuple[Labels, str, str], _Requests] = {}
        self._models: set[tuple[str, str]] = set()
        self._histograms: dict[Metric, dict[Labels, Distribution]] = {
            metric: {} for metric in table.METRICS if metric.buckets
        }
        self._counters: dict[Metric, Counter[Labels]] = {
            metric: Counter() for metric in (table.UNANSWERED, table.CALLS, table.CALLS_REFUSED)
        }

    def serve(self, methods: Collection[str], described: Callable[[str, str], bool]) -> None:
        """Says what there is to call; before any call.

        Args:
            methods: as observers know them: gRPC's full names, such as `/multimodal.MultimodalService/Chat`, and REST's
                routes, such as `POST /v2/models/{model}/infer`.
            described: whether Triton described a version of a model, as `Models.describes`.
        """
        for method in methods:
            service, _, name = method.removeprefix("/").rpartition("/")
            self._methods[method] = (service, name) if method.startswith("/") else ("REST", method)
        self._described = described

    # Observer.

    def call_started(self, call: CallInfo) -> _Call:
        """See `Observer`."""
        return _Call(self, self._method(call), call.trace_id, self._clock())

    def call_rejected(self, call: CallInfo, status: Status, latency_secs: float) -> None:
        """See `Observer`."""
        del latency_secs
        credential = call.credential.value if call.credential else "none"
        code = status.code.name
        with self._lock:
            self._counters[table.CALLS_REFUSED][credential, code] += 1
            self._counters[table.CALLS][(*self._method(call), code)] += 1

    def identity_asked(self, server: str, secs: float, *, answered: bool) -> None:
        """Counts a question about who is calling; see `domino_identity.http.Asked`."""
        with self._lock:
            self._distribution(table.IDENTITY_SECONDS, (server, str(answered).lower())).observe(secs)

    # What prometheus-client asks for.

    def describe(self) -> list[Family]:
        """Names nothing beforehand: what is registered is not collected for it."""
        return []

    def collect(self) -> Iterator[Family]:
        """What was counted so far."""
        # Calls wait for the lock: it is held for one copy at a time.
        with self._lock:
            requests = list(self._requests.values())
            counters = [(metric, counter.copy()) for metric, counter in self._counters.items()]
            histograms = [(metric, list(series.items())) for metric, series in self._histograms.items()]
        outcomes: Counter[Labels] = Counter()
        request_bytes: Counter[Labels] = Counter()
        answer_bytes: Counter[Labels] = Counter()
        for each in requests:
            with self._lock:
                outcomes.update({(*each.labels, *outcome): count for outcome, count in each.outcomes.items()})
                request_bytes[each.labels[:3]] += each.request_bytes
                answer_bytes[each.labels[:3]] += each.answer_bytes
        yield family(table.REQUESTS, outcomes.items())
        yield family(table.REQUEST_BYTES, request_bytes.items())
        yield family(table.RESPONSE_BYTES, answer_bytes.items())
        for metric, counter in counters:
            yield family(metric, counter.items())
        for metric, series in histograms:
            yield histogram(metric, self._copies(series))

    def _copies(self, series: Iterable[tuple[Labels, Distribution]]) -> Iterator[tuple[Labels, Distribution]]:
        for labels, distribution in series:
            with self._lock:
                copy = distribution.copy()
            yield labels, copy

    def _method(self, call: CallInfo) -> Labels:
        return self._methods.get(call.method, (UNKNOWN, UNKNOWN))

    def _distribution(self, metric: Metric, labels: Labels) -> Distribution:
        series = self._histograms[metric]
        found = series.get(labels)
        if found is None:
            found = series[labels] = Distribution(metric)
        return found

    def _of(self, method: Labels, packet: PacketInfo) -> _Requests:
        """What a packet counts for; the lock is held."""
        found = self._found.get((method, packet.model, packet.model_version))
        if found is not None:
            return found
        model, version = self._model(packet)
        labels = (*method, model, version)
        requests = self._requests.get(labels)
        if requests is None:
            requests = self._requests[labels] = _Requests(
                labels,
                self._distribution(table.REQUEST_SECONDS, labels[:3]),
                [self._distribution(table.STAGE_SECONDS, (model, stage)) for stage in _STAGES],
            )
        if model != UNKNOWN:
            self._found[method, packet.model, packet.model_version] = requests
        return requests

    def _model(self, packet: PacketInfo) -> tuple[str, str]:
        """Labels of a packet's model and version."""
        if not packet.model or not self._described(packet.model, packet.model_version):
            return UNKNOWN, UNKNOWN
        model = packet.model, packet.model_version or DEFAULT_VERSION
        if model not in self._models:
            if len(self._models) >= _MOST_MODELS:
                return UNKNOWN, UNKNOWN
            self._models.add(model)
        return model


class _Call:
    """Counts one call and its requests. Its methods may be called from any thread."""

    __slots__ = ("_admitted", "_answered", "_began", "_ended", "_method", "_metrics", "_trace_id")

    def __init__(self, metrics: Metrics, method: Labels, trace_id: str, began: float) -> None:
        self._metrics = metrics
        self._method = method
        self._trace_id = trace_id
        self._began = began
        self._admitted = self._answered = 0
        self._ended = False

    def packet_admitted(self, packet: PacketInfo) -> None:
        del packet
        with self._metrics._lock:
            self._admitted += 1

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        del latency_secs
        metrics = self._metrics
        with metrics._lock:
            requests = metrics._of(self._method, packet)
            requests.outcomes["rejected", status.code.name.lower()] += 1
            requests.request_bytes += packet.size

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        metrics = self._metrics
        with metrics._lock:
            self._answered += 1
            requests = metrics._of(self._method, packet)
            requests.outcomes["ok" if ok else "failed", failure] += 1
            requests.request_bytes += packet.size
            requests.answer_bytes += size
            if timing is None:
                return
            requests.seconds.observe(timing.total_ms / 1000, self._trace_id)
            auth, queue, validate, triton, answer = requests.stages
            auth.observe(timing.auth_ms / 1000)
            queue.observe(timing.queue_ms / 1000)
            validate.observe(max(timing.decode_ms - timing.auth_ms - timing.queue_ms, 0.0) / 1000)
            if timing.infer_ms:
                triton.observe(timing.infer_ms / 1000)
                answer.observe(timing.encode_ms / 1000)

    def call_ended(self, status: Status) -> None:
        metrics, code = self._metrics, status.code.name
        with metrics._lock:
            if self._ended:
                return
            self._ended = True
            metrics._counters[table.CALLS][(*self._method, code)] += 1
            metrics._distribution(table.CALL_SECONDS, self._method).observe(metrics._clock() - self._began)
            metrics._distribution(table.CALL_REQUESTS, self._method).observe(self._admitted)
            if self._admitted > self._answered:
                metrics._counters[table.UNANSWERED][(*self._method, code)] += self._admitted - self._answered

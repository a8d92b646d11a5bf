"""Spans as OpenTelemetry's SDK makes them, sent to a collector by OTLP over HTTP.

Names of attributes are those of OpenTelemetry's semantic conventions and, of models, those of Triton's own spans.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from mm_service.status import Code
from triton_proxy.telemetry.spans import UNANSWERED, Finished, FinishedCall, FinishedRequest
from triton_proxy.telemetry.trace import CallTrace, new_id

# What the conventions call an error of the server's; all other statuses are the caller's doing.
_SERVER_ERRORS = (
    Code.UNKNOWN,
    Code.DEADLINE_EXCEEDED,
    Code.UNIMPLEMENTED,
    Code.INTERNAL,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
)
_Attributes = Mapping[str, str | int]

# It logs each batch that fails, with the collector's URL and words; `Spans` says once that the collector is away.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class _GivenIds(IdGenerator):
    """Ids that were chosen when the call was under way: Triton has heard of them since."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 0

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


class _Ended(SpanProcessor):
    """Collects spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class OtlpExporter:
    """Makes spans of what is over, and sends them. For one thread."""

    def __init__(self, endpoint: str, *, service: str, version: str, name_principals: bool) -> None:
        """Connects when there is something to send.

        Args:
            endpoint: base URL of the collector.
            service: name of the proxy, for `service.name`.
            version: its release.
            name_principals: whether a call's span names its caller.
        """
        self._name_principals = name_principals
        # Nothing of the environment or a .netrc: no web proxy, and no credential that is not meant for it.
        session = requests.Session()
        session.trust_env = False
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", session=session)
        self._ids, self._ended = _GivenIds(), _Ended()
        about = {"service.name": service, "service.version": version, "service.instance.id": str(uuid.uuid4())}
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(about), id_generator=self._ids, shutdown_on_exit=False
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("triton_proxy", version)

    def export(self, finished: Sequence[Finished]) -> bool:
        """See `Exporter`."""
        # What was measured by time.perf_counter is told by the clock on the wall.
        self._wall_ns = time.time_ns() - time.perf_counter_ns()
        for each in finished:
            if isinstance(each, FinishedCall):
                self._call(each)
            else:
                self._request(each)
        spans, self._ended.spans = self._ended.spans, []
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """See `Exporter`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # has no types

    def _call(self, finished: FinishedCall) -> None:
        trace, name = finished.trace, finished.method
        attributes: dict[str, str | int] = {"triton_proxy.requests": finished.requests}
        if name.startswith("/"):
            name = name[1:]
            service, _, method = name.partition("/")
            attributes |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
            attributes["rpc.grpc.status_code"] = int(finished.code)
        elif name:
            verb, _, route = name.partition(" ")
            attributes |= {"http.request.method": verb, "http.route": route}
        else:
            name = "unknown"
        attributes["triton_proxy.status"] = finished.code.name
        if self._name_principals and finished.principal:
            attributes["enduser.id"] = finished.principal
        parent = _within(trace, trace.parent_id, remote=True) if trace.parent_id else Context()
        error = finished.code.name if finished.code in _SERVER_ERRORS else ""
        self._span(
            name, trace, trace.span_id, parent, trace.began, finished.ended, attributes, SpanKind.SERVER, error=error
        )
        self._span("identity", trace, "", _within(trace, trace.span_id), trace.began, trace.identified)

    def _request(self, finished: FinishedRequest) -> None:
        request, timing = finished.trace, finished.timing
        trace, start = request.call, request.arrived
        attributes = {
            "triton.model_name": finished.model,
            "triton.model_version": finished.model_version,
            "triton.request_id": finished.correlation_id,
            "triton_proxy.outcome": finished.outcome,
            "triton_proxy.reason": finished.reason,
        }
        # What is not known has no attribute.
        known = {name: value for name, value in attributes.items() if value}
        error = "" if finished.outcome == "ok" else finished.reason or finished.outcome
        parent = _within(trace, trace.span_id)
        self._span("request", trace, request.span_id, parent, start, finished.ended, known, error=error)
        stages = _within(trace, request.span_id)
        asked = {"rpc.system": "grpc", "rpc.service": "inference.GRPCInferenceService"}
        if timing is None:
            if request.asked is not None and finished.outcome == UNANSWERED:
                # Triton's spans are below it.
                self._span(
                    "infer", trace, request.inference_id, stages, request.asked, finished.ended, asked, SpanKind.CLIENT
                )
            return
        confirmed = start + timing.auth_ms / 1000
        waited = confirmed + timing.queue_ms / 1000
        checked = max(start + timing.decode_ms / 1000, waited)
        self._span("identity", trace, "", stages, start, confirmed)
        self._span("queue", trace, "", stages, confirmed, waited)
        self._span("validate", trace, "", stages, waited, checked)
        if request.asked is not None:
            answered = request.asked + timing.infer_ms / 1000
            self._span("infer", trace, request.inference_id, stages, request.asked, answered, asked, SpanKind.CLIENT)
        written_from = start + (timing.total_ms - timing.encode_ms) / 1000
        self._span("answer", trace, "", stages, written_from, max(finished.ended, written_from))

    def _span(
        self,
        name: str,
        trace: CallTrace,
        span_id: str,
        parent: Context,
        start: float,
        end: float,
        attributes: _Attributes | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        error: str = "",
    ) -> None:
        """Makes a span that is over.

        Args:
            name: its name.
            trace: the trace that it is of.
            span_id: its id; "" for a new one.
            parent: what it is in.
            start: its start, by `time.perf_counter`.
            end: its end, likewise.
            attributes: its attributes.
            kind: its kind.
            error: what went wrong; "" where nothing did.
        """
        self._ids.trace_id, self._ids.span_id = int(trace.trace_id, 16), int(span_id or new_id(64), 16)
        span = self._tracer.start_span(name, parent, kind, attributes, start_time=self._wall(start))
        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(self._wall(end))

    def _wall(self, secs: float) -> int:
        return self._wall_ns + int(secs * 1e9)


def _within(trace: CallTrace, span_id: str, *, remote: bool = False) -> Context:
    """A context in which a span of a trace is under way."""
    state = TraceState.from_header([trace.state]) if trace.state else None
    flags = TraceFlags(TraceFlags.SAMPLED)
    return set_span_in_context(
        NonRecordingSpan(SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, flags, state)), Context()
    )

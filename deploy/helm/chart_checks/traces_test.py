"""Triton's own spans: off unless asked for, and for the proxy's collector only."""

from __future__ import annotations

from chart_checks.pods import pod, refusal

ON = """
triton: {traces: {enabled: true}}
proxy: {settings: {OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector.tracing:4318/"}}
"""


def options(text: str) -> list[str]:
    return [word for word in pod(text, "triton")["spec"]["containers"][0]["args"] if "trace-config" in word]


def test_triton_traces_what_the_proxy_traces_and_nothing_else() -> None:
    assert options(ON) == [
        "--trace-config=mode=opentelemetry",
        "--trace-config=opentelemetry,url=http://collector.tracing:4318/v1/traces",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=0",
        "--trace-config=count=-1",
    ]


def test_triton_traces_nothing_unless_it_is_asked_for() -> None:
    assert options("{}") == options("proxy: {settings: {OTEL_EXPORTER_OTLP_ENDPOINT: http://c:4318}}") == []


def test_spans_for_no_collector_are_refused() -> None:
    assert refusal("triton: {traces: {enabled: true}}") == (
        "triton.traces is enabled and proxy.settings.OTEL_EXPORTER_OTLP_ENDPOINT is empty: expected the collector "
        "there, such as http://collector.tracing:4318; set it"
    )

"""The proxies' dashboard: is it served, how fast, who is refused, and what is near its limit."""

from __future__ import annotations

from grafana_dashboards.panels import RATE, Panel, Query, Row, make
from triton_proxy.telemetry import metrics_table as table
from triton_proxy.telemetry.metrics_table import Metric

_OF = 'namespace=~"$namespace",pod=~"$pod"'
_VARIABLES = (
    ("namespace", f"label_values({table.BUILD.name}, namespace)"),
    ("pod", f'label_values({table.BUILD.name}{{namespace=~"$namespace"}}, pod)'),
    ("model", f'label_values({table.REQUESTS.name}{{namespace=~"$namespace"}}, model)'),
)


def _of(metric: Metric, more: str = "", suffix: str = "") -> str:
    model = ',model=~"$model"' if "model" in metric.labels else ""
    return f"{metric.name}{suffix}{{{_OF}{model}{more}}}"


def _rate(metric: Metric, *by: str, more: str = "") -> Query:
    expression = f"sum by ({', '.join(by)}) (rate({_of(metric, more)}[{RATE}]))"
    return Query(expression, " ".join(f"{{{{{label}}}}}" for label in by))


def _sum(metric: Metric, *by: str, legend: str = "") -> Query:
    named = legend or " ".join(f"{{{{{label}}}}}" for label in by)
    return Query(f"sum by ({', '.join(by)}) ({_of(metric)})", named)


def _quantile(metric: Metric, quantile: float, *by: str) -> Query:
    series = f"sum by ({', '.join((*by, 'le'))}) (rate({_of(metric, suffix='_bucket')}[{RATE}]))"
    words = " ".join(f"{{{{{label}}}}}" for label in by)
    return Query(f"histogram_quantile({quantile}, {series})", f"{words} p{quantile * 100:g}")


_STAGES = (
    f"sum by (stage) (rate({_of(table.STAGE_SECONDS, suffix='_sum')}[{RATE}]))"
    f" / on () group_left () sum(rate({_of(table.REQUEST_SECONDS, suffix='_count')}[{RATE}]))"
)

_ROWS = (
    Row(
        "What is served",
        (
            Panel("Requests", "Answered, or refused an answer.", "reqps", [_rate(table.REQUESTS, "model")]),
            Panel(
                "What goes wrong",
                "Requests without an answer of the model, by reason; the names are explained in docs/metrics.md.",
                "reqps",
                [
                    _rate(table.REQUESTS, "outcome", "reason", more=',outcome!="ok"'),
                    _rate(table.UNANSWERED, "code"),
                ],
                stacked=True,
            ),
            Panel(
                "Latency",
                "From a request's arrival to its last answer.",
                "s",
                [_quantile(table.REQUEST_SECONDS, quantile, "model") for quantile in (0.5, 0.99)],
            ),
            Panel(
                "Where the time goes",
                "Mean seconds of a request in each stage. triton: Triton queues and computes; queue: the proxy has no"
                " thread or no memory for it.",
                "s",
                [Query(_STAGES, "{{stage}}")],
                stacked=True,
            ),
            Panel(
                "In flight",
                "Requests that were accepted and have no complete answer.",
                "short",
                [_sum(table.IN_FLIGHT, "pod")],
                stacked=True,
            ),
            Panel(
                "Bytes",
                "Of requests and of answers.",
                "Bps",
                [
                    Query(_rate(table.REQUEST_BYTES, "model").expression, "{{model}} in"),
                    Query(_rate(table.RESPONSE_BYTES, "model").expression, "{{model}} out"),
                ],
            ),
        ),
    ),
    Row(
        "Who calls",
        (
            Panel(
                "Calls refused before it was known who calls",
                "Many UNAUTHENTICATED: a key or token that has ended, or somebody who tries.",
                "reqps",
                [_rate(table.CALLS_REFUSED, "credential", "code")],
                stacked=True,
            ),
            Panel(
                "Decisions",
                "About who is calling, from memory or asked for.",
                "reqps",
                [_rate(table.DECISIONS, "credential", "source", "outcome")],
            ),
            Panel(
                "Domino and Keycloak",
                "How long they take to answer, and whether the breaker keeps the proxy from asking (1).",
                "s",
                [
                    _quantile(table.IDENTITY_SECONDS, 0.99, "server", "answered"),
                    Query(f"max by (circuit) ({_of(table.BREAKER_OPEN)})", "breaker of {{circuit}}"),
                ],
            ),
        ),
    ),
    Row(
        "Limits",
        (
            Panel(
                "Limits that were reached",
                "Settings by their names; docs/operations.md says what to do.",
                "reqps",
                [_rate(table.LIMIT_HITS, "limit")],
                stacked=True,
            ),
            Panel(
                "Calls, of MAX_CALLS",
                "The part of its places that a proxy has given away.",
                "percentunit",
                [Query(f"{_of(table.CALLS_OPEN)} / {_of(table.CALLS_LIMIT)}", "{{pod}}")],
                most=1,
            ),
            Panel(
                "Memory of requests, of MAX_MB_IN_FLIGHT",
                "Requests wait where it is all given away.",
                "percentunit",
                [Query(f"{_of(table.MEMORY_USED)} / {_of(table.MEMORY_LIMIT)}", "{{pod}}")],
                most=1,
            ),
            Panel(
                "Waiting for memory",
                "More than 0 for long: MAX_MB_IN_FLIGHT or the number of proxies is too small, or Triton too slow.",
                "short",
                [_sum(table.MEMORY_WAITING, "pod"), _sum(table.MEMORY_HELD_BACK, "pod", legend="{{pod}} held back")],
            ),
            Panel(
                "Resident memory",
                "Of the process.",
                "bytes",
                [Query(f"process_resident_memory_bytes{{{_OF}}}", "{{pod}}")],
            ),
            Panel(
                "The loop's longest pause",
                "By which it was late at most within the last minute or two: what every call waited then.",
                "s",
                [Query(f"max by (pod) ({_of(table.LOOP_PAUSE)})", "{{pod}}")],
            ),
        ),
    ),
    Row(
        "Tritons",
        (
            Panel(
                "At work",
                "Calls under way at each Triton: about the same, where all are ready.",
                "short",
                [_sum(table.TRITON_OUTSTANDING, "triton")],
                stacked=True,
            ),
            Panel(
                "Left out",
                "1 while a proxy gives a Triton no new work; and how often calls went to another.",
                "short",
                [
                    Query(f"max by (triton) ({_of(table.TRITON_EJECTED)})", "{{triton}}"),
                    Query(f"sum(increase({_of(table.TRITON_MOVED)}[{RATE}]))", "moved"),
                ],
            ),
        ),
    ),
    Row(
        "State",
        (
            Panel(
                "Serving, Triton ready",
                "1 where it is so.",
                "short",
                [_sum(table.SERVING, "pod"), _sum(table.TRITON_READY, "pod", "triton")],
                most=1,
            ),
            Panel(
                "Days until a certificate ends",
                "Renewed ones are taken over without a restart.",
                "d",
                [Query(f"({_of(table.CERTIFICATE_ENDS)} - time()) / 86400", "{{pod}} {{end}}")],
            ),
            Panel(
                "Not as it should be",
                "Files that can't be used (1), and lines of the audit log and traces that were dropped.",
                "short",
                [
                    Query(f"max by (pod, file) ({_of(table.FILE_STALE)})", "{{pod}} {{file}} can't be used"),
                    Query(
                        f'increase({table.AUDIT_LINES.name}{{{_OF},result="dropped"}}[{RATE}])', "{{pod}} lines dropped"
                    ),
                    Query(f'increase({table.TRACED.name}{{{_OF},result="dropped"}}[{RATE}])', "{{pod}} traces dropped"),
                ],
            ),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard as JSON."""
    return make(
        "triton-proxy",
        "Triton proxy",
        "How an installation serves: requests, latency, callers, limits.",
        _VARIABLES,
        _ROWS,
    )

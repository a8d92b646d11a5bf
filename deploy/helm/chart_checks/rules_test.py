"""The rules for Prometheus, by its own promtool: each alert fires under its fault, clears, and else is silent."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_checks.helm import NAMESPACE, RELEASE, render
from chart_checks.network_policy import selects
from chart_checks.pods import pods, refusal
from chart_checks.value_sets import VALUE_SETS
from triton_proxy.telemetry.metrics_table import METRICS

PROMTOOL = Path("../promtool/bin/promtool").absolute()
PAGE, SCALING = Path("docs/operations.md"), Path("docs/scaling.md")
NAME = "triton-inference-server"
POD = f'namespace="{NAMESPACE}",pod="{NAME}-proxy-7f-x"'
MEMORY_LIMIT = 7000 << 20
# Seconds since the epoch, where promtool begins: 0. A certificate that ends in 30 days, and one that ends in 5.
FAR, NEAR = 30 * 86400, 5 * 86400
MINUTES = 60


def of_scaler(name: str, labels: str = "") -> str:
    return f'scale_service_{name}{{namespace="{NAMESPACE}",pod="{NAME}-admin-7f-x"{"," if labels else ""}{labels}}}'


def counter(name: str, labels: str = "") -> str:
    return f"triton_proxy_{name}{{{POD}{',' if labels else ''}{labels}}}"


OK = counter("requests_total", 'model="yolo",outcome="ok",reason=""')
FAILED = counter("requests_total", 'model="yolo",outcome="failed",reason="unavailable"')
INVALID = counter("requests_total", 'model="yolo",outcome="failed",reason="invalid"')
FAST = counter("request_duration_seconds_bucket", 'model="yolo",le="0.1"')
SLOW = counter("request_duration_seconds_bucket", 'model="yolo",le="2.5"')
ALL = counter("request_duration_seconds_bucket", 'model="yolo",le="+Inf"')
KUBERNETES = "kubernetes_request_duration_seconds_count"
# Values by minute, in promtool's notation; busy, and well.
HEALTHY = {
    counter("build_info"): f"1x{MINUTES}",
    counter("triton_ready", 'triton="t:8001"'): f"1x{MINUTES}",
    counter("triton_awaited_requests"): f"0x{MINUTES}",
    counter("triton_ejected", 'triton="10.0.0.1:8001"'): f"0x{MINUTES}",
    counter("triton_ejected", 'triton="10.0.0.2:8001"'): f"0x{MINUTES}",
    counter("triton_ejections_total"): f"3x{MINUTES}",
    OK: f"0+600x{MINUTES}",
    INVALID: f"0+300x{MINUTES}",
    FAILED: f"0+1x{MINUTES}",
    FAST: f"0+600x{MINUTES}",
    SLOW: f"0+601x{MINUTES}",
    ALL: f"0+601x{MINUTES}",
    counter("memory_waiting_requests"): "0 5 " * (MINUTES // 2),
    counter("memory_held_back_calls"): "0 2 " * (MINUTES // 2),
    counter("calls_open"): f"200x{MINUTES}",
    counter("calls_limit"): f"256x{MINUTES}",
    counter("breaker_open", 'circuit="known"'): f"0x{MINUTES}",
    counter("breaker_open", 'circuit="strangers"'): f"1x{MINUTES}",
    counter("auth_stale_answers_total"): f"7x{MINUTES}",
    counter("file_stale", 'file="access_policy"'): f"0x{MINUTES}",
    counter("file_stale", 'file="listener"'): f"0x{MINUTES}",
    counter("certificate_not_after_timestamp_seconds", 'end="listener"'): f"{FAR}x{MINUTES}",
    f"process_resident_memory_bytes{{{POD}}}": f"{MEMORY_LIMIT // 2}x{MINUTES}",
    # Another pod of the namespace, which is no business of these rules.
    f'process_resident_memory_bytes{{namespace="{NAMESPACE}",pod="other-0"}}': f"{MEMORY_LIMIT * 2}x{MINUTES}",
    counter("audit_lines_total", 'result="dropped"'): f"3x{MINUTES}",
    counter("audit_lines_total", 'result="written"'): f"0+600x{MINUTES}",
    of_scaler("build_info"): f"1x{MINUTES}",
    of_scaler(KUBERNETES, 'operation="list_namespaced_pod",outcome="ok"'): f"0+30x{MINUTES}",
    of_scaler(KUBERNETES, 'operation="list_namespaced_pod",outcome="refused"'): f"0+1x{MINUTES}",
    of_scaler(KUBERNETES, 'operation="list_namespaced_pod",outcome="no_answer"'): f"2x{MINUTES}",
    of_scaler("policy_stale"): f"0x{MINUTES}",
    of_scaler("audit_lines_total", 'result="dropped"'): f"0x{MINUTES}",
    of_scaler("automatic_scalings_total", 'direction="up",outcome="ok"'): f"0+1x{MINUTES}",
    of_scaler("automatic_scalings_total", 'direction="up",outcome="refused"'): f"1x{MINUTES}",
    of_scaler("proxies_unanswered"): "0 0 0 1 " * (MINUTES // 4),
}


def for_20_minutes(well: str, ill: str) -> str:
    """Ill from the first minute to the twentieth, and well after that."""
    return f"{ill}x19 {well}x{MINUTES - 20}"


# What is different where an alert has to fire: from the beginning, for 20 minutes.
FAULTS: Mapping[str, Mapping[str, str]] = {
    "TritonProxyDown": {counter("build_info"): f"_x20 1x{MINUTES - 20}"},
    # As it is where Triton may be scaled to zero.
    "TritonProxyTritonNotReady": {
        counter("triton_ready", 'triton="t:8001"'): for_20_minutes("1", "0"),
        counter("triton_awaited_requests"): for_20_minutes("0", "2"),
    },
    "TritonProxyTritonEjected": {counter("triton_ejected", 'triton="10.0.0.1:8001"'): for_20_minutes("0", "1")},
    "TritonProxyFailures": {FAILED: f"0+100x19 1900x{MINUTES - 20}"},
    "TritonProxySlow": {FAST: f"0+580x19 11020+601x{MINUTES - 20}", SLOW: f"0+601x{MINUTES}"},
    "TritonProxyQueueGrows": {counter("memory_waiting_requests"): for_20_minutes("0", "2")},
    "TritonProxyCallsFull": {counter("calls_open"): for_20_minutes("200", "240")},
    "TritonProxyBreakerOpen": {counter("breaker_open", 'circuit="known"'): for_20_minutes("0", "1")},
    "TritonProxyStaleIdentity": {counter("auth_stale_answers_total"): f"0+1x19 19x{MINUTES - 20}"},
    "TritonProxyPolicyBroken": {counter("file_stale", 'file="access_policy"'): for_20_minutes("0", "1")},
    "TritonProxyCertificateBroken": {counter("file_stale", 'file="listener"'): for_20_minutes("0", "1")},
    "TritonProxyCertificateEnds": {
        counter("certificate_not_after_timestamp_seconds", 'end="listener"'): for_20_minutes(str(FAR), str(NEAR))
    },
    "TritonProxyMemoryHigh": {
        f"process_resident_memory_bytes{{{POD}}}": for_20_minutes("1", str(MEMORY_LIMIT * 95 // 100))
    },
    "TritonProxyAuditLinesDropped": {counter("audit_lines_total", 'result="dropped"'): f"0+2x19 38x{MINUTES - 20}"},
    "ScaleServiceDown": {of_scaler("build_info"): f"_x20 1x{MINUTES - 20}"},
    "ScaleServiceNoApiServer": {
        of_scaler(KUBERNETES, 'operation="list_namespaced_pod",outcome="no_answer"'): f"0+3x19 57x{MINUTES - 20}"
    },
    "ScaleServicePolicyBroken": {of_scaler("policy_stale"): for_20_minutes("0", "1")},
    "ScaleServiceAuditLinesDropped": {of_scaler("audit_lines_total", 'result="dropped"'): f"0+2x19 38x{MINUTES - 20}"},
    "ScaleServiceCannotScale": {
        of_scaler("automatic_scalings_total", 'direction="up",outcome="refused"'): f"0+1x19 19x{MINUTES - 20}"
    },
    "ScaleServiceProxiesUnanswered": {of_scaler("proxies_unanswered"): for_20_minutes("0", "1")},
}


def rules() -> dict[str, Any]:
    spec: dict[str, Any] = render(VALUE_SETS["everything"]).one("PrometheusRule", NAME)["spec"]
    return spec


ALERTS = {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def promtool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROMTOOL, *words], cwd=folder, capture_output=True, text=True, check=False)


def firing(alert: str, minute: int, count: int) -> dict[str, Any]:
    """That so many alerts of a name fire at a minute."""
    samples = [{"labels": "{}", "value": count}] if count else []
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}


def said_of(
    folder: Path, series: Mapping[str, str], expected: list[dict[str, Any]], spec: dict[str, Any] | None = None
) -> str:
    """What promtool says; "" where everything is as expected."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(spec or rules()))
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values.strip()} for name, values in series.items()],
        "promql_expr_test": expected,
    }
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [case]}))
    done = promtool(folder, "test", "rules", "test.yaml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_finds_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    done = promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_under_its_fault_and_clears(alert: str, tmp_path: Path) -> None:
    expected = [firing(alert, 19, 1), firing(alert, 55, 0)]
    assert said_of(tmp_path, {**HEALTHY, **FAULTS[alert]}, expected) == ""


def test_an_ejected_triton_whose_address_is_soon_gone_is_an_alert_too(tmp_path: Path) -> None:
    alert = "TritonProxyTritonEjected"
    ejected = {counter("triton_ejections_total"): f"3x9 4x{MINUTES - 10}"}
    assert said_of(tmp_path, {**HEALTHY, **ejected}, [firing(alert, 12, 1), firing(alert, 25, 0)]) == ""


def test_a_triton_that_sleeps_is_no_alert_but_one_that_cannot_sleep_is(tmp_path: Path) -> None:
    alert = "TritonProxyTritonNotReady"
    asleep = {counter("triton_ready", 'triton="t:8001"'): for_20_minutes("1", "0")}
    assert said_of(tmp_path, {**HEALTHY, **asleep}, [firing(alert, 19, 0)]) == ""
    values = yaml.safe_load(VALUE_SETS["everything"])
    values["scaler"]["idle"]["enabled"] = False
    spec = render(yaml.safe_dump(values)).one("PrometheusRule", NAME)["spec"]
    assert said_of(tmp_path, {**HEALTHY, **asleep}, [firing(alert, 19, 1)], spec) == ""


def test_large_requests_that_are_held_back_wait_too(tmp_path: Path) -> None:
    alert = "TritonProxyQueueGrows"
    held_back = {counter("memory_held_back_calls"): for_20_minutes("0", "13")}
    assert said_of(tmp_path, {**HEALTHY, **held_back}, [firing(alert, 19, 1), firing(alert, 55, 0)]) == ""


def test_no_alert_fires_where_all_is_well_or_callers_make_mistakes(tmp_path: Path) -> None:
    assert said_of(tmp_path, HEALTHY, [firing(alert, minute, 0) for alert in ALERTS for minute in (5, 20, 55)]) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests:rate5m", round(901 / 60, 4)),
        ("failures:ratio5m", round(1 / 901, 4)),
        # 600 of 601 are in the first bucket: 99 of 100 take 0.99 * 601 / 600 of its width.
        ("request_duration_seconds:p99_5m", round(0.99 * 601 / 600 * 0.1, 4)),
    ],
)
def test_a_recorded_series_has_the_value_that_it_names(name: str, value: float, tmp_path: Path) -> None:
    where = f'{{model="yolo", namespace="{NAMESPACE}", release="{RELEASE}"}}'
    expr = f"round(namespace:triton_proxy_{name}, 0.0001)"
    expected = [{"expr": expr, "eval_time": "30m", "exp_samples": [{"labels": where, "value": value}]}]
    assert said_of(tmp_path, HEALTHY, expected) == ""


def test_rules_name_metrics_that_there_are() -> None:
    known = {metric.name for metric in METRICS}
    known |= {f"{metric.name}_{part}" for metric in METRICS if metric.buckets for part in ("bucket", "count", "sum")}
    for group in rules()["groups"]:
        for rule in group["rules"]:
            named = set(re.findall(r"(?<![:\w])triton_proxy_\w+", rule["expr"]))
            assert named <= known, rule
            # metrics_test.py of the scale service holds the page against what is served.
            scalers = {re.sub(r"_count$", "", name) for name in re.findall(r"scale_service_\w+", rule["expr"])}
            assert all(f"| `{name}` |" in SCALING.read_text() for name in scalers), rule
            recorded = {r["record"] for g in rules()["groups"] for r in g["rules"] if "record" in r}
            assert set(re.findall(r"namespace:\w+:\w+", rule["expr"])) <= recorded


def test_every_alert_says_what_to_do() -> None:
    assert set(FAULTS) == set(ALERTS)
    sections = re.findall(r"(?m)^### (\w+)$", PAGE.read_text())
    assert sections == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"{PAGE}#{name.lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_memory_alert_is_made_from_the_pods_limit() -> None:
    (proxy,) = [
        template for component, template in pods(render(VALUE_SETS["everything"]).manifests) if component == "proxy"
    ]
    limit = proxy["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert limit == f"{MEMORY_LIMIT >> 20}Mi"
    assert ALERTS["TritonProxyMemoryHigh"]["expr"].endswith(f"> 0.9 * {MEMORY_LIMIT}")


def test_the_podmonitor_finds_proxies_and_tritons_by_a_port_that_they_have() -> None:
    rendered = render(VALUE_SETS["everything"])
    spec = rendered.one("PodMonitor", NAME)["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    found = {}
    for component, template in pods(rendered.manifests):
        if selects(spec["selector"], template["metadata"]["labels"]):
            ports = {p["name"]: p["containerPort"] for c in template["spec"]["containers"] for p in c.get("ports", ())}
            found[component] = ports[endpoint["port"]]
    assert found == {"proxy": 9090, "scaler": 9090, "triton": 8002}


def test_nothing_is_made_for_an_operator_that_is_not_there() -> None:
    kinds = {manifest["kind"] for manifest in render(VALUE_SETS["default"]).manifests}
    assert not kinds & {"PodMonitor", "PrometheusRule"}


def test_a_podmonitor_that_nobody_gets_through_for_is_refused() -> None:
    assert refusal("monitoring: {podMonitor: {enabled: true}}") == (
        "monitoring.podMonitor is enabled and networkPolicy.monitoring is empty: expected the namespace of Prometheus "
        "there, since nobody else reaches the metrics; name it"
    )

from __future__ import annotations

from typing import Any

import pytest

from boundary.prometheus import faster, scrape_configs

MONITOR = {
    "metadata": {"namespace": "ns", "name": "m"},
    "spec": {
        "selector": {
            "matchLabels": {"app.kubernetes.io/name": "domino-triton"},
            "matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["a", "b"]}],
        },
        "podMetricsEndpoints": [
            {"port": "metrics", "path": "/m", "interval": "3s"},
            {"port": "more", "interval": "4s"},
        ],
    },
}


def kept(config: dict[str, Any]) -> list[tuple[str, str]]:
    rules = [rule for rule in config["relabel_configs"] if rule.get("action") == "keep"]
    return [(rule["source_labels"][0], rule["regex"]) for rule in rules]


def test_a_podmonitor_is_read_as_the_operator_reads_it() -> None:
    first, second = scrape_configs([MONITOR])
    labels = [
        ("__meta_kubernetes_pod_label_app_kubernetes_io_name", "domino-triton"),
        ("__meta_kubernetes_pod_label_app_kubernetes_io_component", "a|b"),
    ]
    assert kept(first) == [*labels, ("__meta_kubernetes_pod_container_port_name", "metrics")]
    assert kept(second) == [*labels, ("__meta_kubernetes_pod_container_port_name", "more")]
    assert (first["metrics_path"], first["scrape_interval"]) == ("/m", "3s")
    assert (second["metrics_path"], second["job_name"]) == ("/metrics", "podMonitor/ns/m/1")
    assert first["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["ns"]}}]


def test_a_field_that_is_not_read_is_not_passed_over() -> None:
    endpoint = {"port": "metrics", "interval": "3s", "honorLabels": True}
    monitor = {**MONITOR, "spec": {"selector": {}, "podMetricsEndpoints": [endpoint], "sampleLimit": 5}}
    with pytest.raises(ValueError, match="PodMonitor m has honorLabels, sampleLimit, which"):
        scrape_configs([monitor])


def test_a_rules_times_are_shorter_and_nothing_else_of_it_is_different() -> None:
    alert = {"alert": "A", "expr": "increase(a[10m]) > 0 and min_over_time(b[5m]) > 3600", "for": "1m", "labels": {}}
    record = {"record": "r:rate5m", "expr": "max_over_time(rate(a[5m])[1h:30s])"}
    (group,) = faster([{"name": "g", "rules": [alert, record]}])
    changed, recorded = group["rules"]
    assert changed == {
        **alert,
        "expr": "increase(a[20000ms]) > 0 and min_over_time(b[10000ms]) > 3600",
        "for": "2000ms",
    }
    assert recorded == {"record": "r:rate5m", "expr": "max_over_time(rate(a[10000ms])[120000ms:1000ms])"}

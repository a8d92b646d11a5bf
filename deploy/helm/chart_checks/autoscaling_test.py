"""Replicas that follow the load, the clock, or nobody's asking: what is rendered, and what excludes what."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_checks.helm import NAMESPACE, Rendered, render
from chart_checks.pods import pods, refusal, values
from chart_checks.value_sets import VALUE_SETS
from scale_service import demand, set_replicas
from triton_proxy.telemetry.metrics_table import METRICS

PROMTOOL = Path("../promtool/bin/promtool").absolute()
NAME = "triton-inference-server"
PROXY = f"{NAME}-proxy"
MONITORING = "networkPolicy: {monitoring: [{namespace: monitoring}]}\n"
KEDA = MONITORING + "autoscaling: {provider: keda}\n"
MORNING = "{cron: 0 7 * * *, timeZone: Etc/UTC, deployment: proxy, replicas: 1}"
# As Triton's documentation names them; dashboards_test.py asks a real one for them.
OF_TRITON = {"nv_inference_queue_duration_us", "nv_inference_request_success"}


def rendered(text: str) -> Rendered:
    return render(values(text))


def environment(found: Rendered, name: str) -> dict[str, str]:
    (container,) = found.one("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def queries(found: Rendered) -> list[str]:
    """All that Prometheus is asked for scaling."""
    asked = []
    for manifest in found.manifests:
        if manifest["kind"] == "ScaledObject":
            asked += [trigger["metadata"]["query"] for trigger in manifest["spec"]["triggers"]]
        if manifest["metadata"]["name"] == f"{NAME}-adapter-rules":
            for rule in yaml.safe_load(manifest["data"]["rules.yaml"]):
                query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod="x"')
                asked += [rule["seriesQuery"], query]
    return asked


@pytest.mark.parametrize("text", [KEDA, KEDA.replace("keda", "keda, triton: {minReplicas: 0}"), "everything"])
def test_prometheus_understands_what_it_is_asked_and_has_it(text: str, tmp_path: Path) -> None:
    asked = queries(render(VALUE_SETS["everything"]) if text == "everything" else rendered(text))
    named = {name for query in asked for name in re.findall(r"\b(\w+)\{", query)}
    assert named & OF_TRITON == OF_TRITON
    assert named - OF_TRITON <= {metric.name for metric in METRICS}
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    words = [str(PROMTOOL), "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_scale_service_reads_are_metrics_of_the_proxys() -> None:
    assert set(demand.METRICS) <= {metric.name for metric in METRICS}
    assert not [metric.labels for metric in METRICS if metric.name in demand.METRICS and metric.labels]


def test_hpas_take_the_metrics_that_the_adapters_rules_make() -> None:
    found = render(VALUE_SETS["everything"])
    rules = yaml.safe_load(found.one("ConfigMap", f"{NAME}-adapter-rules")["data"]["rules.yaml"])
    made = {rule["name"]["as"] for rule in rules}
    taken = {}
    for name in (NAME, PROXY):
        spec = found.one("HorizontalPodAutoscaler", name)["spec"]
        (metric,) = spec["metrics"]
        assert metric["pods"]["metric"]["name"] in made
        taken[name] = spec["minReplicas"], spec["maxReplicas"], metric["pods"]["target"]["averageValue"]
        assert "replicas" not in found.one("Deployment", name)["spec"]
    assert taken == {NAME: (1, 6, "50"), PROXY: (2, 10, "32")}


def test_keda_scales_triton_to_zero_and_the_proxy_holds_what_wakes_it() -> None:
    found = rendered(
        MONITORING + "autoscaling: {provider: keda, triton: {minReplicas: 0}, keda: {cooldownPeriod: 600}}"
    )
    triton, proxy = (found.one("ScaledObject", name)["spec"] for name in (NAME, PROXY))
    assert (triton["minReplicaCount"], triton["maxReplicaCount"], triton["cooldownPeriod"]) == (0, 4, 600)
    assert (proxy["minReplicaCount"], proxy["maxReplicaCount"]) == (2, 10)
    assert "triton_proxy_triton_awaited_requests" in triton["triggers"][1]["metadata"]["query"]
    assert environment(found, PROXY)["TRITON_WAIT_SECS"] == "1800"
    assert "replicas" not in found.one("Deployment", NAME)["spec"]
    # With one Triton at the least there is nothing to wake.
    awake = rendered(KEDA)
    assert len(awake.one("ScaledObject", NAME)["spec"]["triggers"]) == 1
    assert "TRITON_WAIT_SECS" not in environment(awake, PROXY)


def test_tritons_series_are_those_of_its_pods_alone() -> None:
    query = rendered(KEDA).one("ScaledObject", NAME)["spec"]["triggers"][0]["metadata"]["query"]
    (pattern,) = set(re.findall(r'pod=~"([^"]*)"', query))
    assert re.fullmatch(pattern, f"{NAME}-6f7d9c5b8-x2x4z")
    for other in (f"{PROXY}-6f7d9c5b8-x2x4z", f"{NAME}-admin-6f7d9c5b8-x2x4z", f"{NAME}-schedule-0-2951-x2x4z"):
        assert not re.fullmatch(pattern, other)


def test_the_scale_service_hears_when_to_let_triton_sleep() -> None:
    found = rendered("scaler: {idle: {enabled: true, cooldownPeriod: 600, minReplicaCount: 2}}")
    given = environment(found, f"{NAME}-admin")
    assert {name: given[name] for name in ("IDLE_COOLDOWN_SECS", "IDLE_REPLICAS", "PROXY_METRICS_PORT")} == {
        "IDLE_COOLDOWN_SECS": "600",
        "IDLE_REPLICAS": "2",
        "PROXY_METRICS_PORT": "9090",
    }
    assert environment(found, PROXY)["TRITON_WAIT_SECS"] == "1800"
    own = rendered("{scaler: {idle: {enabled: true}}, proxy: {settings: {TRITON_WAIT_SECS: 45}}}")
    assert environment(own, PROXY)["TRITON_WAIT_SECS"] == "45"
    assert "TRITON_WAIT_SECS" not in environment(rendered("{}"), PROXY)


def cron_jobs(found: Rendered) -> list[dict[str, Any]]:
    return [manifest for manifest in found.manifests if manifest["kind"] == "CronJob"]


def test_each_entry_of_the_schedule_is_a_cron_job_that_sets_one_number() -> None:
    first, second = cron_jobs(render(VALUE_SETS["everything"]))
    assert [job["spec"]["schedule"] for job in (first, second)] == ["0 20 * * 1-5", "0 7 * * 1-5"]
    assert first["spec"]["timeZone"] == "Europe/Berlin"
    (container,) = second["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["/usr/bin/python3.11", "-I", "-m", set_replicas.__name__]
    words = set_replicas.parser().parse_args(container["args"])
    assert (words.namespace, words.deployment, words.replicas) == (NAMESPACE, NAME, 2)
    assert words.reason == "schedule 0 7 * * 1-5, Europe/Berlin"


def test_a_schedules_account_may_set_the_replicas_of_what_it_names_and_nothing_else() -> None:
    found = render(VALUE_SETS["everything"])
    assert found.one("Role", f"{NAME}-schedule")["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "resourceNames": [NAME], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    binding = found.one("RoleBinding", f"{NAME}-schedule")
    assert binding["roleRef"]["name"] == f"{NAME}-schedule"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{NAME}-schedule", "namespace": NAMESPACE}]
    template = dict(pods(found.manifests))["schedule"]
    assert template["spec"]["serviceAccountName"] == f"{NAME}-schedule"
    both = rendered(
        f"scaler: {{enabled: false, schedule: [{MORNING}, {MORNING.replace('proxy', 'inference-server')}]}}"
    )
    assert both.one("Role", f"{NAME}-schedule")["rules"][0]["resourceNames"] == [NAME, PROXY]
    assert not [manifest for manifest in both.manifests if manifest["metadata"]["name"] == f"{NAME}-admin"
                and manifest["kind"] != "Secret"]  # fmt: skip


def test_without_a_schedule_there_is_nothing_of_it() -> None:
    assert f"{NAME}-schedule" not in render(VALUE_SETS["scaler"]).text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            MONITORING + "scaler: {idle: {enabled: true}}\nautoscaling: {provider: keda}",
            "scaler.idle.enabled and autoscaling.triton with autoscaling.provider keda are both set: expected one of",
        ),
        (
            "{scaler: {enabled: false, idle: {enabled: true}}}",
            "scaler.idle.enabled is true and scaler.enabled is not: expected scaler.enabled true",
        ),
        (
            MONITORING + "proxy: {autoscaling: {enabled: true}}\nautoscaling: {provider: prometheus-adapter}",
            "proxy.autoscaling.enabled and autoscaling.proxy.enabled are both true: expected one of them",
        ),
        (
            MONITORING + "autoscaling: {provider: prometheus-adapter, triton: {minReplicas: 0}}",
            "autoscaling.triton.minReplicas is 0 with provider prometheus-adapter: expected 1 or more",
        ),
        (
            MONITORING + "autoscaling: {provider: keda, triton: {minReplicas: 5}}",
            "autoscaling.triton.minReplicas is above maxReplicas: expected min ≤ max",
        ),
        (
            "autoscaling: {provider: keda}",
            "autoscaling.provider is set and networkPolicy.monitoring is empty: expected the namespace of Prometheus",
        ),
        ("autoscaling: {provider: vpa}", "'/autoscaling/provider': value must be one of"),
        (
            f"scaler: {{schedule: [{MORNING.replace('* * *', '* *')}]}}",
            "'/scaler/schedule/0/cron': '0 7 * *' does not match pattern",
        ),
        (
            f"scaler: {{schedule: [{MORNING.replace('proxy', 'etcd')}]}}",
            "'/scaler/schedule/0/deployment': value must be one of 'inference-server', 'proxy'",
        ),
        (
            f"mesh: {{mode: sidecar}}\nscaler: {{enabled: false, schedule: [{MORNING}]}}",
            "scaler.schedule is set with mesh.mode sidecar: expected mesh.mode disabled",
        ),
    ],
)
def test_what_excludes_what_is_said(text: str, words: str) -> None:
    assert words in refusal(text)

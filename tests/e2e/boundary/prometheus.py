"""A real Prometheus beside the chart: set up by the chart's own PodMonitors and rules, as the operator would do it."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from boundary import objects
from boundary.names import INFERENCE, MONITORING
from kind_cluster import files
from kind_cluster.node_image import content_hash

Manifest = dict[str, Any]
NAME = "prometheus-server"
PORT = 9090
# The rules' times are so many times shorter here: what lasts five minutes there, ten seconds.
FASTER = 30
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(rf"(\d+)([{''.join(_SECONDS)}])")
_FOLDER = "/etc/prometheus"
# Fields of a PodMonitor that are read.
_OF_MONITOR, _OF_ENDPOINT = {"selector", "podMetricsEndpoints"}, {"port", "path", "scheme", "interval"}


def image() -> str:
    """Name of its image, which holds nothing but the program."""
    return f"multimodal-kind/prometheus:{content_hash([files.tool('prometheus')])}"


def scrape_configs(monitors: Iterable[Manifest]) -> list[Manifest]:
    """What Prometheus' operator makes of PodMonitors that choose by labels, in their own namespaces.

    Raises:
        ValueError: one has a field that is not read here.
    """
    return [
        _scrape_config(monitor, number, endpoint)
        for monitor in monitors
        for number, endpoint in enumerate(monitor["spec"]["podMetricsEndpoints"])
    ]


def _scrape_config(monitor: Manifest, number: int, endpoint: Manifest) -> Manifest:
    namespace, name = monitor["metadata"]["namespace"], monitor["metadata"]["name"]
    if unread := sorted((set(monitor["spec"]) - _OF_MONITOR) | (set(endpoint) - _OF_ENDPOINT)):
        raise ValueError(f"PodMonitor {name} has {', '.join(unread)}, which scrape_configs does not read: extend it")
    chosen = [(key, [value]) for key, value in monitor["spec"]["selector"].get("matchLabels", {}).items()]
    for expression in monitor["spec"]["selector"].get("matchExpressions", ()):
        assert expression["operator"] == "In", expression
        chosen.append((expression["key"], expression["values"]))
    keep = [(f"__meta_kubernetes_pod_label_{_sanitized(key)}", values) for key, values in chosen]
    keep.append(("__meta_kubernetes_pod_container_port_name", [endpoint["port"]]))
    copied = {"namespace": "namespace", "pod": "pod_name", "container": "pod_container_name"}
    return {
        "job_name": f"podMonitor/{namespace}/{name}/{number}",
        "metrics_path": endpoint.get("path", "/metrics"),
        "scheme": endpoint.get("scheme", "http"),
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["interval"],
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": [
            *({"action": "keep", "source_labels": [label], "regex": "|".join(values)} for label, values in keep),
            {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"},
            *(
                {"source_labels": [f"__meta_kubernetes_{meta}"], "target_label": label}
                for label, meta in copied.items()
            ),
            {"target_label": "job", "replacement": f"{namespace}/{name}"},
            {"target_label": "endpoint", "replacement": endpoint["port"]},
        ],
    }


def _sanitized(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)


def faster(groups: Iterable[Manifest]) -> list[Manifest]:
    """The same rules in a shorter time: what they look back on, and how long an alert waits."""
    return [{**group, "rules": [_faster_rule(rule) for rule in group["rules"]]} for group in groups]


def _faster_rule(rule: Manifest) -> Manifest:
    # Also the two of a subquery.
    expr = re.sub(r"\[[^]]+\]", lambda times: _DURATION.sub(_shorter, times[0]), rule["expr"])
    return {**rule, "expr": expr, **({"for": _DURATION.sub(_shorter, rule["for"])} if "for" in rule else {})}


def _shorter(duration: re.Match[str]) -> str:
    return f"{int(duration[1]) * _SECONDS[duration[2]] * 1000 // FASTER}ms"


def manifests(monitors: Sequence[Manifest], rules: Sequence[Manifest]) -> list[Manifest]:
    """Everything that runs it; it may look for the release's pods, and do nothing else.

    Args:
        monitors: the chart's PodMonitors.
        rules: its PrometheusRules.
    """
    configuration = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": [f"{_FOLDER}/rules.yaml"],
        "scrape_configs": scrape_configs(monitors),
    }
    groups = faster(group for rule in rules for group in rule["spec"]["groups"])
    data = {"prometheus.yaml": yaml.safe_dump(configuration), "rules.yaml": yaml.safe_dump({"groups": groups})}
    container = {
        "name": "prometheus",
        "image": image(),
        "imagePullPolicy": "Never",
        "args": [
            f"--config.file={_FOLDER}/prometheus.yaml",
            "--storage.tsdb.path=/data",
            f"--web.listen-address=:{PORT}",
        ],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        "securityContext": objects.CONTAINER_SECURITY,
        "volumeMounts": [{"name": "files", "mountPath": _FOLDER}, {"name": "data", "mountPath": "/data"}],
    }
    made = objects.pod(NAME, MONITORING, [container], {})
    made["spec"].update(
        serviceAccountName=NAME,
        automountServiceAccountToken=True,
        volumes=[{"name": "files", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}],
    )
    of_release = {"name": NAME, "namespace": INFERENCE}
    rbac = "rbac.authorization.k8s.io"
    own = {"name": NAME, "namespace": MONITORING}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": of_release,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": of_release,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", **own}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": own, "data": data},
        made,
    ]


@dataclass(frozen=True)
class Series:
    """One series of an answer.

    Attributes:
        labels: by which it is told from others.
        times: seconds since the epoch, of each value.
        values: as many.
    """

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


class Prometheus:
    """Asks a Prometheus.

    Args:
        url: where it listens.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def targets(self) -> dict[str, str]:
        """What it scrapes: health by pod and port, such as {"mm-proxy-7f-x metrics": "up"}."""
        return {
            f"{target['labels']['pod']} {target['labels']['endpoint']}": target["health"]
            for target in self._ask("targets", state="active")["activeTargets"]
        }

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self._ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def over_time(self, query: str, begin: float, end: float, step: float) -> list[Series]:
        """What came of a query, from one time to another, both in seconds since the epoch."""
        found = self._ask("query_range", query=query, start=f"{begin:.0f}", end=f"{end:.0f}", step=f"{step:g}")
        return [
            Series(
                each["metric"], [float(at) for at, _ in each["values"]], [float(value) for _, value in each["values"]]
            )
            for each in found["result"]
        ]

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  a port of ours
            found: dict[str, Any] = json.load(answer)["data"]
        return found

"""The scale service in the chart: its rights, its settings, its policy, and what it is not installed with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_checks.helm import CHART, NAMESPACE, render
from chart_checks.pods import refusal
from chart_checks.value_sets import VALUE_SETS
from mm_service import settings
from scale_service.__main__ import DRAIN_HANGS_SECS
from scale_service.policy import Policy
from scale_service.settings import Settings

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
GIVEN = SCHEMA["properties"]["scaler"]["properties"]["settings"]["properties"]
TABLE = {row.env: row for row in settings.table(Settings)}
NAME = "triton-inference-server"
INSTALLED = ("scaler", "everything")


def environment(name: str) -> dict[str, str]:
    deployment = render(VALUE_SETS[name]).one("Deployment", f"{NAME}-admin")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert "scaler" not in render(VALUE_SETS["default"]).text
    kinds = {manifest["kind"] for manifest in render(VALUE_SETS["default"]).manifests}
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & kinds


@pytest.mark.parametrize("name", INSTALLED)
def test_its_rights_are_these_and_no_others(name: str) -> None:
    role = render(VALUE_SETS[name]).one("Role", f"{NAME}-admin")
    assert role["rules"] == [
        {
            "apiGroups": ["apps"],
            "resources": ["deployments", "deployments/scale"],
            "resourceNames": [NAME, f"{NAME}-proxy"],
            "verbs": ["get", "patch"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "create"]},
    ]
    binding = render(VALUE_SETS[name]).one("RoleBinding", f"{NAME}-admin")
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"{NAME}-admin"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{NAME}-admin", "namespace": NAMESPACE}]
    kinds = [m["kind"] for m in render(VALUE_SETS[name]).manifests if m["apiVersion"].startswith("rbac.")]
    # Those of the schedule beside its own.
    each = 2 if render(VALUE_SETS[name]).values["scaler"]["schedule"] else 1
    assert sorted(kinds) == ["Role"] * each + ["RoleBinding"] * each


def test_every_setting_can_be_reached() -> None:
    # For a developer beside `kubectl proxy`; and the chart asks for no certificates of callers here.
    elsewhere = {"KUBERNETES_URL", "TLS_CLIENT_CA_FILE"}
    ours = environment("everything").keys() - GIVEN.keys()
    assert ours | GIVEN.keys() | elsewhere == TABLE.keys()
    assert ours.isdisjoint(GIVEN)


@pytest.mark.parametrize("name", INSTALLED)
def test_the_service_takes_its_settings(name: str) -> None:
    given = environment(name)
    # Their files are in the pod, not here.
    for file in ("SCALE_POLICY_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE", "DOMINO_CA_FILE"):
        given.pop(file, None)
    loaded = settings.load(Settings, given)
    assert (loaded.namespace, loaded.inference_server_deployment, loaded.proxy_deployment) == (
        NAMESPACE,
        NAME,
        f"{NAME}-proxy",
    )


@pytest.mark.parametrize("env", [env for env, kind in GIVEN.items() if "minimum" in kind])
def test_bounds_are_the_services(env: str) -> None:
    low, high = GIVEN[env]["minimum"], GIVEN[env]["maximum"]
    for good in (low, high):
        TABLE[env].parse(str(good))
    for bad in (low - 1, high + 1):
        with pytest.raises(ValueError, match="expected"):
            TABLE[env].parse(str(bad))


@pytest.mark.parametrize("name", INSTALLED)
def test_the_policy_arrives_as_it_was_written(name: str) -> None:
    text = render(VALUE_SETS[name]).one("ConfigMap", f"{NAME}-admin-policy")["data"]["policy.yaml"]
    assert yaml.safe_load(text) == render(VALUE_SETS[name]).values["scaler"]["policy"]
    assert len(Policy.parse(text).rules) == 1


def test_helm_refuses_what_the_service_refuses() -> None:
    service = Path("python/scaler/scale_service/policy.schema.json").read_text()
    for name in json.loads(service)["$defs"]:
        ours = f"scale{name.capitalize()}"
        service = service.replace(f'"#/$defs/{name}"', f'"#/$defs/{ours}"')
    theirs = {f"scale{name.capitalize()}": each for name, each in json.loads(service)["$defs"].items()}
    assert {name: each for name, each in SCHEMA["$defs"].items() if name.startswith("scale")} == theirs


def test_a_drain_ends_before_the_pod_is_killed() -> None:
    for name in INSTALLED:
        spec = render(VALUE_SETS[name]).one("Deployment", f"{NAME}-admin")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        drain = float(environment(name)["DRAIN_SECS"])
        stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] >= stop + drain + DRAIN_HANGS_SECS


def ruled(rule: dict[str, Any]) -> dict[str, Any]:
    return {"scaler": {"policy": {"rules": [rule]}}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mesh": {"mode": "sidecar"}}, "scaler.enabled is true with mesh.mode sidecar: expected mesh.mode disabled"),
        (
            {"networkPolicy": {"apiServer": {"cidrs": []}}},
            "networkPolicy.apiServer names nobody: expected the",
        ),
        ({"networkPolicy": {"apiServer": None}}, "'/networkPolicy': missing property 'apiServer'"),
        ({"networkPolicy": {"apiServer": {"cidrs": ["0.0.0.0/0"]}}}, "'/networkPolicy/apiServer/cidrs/0': '0.0.0.0/0'"),
        ({"scaler": {"policy": {"rules": []}}}, "'/scaler/policy/rules': minItems: got 0, want 1"),
        (
            ruled({"allow": {"admins": True}, "deployments": ["etcd"], "verbs": ["view"]}),
            "'/scaler/policy/rules/0/deployments/0': value must be one of 'inference-server', 'proxy'",
        ),
        (
            ruled({"allow": {"admins": True}, "deployments": ["proxy"], "verbs": ["scale"]}),
            "'/scaler/policy/rules/0': missing property 'replicas'",
        ),
        (
            {"scaler": {"settings": {"KUBERNETES_URL": "http://x"}}},
            "properties 'KUBERNETES_URL' not allowed",
        ),
        ({"scaler": {"settings": {"NAMESPACE": "kube-system"}}}, "additional properties 'NAMESPACE' not allowed"),
    ],
)
def test_what_it_is_not_installed_with(values: dict[str, Any], words: str) -> None:
    assert words in refusal(yaml.safe_dump(values))

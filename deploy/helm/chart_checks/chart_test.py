"""The chart's objects: restricted pods, settings that the proxy takes, numbers that follow from each other."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_checks.helm import CHART, NAMESPACE, RELEASE, render
from chart_checks.network_policy import selects
from chart_checks.pods import pods
from chart_checks.value_sets import VALUE_SETS
from mm_service.settings import SettingsError
from triton_proxy.__main__ import DRAIN_HANGS_SECS
from triton_proxy.access.policy import Policy
from triton_proxy.admission.budget import Budget
from triton_proxy.settings import TABLE, load

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
SETTINGS = SCHEMA["properties"]["proxy"]["properties"]["settings"]["properties"]
NAME = "triton-inference-server"
every_value_set = pytest.mark.parametrize("name", VALUE_SETS)


def environment(name: str) -> dict[str, str]:
    """The proxy's environment."""
    deployment = render(VALUE_SETS[name]).one("Deployment", f"{NAME}-proxy")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


@every_value_set
def test_a_template_is_one_object(name: str) -> None:
    manifests = render(VALUE_SETS[name]).manifests
    sources = re.findall(r"(?m)^# Source: (.*)$", render(VALUE_SETS[name]).text)
    # One for each entry of scaler.schedule.
    again = max(sum(manifest["kind"] == "CronJob" for manifest in manifests) - 1, 0)
    assert len(sources) == len(set(sources)) + again == len(manifests)


@every_value_set
def test_objects_are_labelled_and_found(name: str) -> None:
    manifests = render(VALUE_SETS[name]).manifests
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "domino-triton"
        assert (labels["app.kubernetes.io/instance"], labels["app.kubernetes.io/managed-by"]) == (RELEASE, "Helm")
        if manifest["kind"] != "PersistentVolume":
            assert manifest["metadata"]["namespace"] in (NAMESPACE, "domino-compute")
    templates = {
        t["metadata"]["labels"]["app.kubernetes.io/component"]: t["metadata"]["labels"] for _, t in pods(manifests)
    }
    for manifest in manifests:
        selector = manifest["spec"].get("selector") if manifest["kind"] == "Service" else None
        if manifest["kind"] in ("Deployment", "PodDisruptionBudget"):
            selector = manifest["spec"]["selector"]["matchLabels"]
        if selector is not None:
            found = [part for part, labels in templates.items() if selects({"matchLabels": selector}, labels)]
            assert found == [manifest["metadata"]["labels"]["app.kubernetes.io/component"]]


@every_value_set
def test_services_stay_inside_and_lead_to_ports_that_there_are(name: str) -> None:
    ports = {
        (template["metadata"]["labels"]["app.kubernetes.io/component"], port["name"]): port["containerPort"]
        for _, template in pods(render(VALUE_SETS[name]).manifests)
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    }
    services = [m for m in render(VALUE_SETS[name]).manifests if m["kind"] == "Service"]
    admin = {f"{NAME}-admin"} if render(VALUE_SETS[name]).values["scaler"]["enabled"] else set()
    ours = {NAME, f"{NAME}-headless", f"{NAME}-proxy", f"{NAME}-proxy-headless"}
    assert {s["metadata"]["name"] for s in services} == ours | admin
    for service in services:
        assert service["spec"]["type"] == "ClusterIP"
        assert "externalIPs" not in service["spec"]
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        for port in service["spec"]["ports"]:
            assert ports[component, port["targetPort"]] == port["port"]


def test_what_speaks_tls_is_no_plain_grpc_to_a_mesh() -> None:
    # Istio reads HTTP/2 in what it takes for gRPC, and would find TLS: https means that it lets the bytes be.
    def protocols(name: str) -> set[str]:
        services = [m for m in render(VALUE_SETS[name]).manifests if m["kind"] == "Service"]
        return {p["appProtocol"] for s in services for p in s["spec"]["ports"] if p["name"] == "grpc"}

    assert protocols("default") == {"grpc"}
    assert protocols("everything") == {"https"}


def test_every_setting_of_the_proxy_can_be_reached() -> None:
    ours = environment("everything").keys() - SETTINGS.keys()
    assert ours | SETTINGS.keys() == {setting.env for setting in TABLE}
    assert ours.isdisjoint(SETTINGS)


def test_the_former_names_that_the_chart_refuses_are_the_proxys() -> None:
    former = {f"^{old}$" for setting in TABLE if setting.env in SETTINGS for old in setting.formerly}
    assert SCHEMA["properties"]["proxy"]["properties"]["settings"]["patternProperties"].keys() == former


@every_value_set
def test_the_proxy_takes_its_settings(name: str) -> None:
    files = {"TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "ACCESS_POLICY_FILE", "DOMINO_CA_FILE"}
    files |= {"TRITON_CA_FILE", "TRITON_CERT_FILE", "TRITON_KEY_FILE"}
    given = environment(name)
    # Their files are in the pod, not here.
    expected = pytest.raises(SettingsError) if files & given.keys() else contextlib.nullcontext()
    with expected as caught:
        load(given)
    wrong = {line.split()[0] for line in str(caught.value).splitlines()} if caught else set()
    assert wrong == files & given.keys()


@pytest.mark.parametrize("env", [env for env, kind in SETTINGS.items() if "minimum" in kind])
def test_bounds_are_the_proxys(env: str) -> None:
    parse = next(setting.parse for setting in TABLE if setting.env == env)
    low, high = SETTINGS[env]["minimum"], SETTINGS[env]["maximum"]
    parse(str(low))
    parse(str(high))
    for text in (str(low - 1), str(high + 1)):
        with pytest.raises(ValueError, match="expected"):
            parse(text)
    if SETTINGS[env]["type"] == "number":
        parse(str((low + high) / 2 + 0.25))
    else:
        with pytest.raises(ValueError, match="expected a whole number"):
            parse("1.5")


def test_other_settings_are_of_the_proxys_kind() -> None:
    parse = {setting.env: setting.parse for setting in TABLE}
    for level in SETTINGS["LOG_LEVEL"]["enum"]:
        parse["LOG_LEVEL"](level)
    assert SETTINGS["REQUIRE_MODEL_VERSION"] == {"type": "boolean"}
    parse["REQUIRE_MODEL_VERSION"]("false")
    url = re.compile(SCHEMA["$defs"]["url"]["pattern"])
    for text in ("http://a", "https://a:1/b/c", "", "ftp://a", "a:80", "http://me:word@a", "http://a?b", "http://a#b"):
        try:
            taken = bool(parse["DOMINO_HOST"](text)) or not text
        except ValueError:
            taken = False
        assert bool(url.search(text)) == taken, text


def test_defaults_that_values_repeat_are_the_proxys() -> None:
    repeated = render(VALUE_SETS["default"]).values["proxy"]["settings"]
    defaults = {setting.env: setting.default for setting in TABLE}
    for env in ("MAX_CALLS", "MAX_MB_IN_FLIGHT", "DRAIN_SECS"):
        assert str(repeated[env]) == defaults[env]
    # As the formula of the memory limit has them.
    assert (defaults["MAX_CALLS_PER_PRINCIPAL"], defaults["MAX_MESSAGE_MB"]) == ("80", "64")


def test_the_formula_of_memory_is_the_proxys() -> None:
    assert (
        "bytes <= MAX_MB_IN_FLIGHT"
        " + open calls * (largest packet + 2 * largest answer + HTTP/2 window of 8 MiB)"
        " + 150 MiB whatever Triton does, beside the 100 MiB of an idle proxy"
    ) in " ".join((Budget.__doc__ or "").split())
    assert (
        "bytes <= MAX_MB_IN_FLIGHT + MAX_CALLS_PER_PRINCIPAL * (MAX_MESSAGE_MB + HTTP/2 window of 8 MiB) + 150 MiB"
    ) in " ".join((Budget.__doc__ or "").split())


@every_value_set
def test_memory_and_grace_follow_from_the_settings(name: str) -> None:
    rendered = render(VALUE_SETS[name])
    values = rendered.values["proxy"]
    settings = values["settings"]
    spec = rendered.one("Deployment", f"{NAME}-proxy")["spec"]["template"]["spec"]
    resources = spec["containers"][0]["resources"]
    workers = values["workers"]
    budget = workers * (settings["MAX_MB_IN_FLIGHT"] + 150 + 100) + (100 if workers > 1 else 0)
    stream = values["memory"]["largestPacketMB"] + 2 * values["memory"]["largestAnswerMB"] + 8
    assert resources["requests"]["memory"] == f"{budget}Mi"
    hostile = min(settings["MAX_CALLS"], settings.get("MAX_CALLS_PER_PRINCIPAL", 80)) * (
        settings.get("MAX_MESSAGE_MB", 64) + 8
    )
    assert resources["limits"]["memory"] == f"{budget + max(settings['MAX_CALLS'] * stream, hostile)}Mi"
    sleeps = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    # A drain that hangs says where before the kubelet kills it.
    assert spec["terminationGracePeriodSeconds"] >= sleeps + settings["DRAIN_SECS"] + DRAIN_HANGS_SECS + 1


def test_the_access_policy_is_one_that_the_proxy_reads() -> None:
    text = render(VALUE_SETS["everything"]).one("ConfigMap", f"{NAME}-proxy-access-policy")["data"]["policy.yaml"]
    assert Policy.parse(text).rules
    given = render(VALUE_SETS["everything"]).values["proxy"]["accessPolicy"]
    assert yaml.safe_load(text) == given


def test_the_rules_of_an_access_policy_are_checked_as_the_proxy_does() -> None:
    proxys = json.loads(Path("python/proxy/triton_proxy/access/policy.schema.json").read_text())
    assert SCHEMA["$defs"]["rule"] == proxys["$defs"]["rule"]


def test_nothing_but_what_the_schema_names_can_be_set() -> None:
    def objects(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                yield schema
            for inner in schema.values():
                yield from objects(inner)

    free = [schema for schema in objects(SCHEMA) if schema.get("additionalProperties") is not False]
    # Maps of texts and quantities, whose values have a type of their own, and Helm's global.
    assert [schema for schema in free if not isinstance(schema.get("additionalProperties"), dict)] == [
        SCHEMA["properties"]["global"]
    ]


def test_only_triton_knows_the_key_of_the_second_wall() -> None:
    text = render(VALUE_SETS["default"]).text
    key = base64.b64decode(render(VALUE_SETS["default"]).one("Secret", f"{NAME}-admin")["data"]["key"]).decode()
    other = render(VALUE_SETS["default"] + "# another render\n").one("Secret", f"{NAME}-admin")["data"]["key"]
    assert re.fullmatch(r"[A-Za-z0-9]{48}", key)
    assert base64.b64decode(other).decode() != key
    assert key not in text
    manifests = render(VALUE_SETS["everything"]).manifests
    users = [m["metadata"]["name"] for m in manifests if f'"secretKeyRef": {{"name": "{NAME}-admin"' in json.dumps(m)]
    assert users == [NAME]


def test_the_number_of_proxies_is_the_autoscalers_where_there_is_one() -> None:
    rendered = render(VALUE_SETS["gpu"])
    assert "replicas" not in rendered.one("Deployment", f"{NAME}-proxy")["spec"]
    scaler = rendered.one("HorizontalPodAutoscaler", f"{NAME}-proxy")["spec"]
    assert scaler["scaleTargetRef"]["name"] == f"{NAME}-proxy"
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)


def test_domino_lists_the_external_data_volume() -> None:
    name = f"{NAMESPACE}-{NAME}-models-edv"
    claim = render(VALUE_SETS["everything"]).one("PersistentVolumeClaim", name)
    assert claim["metadata"]["labels"]["dominodatalab.com/external-data-volume"] == "Generic"
    volume = render(VALUE_SETS["everything"]).one("PersistentVolume", name)
    tritons = render(VALUE_SETS["everything"]).one("PersistentVolume", f"{NAMESPACE}-{NAME}-models")
    prefix = f"prefix triton/{NAMESPACE}/{NAME}/models/"
    assert prefix in volume["spec"]["mountOptions"]
    assert {prefix, "read-only"} <= set(tritons["spec"]["mountOptions"])
    assert volume["spec"]["csi"]["volumeHandle"] != tritons["spec"]["csi"]["volumeHandle"]

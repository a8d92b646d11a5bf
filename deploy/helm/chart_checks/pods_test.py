"""The chart's pods: restricted, and where they run; no label or annotation of values opens a wall."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chart_checks.claims import Release
from chart_checks.helm import NAMESPACE, RELEASE, render
from chart_checks.pods import COMPONENTS, pod, pods, refusal, set_, values
from chart_checks.value_sets import VALUE_SETS

every_value_set = pytest.mark.parametrize("name", VALUE_SETS)
every_component = pytest.mark.parametrize("component", COMPONENTS)


@every_value_set
def test_pods_keep_to_pod_security_restricted(name: str) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for _, template in pods(render(VALUE_SETS[name]).manifests):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert {kind for volume in spec["volumes"] for kind in volume} - {"name"} <= allowed
        assert spec["securityContext"]["runAsNonRoot"] is True
        # Left out, it is the cluster's to choose, and runAsNonRoot holds it to others than root.
        assert spec["securityContext"].get("runAsUser", 1) > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert all("hostPort" not in port for port in container.get("ports", ()))
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


@every_value_set
def test_only_what_scales_gets_a_token_of_the_api_server(name: str) -> None:
    accounts = [m for m in render(VALUE_SETS[name]).manifests if m["kind"] == "ServiceAccount"]
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    names = {account["metadata"]["name"] for account in accounts}
    for component, template in pods(render(VALUE_SETS[name]).manifests):
        assert template["spec"]["automountServiceAccountToken"] is (component in ("scaler", "schedule"))
        assert template["spec"]["serviceAccountName"] in names


@every_value_set
def test_models_can_be_written_by_the_publisher_only(name: str) -> None:
    for component, template in pods(render(VALUE_SETS[name]).manifests):
        mounts = [mount for container in template["spec"]["containers"] for mount in container["volumeMounts"]]
        volumes = template["spec"]["volumes"]
        claims = [volume["persistentVolumeClaim"] for volume in volumes if volume["name"] == "models"]
        if component != "publisher":
            assert all(claim["readOnly"] for claim in claims)
            assert all(mount["readOnly"] for mount in mounts if mount["name"] == "models")


@every_value_set
def test_pods_carry_the_labels_that_policies_select_by(name: str) -> None:
    rendered = render(VALUE_SETS[name])
    installed = Release(NAMESPACE, RELEASE, rendered.values)
    made = dict(pods(rendered.manifests))
    wanted = {"triton", "proxy"} | {part for part in ("publisher", "scaler") if rendered.values[part]["enabled"]}
    assert made.keys() == wanted | ({"schedule"} if rendered.values["scaler"]["schedule"] else set())
    for component, template in made.items():
        assert installed.labels(component).items() <= template["metadata"]["labels"].items()
        assert template["spec"]["containers"][0]["name"] == component


@every_value_set
def test_no_role_of_a_cloud_gets_to_a_models_code(name: str) -> None:
    # https://github.com/aws/amazon-eks-pod-identity-webhook: for IRSA and for EKS Pod Identity alike
    template = dict(pods(render(VALUE_SETS[name]).manifests))["triton"]
    skipped = template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"]
    assert [container["name"] for container in template["spec"]["containers"]] == [skipped]


@every_component
def test_every_pod_takes_labels_annotations_and_a_place(component: str) -> None:
    given: dict[str, Any] = {
        "podLabels": {"example.com/team": "a"},
        "podAnnotations": {"example.com/note": "b"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
        ]}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
             "labelSelector": {"matchLabels": {"app": "other"}}},
        ],
        "priorityClassName": "high",
    }  # fmt: skip
    made = pod(yaml.safe_dump({component: given}), component)
    assert given["podLabels"].items() <= made["metadata"]["labels"].items()
    assert given["podAnnotations"].items() <= made["metadata"]["annotations"].items()
    own = {"matchLabels": {"app.kubernetes.io/name": "domino-triton", "app.kubernetes.io/instance": RELEASE,
                           "app.kubernetes.io/component": component}}  # fmt: skip
    first, second = given["topologySpreadConstraints"]
    assert made["spec"]["topologySpreadConstraints"] == [{**first, "labelSelector": own}, second]
    for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert made["spec"][key] == given[key]


def test_pull_secrets_are_names_or_as_kubernetes_has_them() -> None:
    for component in COMPONENTS:
        made = pod("imagePullSecrets: [a, {name: b}]", component)
        assert made["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


@every_component
@pytest.mark.parametrize("user", [None, ""])
def test_the_cluster_chooses_the_user_where_none_is_set(component: str, user: str | None) -> None:
    security = pod(set_(component, "runAsUser", user), component)["spec"]["securityContext"]
    assert security == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


@every_component
def test_a_user_of_openshifts_range_is_taken(component: str) -> None:
    security = pod(set_(component, "runAsUser", 1000650000), component)["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (1000650000, 1000650000)


@every_component
def test_root_and_istios_own_user_are_refused(component: str) -> None:
    assert refusal(set_(component, "runAsUser", 0)) == f"- at '/{component}/runAsUser': minimum: got 0, want 1"
    assert refusal(set_(component, "runAsUser", 1337)) == (
        f"{component}.runAsUser is 1337: expected another, since what Istio's own user sends passes the sidecar by; "
        "use the image's user, the chart's default"
    )


# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
@pytest.mark.parametrize("quantity", [0.5, 1, 2147483648, "500m", "1.5Gi", ".5", "2Ei", "8G", "4k"])
def test_quantities_are_numbers_or_texts(quantity: float | str) -> None:
    made = pod(set_("triton", "resources", {"limits": {"memory": "8Gi", "cpu": quantity}}), "triton")
    given = made["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    assert given == quantity
    assert isinstance(given, str) == isinstance(quantity, str)


@pytest.mark.parametrize("quantity", ["", "1 Gi", "1ki", "1K", "1mi", "Gi", "-1", -1, True])
def test_what_is_no_quantity_is_refused(quantity: Any) -> None:
    assert refusal(set_("triton", "sharedMemory", quantity)).startswith("- at '/triton/sharedMemory': ")


RESERVED_LABELS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "nucleus-client",
    "keycloak-client",
    "pod-template-hash",
    "batch.kubernetes.io/job-name",
    "job-name",
    "controller-uid",
    "istio.io/dataplane-mode",
    "sidecar.istio.io/inject",
)
RESERVED_ANNOTATIONS = (
    "sidecar.istio.io/inject",
    "sidecar.istio.io/proxyCPUx",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "ambient.istio.io/redirection",
    "k8s.v1.cni.cncf.io/networks",
    "v1.multus-cni.io/default-network",
    "k8s.ovn.org/pod-networks",
    "networking.gke.io/interfaces",
    "eks.amazonaws.com/skip-containers",
    "container.apparmor.security.beta.kubernetes.io/triton",
)


@every_component
@pytest.mark.parametrize("key", RESERVED_LABELS)
def test_a_label_by_which_somebody_knows_pods_is_refused(component: str, key: str) -> None:
    assert refusal(set_(component, "podLabels", {"example.com/a": "b", key: "true"})) == (
        f"{component}.podLabels has the key {key}: expected none by which NetworkPolicies, controllers or a mesh know "
        "pods, since they are the wall; use a key of your own, such as example.com/team"
    )


@every_component
@pytest.mark.parametrize("key", RESERVED_ANNOTATIONS)
def test_an_annotation_that_leads_round_the_wall_is_refused(component: str, key: str) -> None:
    assert refusal(set_(component, "podAnnotations", {"example.com/a": "b", key: "true"})) == (
        f"{component}.podAnnotations has the key {key}: expected none that gives a pod another network, a mesh's way "
        "round its policies, a cloud's role or less confinement; leave it out, and say what the mesh should do by "
        "mesh.mode"
    )


def test_a_sidecar_may_be_given_its_size() -> None:
    given = {"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/proxyMemoryLimit": "256Mi"}
    made = pod(set_("proxy", "podAnnotations", given), "proxy")
    assert given.items() <= made["metadata"]["annotations"].items()


_KEYS = st.sampled_from(
    [*RESERVED_LABELS, "app", "example.com/name", "app.kubernetes.io/version", "security.istio.io/x"]
)
_LABELS = st.dictionaries(_KEYS, st.sampled_from(["", "triton", "proxy", "none"]), max_size=2)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(COMPONENTS), _LABELS)
def test_labels_are_refused_or_leave_those_that_the_chart_gives(component: str, labels: dict[str, str]) -> None:
    text = set_(component, "podLabels", labels)
    plain = pod("{}", component)["metadata"]["labels"]
    if {*plain, *RESERVED_LABELS, "security.istio.io/x"} & labels.keys():
        assert refusal(text).startswith(f"{component}.podLabels has the key")
    else:
        assert pod(text, component)["metadata"]["labels"] == {**labels, **plain}


def test_another_job_is_made_whenever_its_pod_is_another() -> None:
    def name(text: str) -> str:
        (job,) = [m for m in render(values(text)).manifests if m["kind"] == "Job"]
        return str(job["metadata"]["name"])

    changes = ("{}", "imagePullSecrets: [a]", "proxy: {tls: {secretName: t}}", "publisher: {egress: [{ports: [1]}]}")
    assert len({name(text) for text in changes}) == len(changes)
    assert name("proxy: {replicas: 7}") == name("{}")

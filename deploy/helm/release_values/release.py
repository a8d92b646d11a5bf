"""A release's objects, and the values that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from release_values import pods
from release_values.draft import Draft

Manifest = Mapping[str, Any]
_S3 = "s3.csi.aws.com"
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
# The chart makes its own of these, whatever the old release had in them.
_OWN = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "PodDisruptionBudget", "Namespace"}
_READ = {
    "Deployment",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Service",
    "ServiceAccount",
}


class NoTritonError(ValueError):
    """Nothing in the manifests runs Triton."""


def values_of(manifests: Sequence[Manifest], schema: Path) -> Draft:
    """Reads a release.

    Args:
        manifests: its objects, as `helm get manifest` or `kubectl get --output yaml` gives them.
        schema: this chart's values.schema.json.

    Returns:
        The values that could be read, and a note for each thing that could not.

    Raises:
        NoTritonError: no Deployment among them runs Triton.
    """
    draft = Draft(schema)
    deployments = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    found = {role: (each, container) for each in deployments for role, container in [_role(each)] if role}
    if "triton" not in found:
        raise NoTritonError(
            f"none of {len(deployments)} Deployments runs Triton: expected one whose container is tritonserver; "
            "give all objects of the old release, as `helm get manifest RELEASE --namespace NAMESPACE` prints them"
        )
    deployment, container = found["triton"]
    pods.read_triton(draft, deployment, container)
    pods.read_pods(draft, "triton", deployment, container)
    volume = pods.models_mount(container)
    pods.read_volumes(draft, deployment, container, volume)
    _read_models(draft, manifests, deployment, volume)
    for role, image in (("proxy", "proxy_push"), ("scaler", "scaler_push")):
        if role in found:
            deployment, container = found[role]
            pods.read_pods(draft, role, deployment, container)
            pods.read_settings(draft, role, deployment, container)
            draft.note(
                f"{role}.image: push ours with `./bazelw run //deploy/images:{image} -- REGISTRY` and name it there"
            )
    if "scaler" in found:
        draft.set("scaler.enabled", True, "the scale service")
        draft.note("scaler.policy: nobody may scale before you write down who may; docs/scaling.md has examples")
        draft.note("networkPolicy.apiServer: the addresses of the API server; `helm show values` says how to list them")
    _read_clients(draft, manifests)
    for manifest in manifests:
        _read_other(draft, manifest, found)
    return draft


def _role(deployment: Manifest) -> tuple[str, Manifest]:
    """Which of our components a Deployment stands for, and its container; "" for none."""
    name = deployment["metadata"]["name"]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    for container in containers:
        words = " ".join([*(container.get("command") or ()), *(container.get("args") or ())])
        if "tritonserver" in words or "tritonserver" in container["image"]:
            return "triton", container
        if any(variable["name"] == "TRITON_URL" for variable in container.get("env") or ()):
            return "proxy", container
    if name.endswith("-proxy"):
        return "proxy", containers[0]
    return ("scaler", containers[0]) if name.endswith("-admin") else ("", {})


def _read_models(draft: Draft, manifests: Iterable[Manifest], deployment: Manifest, volume: str) -> None:
    """Reads where the models come from: the claim, and the volume in S3 behind it."""
    claims = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "PersistentVolumeClaim"}
    volumes = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "PersistentVolume"}
    mounted = [v for v in deployment["spec"]["template"]["spec"].get("volumes") or () if v["name"] == volume]
    claim = mounted[0].get("persistentVolumeClaim", {}).get("claimName", "") if mounted else ""
    if not claim:
        draft.note("models: they come from no claim in the old release: see models.source in `helm show values`")
        return
    source = volumes.get(claims.get(claim, {}).get("spec", {}).get("volumeName", ""), {}).get("spec", {})
    if source.get("csi", {}).get("driver") != _S3:
        draft.set("models.source", "existingClaim", f"claim {claim}")
        draft.set("models.existingClaim", claim, f"claim {claim}")
        return
    attributes, options = source["csi"]["volumeAttributes"], _options(source)
    bucket = attributes["bucketName"]
    draft.set("models.source", "s3", f"claim {claim}")
    draft.set("models.s3.bucket", bucket, f"claim {claim}")
    draft.set("models.s3.region", options.get("region", ""), f"claim {claim}: region")
    draft.set("models.s3.authenticationSource", attributes.get("authenticationSource", "driver"), f"claim {claim}")
    draft.note(
        f"models: the old prefix is {options.get('prefix', '(none)')}, ours is triton/NAMESPACE/NAME/models/: "
        f"aws s3 sync s3://{bucket}/{options.get('prefix', '')} there, where they differ"
    )
    for name, other in claims.items():
        behind = volumes.get(other["spec"].get("volumeName", ""), {}).get("spec", {}).get("csi", {})
        elsewhere = other["metadata"].get("namespace")
        if name != claim and elsewhere and behind.get("volumeAttributes", {}).get("bucketName") == bucket:
            draft.set("models.edv.enabled", True, f"claim {name}")
            draft.set("models.edv.namespace", elsewhere, f"claim {name}")


def _options(volume: Manifest) -> dict[str, str]:
    """Mount options as Mountpoint takes them, `region x` or `--region=x`."""
    pairs = (option.lstrip("-").replace("=", " ").partition(" ") for option in volume.get("mountOptions") or ())
    return {key: value.strip() for key, _, value in pairs}


def _read_clients(draft: Draft, manifests: Iterable[Manifest]) -> None:
    """Reads who may call, from the NetworkPolicies that let a namespace in by its name."""
    names: set[str] = set()
    peer: Manifest
    for policy in manifests:
        if policy["kind"] != "NetworkPolicy":
            continue
        for rule in policy["spec"].get("ingress") or ():
            for peer in rule.get("from") or [{}]:
                chosen = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
                if set(chosen) == {_NAMESPACE_NAME}:
                    names.add(chosen[_NAMESPACE_NAME])
                elif "podSelector" not in peer or "namespaceSelector" in peer:
                    draft.note(
                        f"NetworkPolicy {policy['metadata']['name']}: lets in more than a namespace by its name: "
                        "name each in networkPolicy.clients or networkPolicy.monitoring"
                    )
    for name in sorted(names):
        draft.add("networkPolicy.clients", {"namespace": name}, "a NetworkPolicy")


def _read_other(draft: Draft, manifest: Manifest, found: Mapping[str, tuple[Manifest, Manifest]]) -> None:
    """Reads what stands beside the Deployments, or names it."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if kind == "Service" and manifest["spec"].get("type", "ClusterIP") != "ClusterIP":
        draft.note(
            f"Service {name}: {manifest['spec']['type']} has no value here: callers come from within the cluster"
        )
    elif kind == "ServiceAccount" and (annotations := manifest["metadata"].get("annotations")):
        triton, _ = found["triton"]
        if triton["spec"]["template"]["spec"].get("serviceAccountName") == name:
            draft.set("triton.serviceAccountAnnotations", annotations, f"ServiceAccount {name}")
    elif kind == "HorizontalPodAutoscaler":
        _read_autoscaler(draft, manifest, found)
    elif kind == "Deployment" and all(manifest is not deployment for deployment, _ in found.values()):
        draft.note(f"Deployment {name}: neither Triton, nor a proxy, nor a scale service: keep it in a chart of yours")
    elif kind not in _READ | _OWN:
        draft.note(f"{kind} {name}: has no value here")


def _read_autoscaler(draft: Draft, manifest: Manifest, found: Mapping[str, tuple[Manifest, Manifest]]) -> None:
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    metrics = [metric.get("resource", {}) for metric in spec.get("metrics") or ()]
    cpu = [each["target"].get("averageUtilization") for each in metrics if each.get("name") == "cpu"]
    ours = "proxy" in found and found["proxy"][0]["metadata"]["name"] == spec["scaleTargetRef"]["name"]
    if not ours or len(metrics) != 1 or not cpu or cpu[0] is None:
        draft.note(f"HorizontalPodAutoscaler {name}: not the proxy's by its CPU: see autoscaling in docs/scaling.md")
        return
    bounds = {"minReplicas": spec.get("minReplicas", 1), "maxReplicas": spec["maxReplicas"]}
    value = {"enabled": True, **bounds, "targetCPUUtilizationPercentage": cpu[0]}
    draft.set("proxy.autoscaling", value, f"HorizontalPodAutoscaler {name}")

"""What a Deployment of the old release says about its pods."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from release_values.draft import Draft

Manifest = Mapping[str, Any]
# Options that the chart sets itself, with its values; a note names each that an old release sets otherwise.
_OWN_WORDS = {
    "model-repository": "/models",
    "model-store": "/models",
    "model-control-mode": "poll",
    "http-port": "8000",
    "grpc-port": "8001",
    "metrics-port": "8002",
    "allow-http": "true",
    "allow-grpc": "true",
    "allow-metrics": "true",
    "exit-on-error": "false",
    "strict-readiness": "false",
}
_WORDS = {"repository-poll-secs": "triton.repositoryPollSecs", "exit-timeout-secs": "triton.exitTimeoutSecs"}
_PLACEMENT = ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_REFUSED = ("hostNetwork", "hostPID", "hostIPC")
_IMAGE = re.compile(r"(?P<repository>[^@]+?)(:(?P<tag>[^:/@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?")


def read_pods(draft: Draft, component: str, deployment: Manifest, container: Manifest) -> None:
    """Reads replicas, placement, user and resources, which every component has alike.

    Args:
        draft: takes the values.
        component: triton, proxy or scaler.
        deployment: the old Deployment.
        container: of its containers, the component's own.
    """
    where = f"Deployment {deployment['metadata']['name']}"
    pod = deployment["spec"]["template"]["spec"]
    if component != "scaler" and "replicas" in deployment["spec"]:
        draft.set(f"{component}.replicas", deployment["spec"]["replicas"], f"{where}: replicas")
    if container.get("resources"):
        draft.set(f"{component}.resources", container["resources"], f"{where}: resources")
    for key in _PLACEMENT:
        if pod.get(key):
            draft.set(f"{component}.{key}", pod[key], f"{where}: {key}")
    user = {**(pod.get("securityContext") or {}), **(container.get("securityContext") or {})}.get("runAsUser")
    if user is not None:
        draft.set(f"{component}.runAsUser", user, f"{where}: runAsUser")
    _read_what_pods_share(draft, where, pod, container)


def read_triton(draft: Draft, deployment: Manifest, container: Manifest) -> None:
    """Reads Triton's image, words, variables and volumes."""
    where = f"Deployment {deployment['metadata']['name']}"
    draft.set("name", deployment["metadata"]["name"], where)
    _read_image(draft, container["image"], where)
    for key, value in _words(container):
        _read_word(draft, key, value, where)
    for variable in container.get("env") or ():
        name = variable["name"]
        if "value" in variable and _SECRET.search(name):
            draft.note(f"{where}: {name} is not copied, it may be a secret: name a Secret's key in triton.extraEnv")
        else:
            draft.add("triton.extraEnv", variable, f"{where}: {name}")
    for source in container.get("envFrom") or ():
        draft.note(f"{where}: envFrom {next(iter(source.values()))['name']}: name each variable in triton.extraEnv")


def read_volumes(draft: Draft, deployment: Manifest, container: Manifest, models: str) -> None:
    """Reads Triton's volumes beside the one of the models."""
    where = f"Deployment {deployment['metadata']['name']}"
    mounts = container.get("volumeMounts") or ()
    for volume in deployment["spec"]["template"]["spec"].get("volumes") or ():
        name = volume["name"]
        mounted = [mount for mount in mounts if mount["name"] == name]
        paths = {mount["mountPath"] for mount in mounted}
        if name == models or paths <= {"/tmp"}:  # noqa: S108  a place in the pod, which the chart has too
            continue
        if paths == {"/dev/shm"}:  # noqa: S108  likewise
            if size := volume.get("emptyDir", {}).get("sizeLimit"):
                draft.set("triton.sharedMemory", size, f"{where}: volume {name}")
            continue
        if draft.add("triton.extraVolumes", volume, f"{where}: volume {name}"):
            for mount in mounted:
                kept = {key: mount[key] for key in ("name", "mountPath", "subPath") if key in mount}
                draft.add("triton.extraVolumeMounts", kept, f"{where}: mount {mount['mountPath']}")


def read_settings(draft: Draft, component: str, deployment: Manifest, container: Manifest) -> None:
    """Reads the settings of the proxy or the scale service from its variables."""
    for variable in container.get("env") or ():
        where = f"Deployment {deployment['metadata']['name']}: {variable['name']}"
        if variable["name"] == "TRITON_URL":
            continue
        if not draft.has_setting(component, variable["name"]):
            draft.note(f"{where}: {component}.settings has no such setting; `helm show values` lists them")
        elif "value" not in variable:
            draft.note(f"{where} comes from elsewhere in the cluster: write its value into {component}.settings")
        else:
            draft.setting(component, variable["name"], str(variable["value"]), where)


def models_mount(container: Manifest) -> str:
    """Name of the volume that the models come from; "" where none is mounted."""
    repository = dict(_words(container)).get("model-repository", "/models").rstrip("/")
    mounts = [
        m for m in container.get("volumeMounts") or () if f"{repository}/".startswith(f"{m['mountPath'].rstrip('/')}/")
    ]
    return str(max(mounts, key=lambda mount: len(mount["mountPath"]))["name"]) if mounts else ""


def _read_what_pods_share(draft: Draft, where: str, pod: Manifest, container: Manifest) -> None:
    """Reads the Secrets of registries, and names what no pod of ours may have."""
    for secret in pod.get("imagePullSecrets") or ():
        if secret["name"] not in draft.values.get("imagePullSecrets", ()):
            draft.add("imagePullSecrets", secret["name"], f"{where}: imagePullSecrets")
    for key in _REFUSED:
        if pod.get(key):
            draft.note(f"{where}: {key} has no value here: the pods keep to the Pod Security standard restricted")
    for other in [*(pod.get("initContainers") or ()), *pod["containers"]]:
        if other is not container:
            draft.note(f"{where}: container {other['name']} beside {container['name']} has no value here")


def _read_image(draft: Draft, image: str, where: str) -> None:
    found = _IMAGE.fullmatch(image)
    if found is None:
        draft.note(f"{where}: image {image} can't be read: set triton.image")
        return
    draft.set("triton.image", {key: value for key, value in found.groupdict().items() if value}, f"{where}: image")
    release = re.match(r"(\d\d)\.(\d\d)-", found["tag"] or "")
    if release and (int(release[1]), int(release[2])) < (26, 3):
        draft.note(
            f"{where}: Triton {found['tag']} has a hole (CVE-2026-24207): take 26.03 or later in triton.image.tag"
        )


def _words(container: Manifest) -> Iterator[tuple[str, str]]:
    """Triton's options, as key and value; "" for one without."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if any("tritonserver " in word for word in words):
        # As a shell's line, which people write to use variables in it.
        words = [part for word in words for part in shlex.split(word)]
    at = 0
    while at < len(words):
        word, at = words[at], at + 1
        if not word.startswith("--"):
            continue
        key, equals, value = word[2:].partition("=")
        if not equals and at < len(words) and not words[at].startswith("-"):
            value, at = words[at], at + 1
        yield key, value


def _read_word(draft: Draft, key: str, value: str, where: str) -> None:
    if key in _OWN_WORDS:
        if value.rstrip("/") != _OWN_WORDS[key]:
            draft.note(f"{where}: --{key}={value}: the chart has {_OWN_WORDS[key]}, and can't have it otherwise")
    elif key in _WORDS and value.isdigit():
        draft.set(_WORDS[key], int(value), f"{where}: --{key}")
    else:
        draft.add("triton.extraArgs", f"--{key}={value}", f"{where}: --{key}")

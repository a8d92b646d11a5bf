"""Everything that is needed to understand a run, as files in one folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from boundary import matrix, names
from boundary.claims import Claim, same
from boundary.kube import Kube
from kind_cluster.command import KindError, run


def write_claims(folder: Path, claims: Sequence[Claim], skipped: str = "") -> None:
    """Writes the matrix as text, JSON and JUnit XML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "matrix.md").write_text(matrix.table(claims), encoding="utf-8")
    (folder / "matrix.json").write_text(matrix.as_json(claims), encoding="utf-8")
    (folder / "junit.xml").write_text(matrix.as_junit(claims, skipped), encoding="utf-8")


def without_secrets(manifests: str) -> str:
    """The same objects; of Secrets only what keys they have."""
    shown = []
    for found in yaml.safe_load_all(manifests):
        if found and found.get("kind") == "Secret":
            found = {
                **found,
                **{field: dict.fromkeys(found[field], "…") for field in ("data", "stringData") if field in found},
            }
        shown.append(found)
    return yaml.safe_dump_all(shown, allow_unicode=True)


def collect(kube: Kube, folder: Path) -> None:
    """Writes what the cluster says about itself; what cannot be had says why instead."""
    every = ("--all-namespaces",)
    _write(
        folder,
        "objects.txt",
        lambda: kube.kubectl("get", "all,pvc,endpointslices,networkpolicies", *every, "-o", "wide"),
    )
    _write(folder, "networkpolicies.yaml", lambda: kube.kubectl("get", "networkpolicies", *every, "--output=yaml"))
    _write(folder, "describe.txt", lambda: kube.kubectl("describe", "pods", *every))
    _write(folder, "events.txt", lambda: kube.kubectl("get", "events", *every, "--sort-by=.lastTimestamp"))
    where = ("--namespace", names.INFERENCE)
    _write(folder, "rendered.yaml", lambda: without_secrets(kube.helm("get", "manifest", names.RELEASE, *where)))
    for node in _list(lambda: kube.nodes):
        for unit in ("felix", "kubelet", "containerd"):
            words = [kube.docker, "exec", node, "journalctl", "--no-pager", f"--unit={unit}"]
            _write(folder, f"{node}-{unit}.log", functools.partial(run, words))
    for pod in _list(lambda: kube.get("pods", *every)):
        _logs(kube, folder / "logs", pod)


def _logs(kube: Kube, folder: Path, pod: dict[str, Any]) -> None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    words = ("logs", f"--namespace={namespace}", name, "--all-containers", "--prefix", "--timestamps")
    _write(folder, f"{namespace}-{name}.log", lambda: kube.kubectl(*words))
    if any(status.get("restartCount") for status in pod["status"].get("containerStatuses", [])):
        _write(folder, f"{namespace}-{name}-previous.log", lambda: kube.kubectl(*words, "--previous"))


def _write(folder: Path, name: str, content: Callable[[], str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        text = content()
    except KindError as error:
        text = f"could not be had: {error}\n"
    (folder / name).write_text(text, encoding="utf-8")


def _list(ask: Callable[[], list[Any]]) -> list[Any]:
    try:
        return ask()
    except KindError:
        return []


def no_key_in_logs(kube: Kube) -> Claim:
    """No pod of the release or beside it has written the callers' API key into its log."""
    tellers = []
    for namespace in names.NAMESPACES:
        for pod in kube.get(f"--namespace={namespace}", "pods"):
            name = pod["metadata"]["name"]
            if names.API_KEY in _log(kube, namespace, pod):
                tellers.append(f"{namespace}/{name}")
    return same("secrets", "pods whose log shows the API key", "none", ", ".join(tellers) or "none")


def _log(kube: Kube, namespace: str, pod: dict[str, Any]) -> str:
    """A pod's log, "" where the pod was ending and is gone now."""
    try:
        return kube.kubectl(f"--namespace={namespace}", "logs", pod["metadata"]["name"], "--all-containers")
    except KindError as error:
        if "deletionTimestamp" in pod["metadata"] and "(NotFound)" in str(error):
            return ""
        raise

"""kubectl and helm, against one cluster of kind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from kind_cluster import files
from kind_cluster.cluster import Cluster, Kind
from kind_cluster.command import run

Manifest = dict[str, Any]
_FIELD_MANAGER = "helm"


class Kube:
    """One cluster and its two clients.

    Args:
        docker: Docker's client.
        cluster: the cluster.
    """

    def __init__(self, docker: Path, cluster: Cluster) -> None:
        self.docker = docker
        self.cluster = cluster
        self.kind = Kind(docker, cluster)

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, which are Docker's of their containers."""
        return [item["metadata"]["name"] for item in self.get("nodes")]

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """Runs kubectl with some words."""
        return self.kind.kubectl(*words, text=text)

    def kubectl_words(self, *words: str) -> list[str]:
        """The same as words for a process of one's own."""
        context = f"--context=kind-{self.cluster.name}"
        return [str(files.tool("kubectl")), f"--kubeconfig={self.cluster.kubeconfig}", context, *words]

    def helm(self, *words: str | Path, timeout: float = 900) -> str:
        """Runs helm with some words."""
        where = [f"--kubeconfig={self.cluster.kubeconfig}", f"--kube-context=kind-{self.cluster.name}"]
        return run([files.tool("helm"), *where, *words], timeout=timeout)

    def get(self, *words: str) -> list[dict[str, Any]]:
        """Objects as kubectl's `get` finds them, one or many."""
        found = json.loads(self.kubectl("get", *words, "--output=json"))
        return list(found["items"]) if "items" in found else [found]

    def apply(self, objects: Iterable[Manifest]) -> None:
        """Makes the objects be as they are here; of a policy that helm made, nothing of it stays."""
        text = yaml.safe_dump_all(list(objects))
        owner = ("--server-side", "--force-conflicts", f"--field-manager={_FIELD_MANAGER}")
        self.kubectl("apply", *owner, "--filename=-", text=text)

    def execute(self, namespace: str, pod: str, *words: str, container: str = "", text: str | None = None) -> str:
        """Runs a program in a pod and returns what it prints."""
        options = [f"--namespace={namespace}", *([f"--container={container}"] if container else [])]
        standard_input = ["--stdin"] if text is not None else []
        return self.kubectl("exec", *options, *standard_input, pod, "--", *words, text=text)

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Ready pods that are not about to end, the oldest first."""
        found = self.get(f"--namespace={namespace}", "pods", f"--selector={selector}")
        ready = [pod for pod in found if _ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        return sorted(ready, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any((condition["type"], condition["status"]) == ("Ready", "True") for condition in conditions)

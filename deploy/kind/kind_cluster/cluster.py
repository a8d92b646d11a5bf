"""One kind cluster: made, waited for, looked up, removed."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from kind_cluster import files
from kind_cluster.command import KindError, run, succeeds

# Kubernetes 1.34 as kind v0.33.0's own release has it: the digest names the image for every architecture.
STOCK_IMAGE = "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"
DEFAULT_NAME = "multimodal"
_READY_SECONDS = 240


@dataclass(frozen=True)
class Cluster:
    """A cluster's name and where its credentials are.

    Attributes:
        name: as `kind get clusters` tells it.
        kubeconfig: the file with its context, `kind-NAME`.
    """

    name: str
    kubeconfig: Path

    @property
    def note(self) -> Path:
        """The file that remembers this cluster for `down`."""
        return _notes() / f"{self.name}.json"

    def remember(self) -> None:
        """Writes the note."""
        self.note.write_text(json.dumps({**asdict(self), "kubeconfig": str(self.kubeconfig)}), encoding="utf-8")


def _notes() -> Path:
    folder = files.cache() / "clusters"
    folder.mkdir(exist_ok=True)
    return folder


def default_kubeconfig(name: str) -> Path:
    """Where a cluster's credentials go unless the user says otherwise: beside ~/.kube/config, which stays as it is."""
    return Path.home() / ".kube" / f"kind-{name}.config"


def remembered(name: str) -> Cluster:
    """The cluster of this name as `up` made it, or as it would by default."""
    note = _notes() / f"{name}.json"
    try:
        return Cluster(name, Path(json.loads(note.read_text(encoding="utf-8"))["kubeconfig"]))
    except (OSError, ValueError, KeyError):
        return Cluster(name, default_kubeconfig(name))


def config(airgap: bool, workers: int) -> dict[str, Any]:
    """Describes a cluster to kind.

    Args:
        airgap: its nodes are of the image that is built here.
        workers: nodes beside the control plane; without any, pods run on that one.

    Returns:
        An object as https://kind.sigs.k8s.io/docs/user/configuration describes it.
    """
    base: dict[str, Any] = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}
    if airgap:
        base = yaml.safe_load((files.NODE / "kind.yaml").read_text(encoding="utf-8"))
    return {**base, "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(workers))]}


class Kind:
    """kind and kubectl for one cluster.

    Args:
        client: Docker's client, which kind calls too.
        cluster: the cluster.
    """

    def __init__(self, client: Path, cluster: Cluster) -> None:
        self._cluster = cluster
        # kind looks for plain "docker" on PATH.
        self._env = {"PATH": f"{client.parent}:{os.environ['PATH']}"}

    def kind(self, *words: str | Path, text: str | None = None) -> str:
        """Runs kind with some words."""
        return run([files.tool("kind"), *words], env=self._env, text=text)

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """Runs kubectl against the cluster with some words."""
        return run([*self._kubectl(), *words], text=text)

    def _kubectl(self) -> list[str]:
        return [
            str(files.tool("kubectl")),
            f"--kubeconfig={self._cluster.kubeconfig}",
            f"--context=kind-{self._cluster.name}",
        ]

    def clusters(self) -> list[str]:
        """Names of all kind clusters of this Docker daemon."""
        return self.kind("get", "clusters", "--quiet").split()

    def create(self, image: str, configuration: dict[str, Any]) -> str:
        """Makes the cluster.

        Args:
            image: the nodes' image.
            configuration: see `config`.

        Returns:
            A word about it.

        Raises:
            KindError: it was not made; what its nodes logged is kept, the nodes are not.
        """
        self._cluster.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self._cluster.remember()
        where: list[str | Path] = ["--name", self._cluster.name, "--kubeconfig", self._cluster.kubeconfig]
        words = ["--image", image, "--config", "-", "--wait", f"{_READY_SECONDS}s", "--retain"]
        try:
            self.kind("create", "cluster", *where, *words, text=json.dumps(configuration))
        except KindError as error:
            logs = self._export_logs()
            self.delete()
            raise KindError(f"{error}\nThe nodes were removed again; what they logged is in {logs}") from error
        except BaseException:
            self.delete()
            raise
        return f"nodes: {len(configuration['nodes'])}"

    def _export_logs(self) -> Path:
        logs = files.cache() / "logs" / self._cluster.name
        # Nodes that never ran have nothing to tell.
        with contextlib.suppress(KindError):
            self.kind("export", "logs", logs, "--name", self._cluster.name)
        return logs

    def wait_until_ready(self) -> str:
        """Waits until nodes, DNS and every other pod of the system serve."""
        limit = f"--timeout={_READY_SECONDS}s"
        # `wait` alone would miss pods that do not exist yet.
        self.kubectl(
            "--namespace=kube-system", "rollout", "status", limit, "deployment/coredns", "daemonset/kube-proxy"
        )
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", limit)
        self.kubectl("--namespace=kube-system", "wait", "pod", "--all", "--for=condition=Ready", limit)
        return self.kubectl("get", "nodes", "--output=jsonpath={.items[0].status.nodeInfo.kubeletVersion}")

    def answers(self) -> bool:
        """Whether the API server lets us in."""
        return succeeds([*self._kubectl(), "get", "--raw=/readyz"])

    def delete(self) -> None:
        """Removes the nodes and the cluster's entries in its kubeconfig, and that file where nothing else is in it."""
        kubeconfig = self._cluster.kubeconfig
        self.kind("delete", "cluster", "--name", self._cluster.name, "--kubeconfig", kubeconfig)
        self._cluster.note.unlink(missing_ok=True)
        if kubeconfig.exists() and not (yaml.safe_load(kubeconfig.read_text(encoding="utf-8")) or {}).get("clusters"):
            kubeconfig.unlink()

"""Shows that the cluster enforces NetworkPolicy: that a deny denies, and that nothing else does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from kind_cluster import files
from kind_cluster.cluster import Kind
from kind_cluster.command import KindError
from kind_cluster.node_image import content_hash, import_files

_NAMESPACE = "multimodal-kind-check"
_PORT = 8080
_SETTLE_SECONDS = 30
_DENY = "deny-all"

NOT_ENFORCED = """\
############################################################################
#  THIS CLUSTER DOES NOT ENFORCE NetworkPolicy.                            #
#  A policy that denies everything was applied, and connections still open.#
#  Nothing that is installed here is protected by its policies.            #
############################################################################
kind's own engine, kindnet, needs nftables queues (kernel modules nf_tables, nfnetlink_queue) and lets everything
through where they are missing. Load them and make the cluster anew, or use --airgap, which brings Calico's engine."""


def probe_image() -> str:
    """The probe image's name."""
    return f"multimodal-kind/probe:{content_hash([files.tool('probe')])}"


def load_probe(client: Path, kind: Kind, cluster: str) -> str:
    """Makes the probe's image and puts it onto every node; returns its name."""
    image = probe_image()
    import_files(client, image, {"probe": files.tool("probe")}, '["/probe"]')
    kind.kind("load", "docker-image", image, "--name", cluster)
    return image


def pod(name: str, *words: str) -> dict[str, Any]:
    """A pod that runs the probe with some words, as little privileged as Kubernetes can have it."""
    container = {
        "name": "probe",
        "image": probe_image(),
        "imagePullPolicy": "Never",
        "args": list(words),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "containers": [container],
        "securityContext": security,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {"name": name, "namespace": _NAMESPACE, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def service() -> dict[str, Any]:
    """The server's Service, since kube-proxy's pods stay Ready while it fails."""
    spec = {"selector": {"app": "server"}, "ports": [{"port": _PORT}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server", "namespace": _NAMESPACE},
        "spec": spec,
    }


def deny_all() -> dict[str, Any]:
    """A policy that lets nothing into the server."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": _DENY, "namespace": _NAMESPACE},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }


def settles(ask: Callable[[], str], wanted: str, *, seconds: float = _SETTLE_SECONDS) -> str:
    """Asks again and again until the answer is the wanted one or the time is up.

    Args:
        ask: returns an answer.
        wanted: the answer to wait for.
        seconds: how long.

    Returns:
        The last answer.
    """
    deadline = time.monotonic() + seconds
    while (answer := ask()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def check(kind: Kind) -> str:
    """Lets one pod connect to another before, with and after a policy that denies it.

    It connects by address and by the name of a Service, which DNS and kube-proxy must know.

    Returns:
        A word about it.

    Raises:
        KindError: pods cannot connect without a policy, or can with one; NOT_ENFORCED begins the latter's text.
    """
    remove = ("delete", "namespace", _NAMESPACE, "--ignore-not-found")
    # An earlier check that was interrupted left its own.
    kind.kubectl(*remove, "--timeout=120s")
    kind.kubectl("create", "namespace", _NAMESPACE)
    try:
        return _check(kind)
    finally:
        kind.kubectl(*remove, "--wait=false")


def _check(kind: Kind) -> str:
    inside = f"--namespace={_NAMESPACE}"
    # Its pods need this account, which a controller makes a moment after the namespace.
    settles(lambda: kind.kubectl(inside, "get", "serviceaccount", "--output=name"), "serviceaccount/default\n")
    objects = [pod("server", "serve", str(_PORT)), pod("client", "pause"), service()]
    kind.kubectl("apply", "--filename=-", text=yaml.safe_dump_all(objects))
    kind.kubectl(inside, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s")
    address = kind.kubectl(inside, "get", "pod", "server", "--output=jsonpath={.status.podIP}")

    def outcome() -> str:
        words = ("/probe", "dial", f"{address}:{_PORT}", f"server:{_PORT}")
        answers = map(json.loads, kind.kubectl(inside, "exec", "client", "--", *words).splitlines())
        found = {f"{answer['outcome']} {answer.get('who', '')}".strip() for answer in answers}
        return " and ".join(sorted(found))

    twin = "connected server"
    if (got := settles(outcome, twin)) != twin:
        raise KindError(f"Without any policy one pod's connection to another was {got!r}, expected {twin!r}.")
    kind.kubectl("apply", "--filename=-", text=yaml.safe_dump(deny_all()))
    if (got := settles(outcome, "dropped")) != "dropped":
        raise KindError(f"{NOT_ENFORCED}\nWith a policy that denies everything the connection was {got!r}.")
    kind.kubectl(inside, "delete", "networkpolicy", _DENY)
    if (got := settles(outcome, twin)) != twin:
        raise KindError(f"After the policy was deleted a connection was {got!r}, expected {twin!r}.")
    return "a deny denies: connected, then dropped, then connected again"

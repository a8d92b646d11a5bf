"""What the suite puts beside the chart: probers, a client's pod, the Domino stand-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boundary import names
from boundary.names import API_KEY, API_KEY_SECRET, BEACON, CALLER, COMPUTE, DOMINO, ELSEWHERE, FRONT_END, INFERENCE
from kind_cluster.enforcement import probe_image

Manifest = dict[str, Any]
_CLIENT_IMAGE = "domino-triton-client:0.1.0"
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def namespace(name: str) -> Manifest:
    """A namespace of the suite's own; the chart's admits restricted pods only."""
    labels = dict(names.OURS)
    if name == INFERENCE:
        labels["pod-security.kubernetes.io/enforce"] = "restricted"
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def probe_container(*words: str) -> Manifest:
    """A container of the probe's image."""
    return {
        "name": "probe",
        "image": probe_image(),
        "imagePullPolicy": "Never",
        "args": list(words),
        "securityContext": CONTAINER_SECURITY,
    }


def pod(
    name: str, namespace: str, containers: Sequence[Manifest], labels: Mapping[str, str], user: int = 65532
) -> Manifest:
    """A pod as restricted as Kubernetes can have it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, **labels}},
        "spec": {
            "containers": list(containers),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            # A pod that DNS is closed to should learn that in a second.
            "dnsConfig": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}]},
        },
    }


def prober(name: str, namespace: str, labels: Mapping[str, str]) -> Manifest:
    """A pod that dials, and tells its name to every caller."""
    return pod(name, namespace, [probe_container("serve", str(names.PROBE_PORT))], labels)


def node_prober(node: str) -> Manifest:
    """A pod in the network of a node, from where kubelet asks pods for their health."""
    made = pod("node", ELSEWHERE, [probe_container("pause")], {})
    made["spec"].update(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet", nodeName=node)
    return made


def service(name: str, namespace: str, app: str, port: int, target: int) -> Manifest:
    """A Service of the pod `app`."""
    spec = {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def files(name: str, namespace: str, contents: Mapping[str, Path]) -> Manifest:
    """A ConfigMap of files by key."""
    data = {key: path.read_text(encoding="utf-8") for key, path in contents.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def api_key(namespace: str) -> Manifest:
    """The good API key, for the stand-in and for the client."""
    metadata = {"name": API_KEY_SECRET, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": API_KEY}}


def _python(name: str, namespace: str, words: Sequence[str], key_variable: str, paths: Mapping[str, str]) -> Manifest:
    """A pod of the client image that runs Python with files of the ConfigMap of its own name in /e2e."""
    key = {"secretKeyRef": {"name": API_KEY_SECRET, "key": "key"}}
    container = {
        "name": "python",
        "image": _CLIENT_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/python3", *words],
        "env": [{"name": key_variable, "valueFrom": key}, {"name": "PYTHONPATH", "value": "/e2e"}],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "files", "mountPath": "/e2e"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    items = [{"key": item, "path": path} for item, path in paths.items()]
    volumes = [
        {"name": "files", "configMap": {"name": name, "items": items}},
        {"name": "tmp", "emptyDir": {}},
    ]
    # Domino's user in workspaces and jobs.
    made = pod(name, namespace, [container], {}, user=12574)
    made["spec"]["volumes"] = volumes
    return made


def caller(inside: Path, contract: Path) -> list[Manifest]:
    """A workspace's pod in Domino's compute namespace, with the client wheel and the programs that call.

    Args:
        inside: the folder of those programs.
        contract: the folder of the scale service's generated modules.
    """
    programs = {name: inside / name for name in ("calls.py", "load.py", "scale.py", "traffic.py", "wake.py")}
    generated = {name: contract / name for name in ("scaling_pb2.py", "scaling_pb2_grpc.py")}
    paths = {**{name: name for name in programs}, **{name: f"scale_service/_gen/{name}" for name in generated}}
    wait = "import signal; signal.sigwait({signal.SIGTERM})"
    made = _python(CALLER, COMPUTE, ["-c", wait], "DOMINO_USER_API_KEY", paths)
    return [api_key(COMPUTE), files(CALLER, COMPUTE, {**programs, **generated}), made]


def front_end(inside: Path, devstack: Path) -> list[Manifest]:
    """The stand-in for Domino's front end, as its Service has it: port 80 in front of 9000; and a probe on another."""
    contents = {
        "stand_in.py": inside / "stand_in.py",
        **{name: devstack / name for name in ("__init__.py", "domino.py", "ports.py")},
    }
    paths = {key: key if key == "stand_in.py" else f"devstack/{key}" for key in contents}
    made = _python(FRONT_END, DOMINO, ["/e2e/stand_in.py"], "API_KEY_OF_ANN", paths)
    made["spec"]["containers"].append(probe_container("serve", str(names.PROBE_PORT)))
    return [
        api_key(DOMINO),
        files(FRONT_END, DOMINO, contents),
        made,
        service(FRONT_END, DOMINO, FRONT_END, 80, names.FRONT_END_PORT),
    ]


def beacon() -> Manifest:
    """A Service of a prober that no policy concerns."""
    return service(BEACON, ELSEWHERE, BEACON, names.PROBE_PORT, names.PROBE_PORT)


def let_out() -> Manifest:
    """A policy that opens the wall around the forged proxy and the release's other pod, and Triton's stands alone."""
    pods = {"matchExpressions": [{"key": "app", "operator": "In", "values": list(names.LET_OUT)}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "let-out", "namespace": INFERENCE},
        "spec": {"podSelector": pods, "policyTypes": ["Egress"], "egress": [{}]},
    }


def let_http() -> Manifest:
    """A policy that lets the proxy call Triton's HTTP port, which the chart's policies do not."""
    proxy, triton = ({"podSelector": {"matchLabels": names.labels(component)}} for component in ("proxy", "triton"))
    both = {"key": "app.kubernetes.io/component", "operator": "In", "values": ["proxy", "triton"]}
    ports = [{"protocol": "TCP", "port": 8000}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "let-http", "namespace": INFERENCE},
        "spec": {
            "podSelector": {"matchExpressions": [both]},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [proxy], "ports": ports}],
            "egress": [{"to": [triton], "ports": ports}],
        },
    }


def canary() -> Manifest:
    """A policy that lets nobody reach the beacon."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "canary", "namespace": ELSEWHERE},
        "spec": {"podSelector": {"matchLabels": {"app": BEACON}}, "policyTypes": ["Ingress"]},
    }

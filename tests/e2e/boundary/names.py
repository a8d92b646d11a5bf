"""Names of what the suite makes on the cluster, and of what the chart makes of them."""

from __future__ import annotations

INFERENCE = "inference-e2e-vision"
DOMINO = "domino-platform"
COMPUTE = "domino-compute"
MONITORING = "monitoring"
ELSEWHERE = "e2e-elsewhere"
NAMESPACES = (INFERENCE, DOMINO, COMPUTE, MONITORING, ELSEWHERE)
# Where README_HELM_INSTALL.md installs.
GUIDE = "inference-dev-vision"
# Namespaces that carry it are the suite's own, to be removed.
OURS = {"app.kubernetes.io/managed-by": "multimodal-e2e"}

RELEASE = "mm"
TRITON = "triton-inference-server"
PROXY = f"{TRITON}-proxy"
SCALER = f"{TRITON}-admin"
SCHEDULE = f"{TRITON}-schedule"
FRONT_END = "nucleus-frontend"
CLIENT = "client"
CALLER = "workspace"
BEACON = "stranger"
API_KEY_SECRET = "domino-user"  # noqa: S105  a name
# Counting the tests finds keys by this beginning, wherever one is printed.
API_KEY = "s3cret-key-of-ann"
# Pods that a policy of the chart keeps from going out, and that can be let out.
LET_OUT = ("forged", "same-release")

PROBE_PORT = 8080
FRONT_END_PORT = 9000
MODELS = "/var/lib/domino-triton/models"


def labels(component: str, release: str = RELEASE) -> dict[str, str]:
    """Labels that the chart gives the pods of a component."""
    return {
        "app.kubernetes.io/name": "domino-triton",
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/component": component,
    }


def selector(component: str) -> str:
    """The same as kubectl takes them."""
    return ",".join(f"{key}={value}" for key, value in labels(component).items())


def dns(service: str, namespace: str) -> str:
    """A Service's full name; its last dot keeps the resolver from trying others."""
    return f"{service}.{namespace}.svc.cluster.local."

"""Which pod dials which on the cluster, and what should come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from boundary import names
from boundary.claims import Expected, Target
from boundary.names import BEACON, CLIENT, COMPUTE, ELSEWHERE, INFERENCE, MONITORING, PROXY, SCALER, TRITON, dns


@dataclass(frozen=True)
class Prober:
    """A pod, or a node, that dials.

    Attributes:
        name: in the matrix.
        namespace: of its pod.
        pod: name of its pod; "" for a pod of the chart's, which the probe joins.
        labels: of a pod that the suite makes.
        component: of the chart's pod that it joins, or is taken for.
        wide: it dials everything, not Triton and the proxy only.
        dns: it may ask DNS.
    """

    name: str
    namespace: str
    pod: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    component: str = ""
    wide: bool = False
    dns: bool = True


FORGED = names.labels("proxy")
THE_CLIENT = Prober("a client in domino-compute", COMPUTE, CLIENT, wide=True)
THE_NODE = Prober("the node (kubelet)", ELSEWHERE, "node", wide=True)
THE_PROXY = Prober("the proxy itself", INFERENCE, component="proxy", wide=True)
THE_SCALER = Prober("the scale service itself", INFERENCE, component="scaler", wide=True)
THE_TRITON = Prober("Triton itself", INFERENCE, component="triton", wide=True, dns=False)
PROMETHEUS = Prober("monitoring", MONITORING, "prometheus")
TAKEN_FOR_PROXY = Prober(
    "same namespace, forged labels (is the proxy; RBAC's business)", INFERENCE, "forged", FORGED, "proxy", wide=True
)
PROBERS = (
    THE_CLIENT,
    Prober("domino-compute, forged labels", COMPUTE, "client-forged", FORGED),
    Prober("another namespace", ELSEWHERE, BEACON),
    Prober("another namespace, forged labels", ELSEWHERE, "stranger-forged", FORGED),
    Prober("same namespace, no labels", INFERENCE, "bystander"),
    Prober("same namespace, another release's proxy", INFERENCE, "other-release", names.labels("proxy", "other")),
    Prober(
        "same namespace, the release's labels, another component",
        INFERENCE,
        "same-release",
        names.labels("other"),
        "other",
        dns=False,
    ),
    TAKEN_FOR_PROXY,
    PROMETHEUS,
    Prober("monitoring, forged labels", MONITORING, "prometheus-forged", FORGED),
    THE_PROXY,
    THE_SCALER,
    THE_TRITON,
    THE_NODE,
)

_HTTP, _GRPC, _METRICS = "Triton 8000 (HTTP)", "Triton 8001 (gRPC)", "Triton 8002 (metrics)"
TRITON_PORTS = {_HTTP: (8000, "http", "/v2", '200 {"name":"triton"'), _GRPC: (8001, "grpc", "", "triton"),
                _METRICS: (8002, "http", "/metrics", "200 # HELP nv_")}  # fmt: skip
CALLS, HEALTH, COUNTS = "the proxy's 50051 (calls)", "the proxy's 50052 (health)", "the proxy's 9090 (metrics)"
REST = "the proxy's 8080 (REST)"
SCALE_REST, SCALE_GRPC = "the scale service's 8000 (REST)", "the scale service's 50052 (gRPC)"
SCALE_COUNTS = "the scale service's 9090 (metrics)"
DOMINO, DOMINO_OTHER = "Domino's front end", "Domino's front end, another port"
WORKSPACE, BEACON_POD = "a client's pod", "a pod in another namespace"
API, KUBELET, DNS_POD = "the API server", "the node's kubelet", "a CoreDNS pod, not on 53"
ITSELF = "itself"
_PLAIN_TO_TLS = "400 Client sent an HTTP request to an HTTPS server."


@dataclass(frozen=True)
class Addresses:
    """Addresses on the cluster: of pods, of Services and of the node."""

    triton: str
    triton_service: str
    proxy: str
    proxy_service: str
    scaler: str
    scaler_service: str
    client: str
    beacon: str
    front_end: str
    front_end_service: str
    coredns: str
    api_service: str
    node: str


def targets(prober: Prober, at: Addresses) -> list[Target]:
    """Everything that this prober dials."""
    found = [] if prober is THE_TRITON else _triton(at)
    if not prober.component or prober in (THE_SCALER, THE_TRITON):
        found += _proxy(at)
    if prober is not THE_SCALER:
        found += _scaler(at)
    if prober.pod != BEACON:
        found += _beacon(at)
    if prober.wide:
        found += _others(at)
    if prober is THE_TRITON:
        found.append(Target(ITSELF, "loopback", "grpc://127.0.0.1:8001", "triton"))
    elif prober.pod and prober is not THE_NODE:
        found.append(Target(ITSELF, "loopback", f"127.0.0.1:{names.PROBE_PORT}", prober.pod))
    return found


def _triton(at: Addresses) -> list[Target]:
    hosts = {"pod IP": at.triton, "Service IP": at.triton_service, "DNS name": dns(TRITON, INFERENCE)}
    return [
        Target(name, way, f"{scheme}://{host}:{port}{path}", who)
        for name, (port, scheme, path, who) in TRITON_PORTS.items()
        for way, host in hosts.items()
    ]


def _proxy(at: Addresses) -> list[Target]:
    hosts = {"pod IP": at.proxy, "Service IP": at.proxy_service, "DNS name": dns(PROXY, INFERENCE)}
    # Without a credential it lets nobody in; its health service knows no such method.
    calls = [Target(CALLS, way, f"grpc://{host}:50051", "grpc-status 16 ") for way, host in hosts.items()]
    calls += [
        Target(REST, way, f"http://{host}:8080/v2", '401 {"error":"missing credentials') for way, host in hosts.items()
    ]
    return [
        *calls,
        Target(HEALTH, "pod IP", f"grpc://{at.proxy}:50052", "grpc-status 12 "),
        Target(COUNTS, "pod IP", f"http://{at.proxy}:9090/metrics", "200 # HELP triton_proxy_"),
    ]


def _scaler(at: Addresses) -> list[Target]:
    hosts = {"pod IP": at.scaler, "Service IP": at.scaler_service, "DNS name": dns(SCALER, INFERENCE)}
    return [
        *(Target(SCALE_REST, way, f"http://{host}:8000/v1/deployments", "401 ") for way, host in hosts.items()),
        *(Target(SCALE_GRPC, way, f"grpc://{host}:50052", "grpc-status 16 ") for way, host in hosts.items()),
        Target(SCALE_COUNTS, "pod IP", f"http://{at.scaler}:9090/metrics", "200 # HELP process_"),
    ]


def _beacon(at: Addresses) -> list[Target]:
    hosts = {"pod IP": at.beacon, "DNS name": dns(BEACON, ELSEWHERE)}
    return [Target(BEACON_POD, way, f"{host}:{names.PROBE_PORT}", BEACON) for way, host in hosts.items()]


def _others(at: Addresses) -> list[Target]:
    principal = "/v4/auth/principal"
    return [
        Target(DOMINO, "pod IP", f"http://{at.front_end}:{names.FRONT_END_PORT}{principal}", "200 "),
        Target(DOMINO, "Service IP", f"http://{at.front_end_service}:80{principal}", "200 "),
        Target(DOMINO_OTHER, "pod IP", f"{at.front_end}:{names.PROBE_PORT}", names.FRONT_END),
        Target(WORKSPACE, "pod IP", f"{at.client}:{names.PROBE_PORT}", CLIENT),
        Target(API, "Service IP", f"http://{at.api_service}:443/", _PLAIN_TO_TLS),
        Target(KUBELET, "node IP", f"http://{at.node}:10250/", _PLAIN_TO_TLS),
        Target(DNS_POD, "pod IP", f"http://{at.coredns}:8181/ready", "200 OK"),
    ]


def expected(prober: Prober, target: Target) -> Expected:
    """What the chart promises: with its policies, what comes of this prober's dialling this target."""
    if target.name == ITSELF or prober is THE_NODE:
        return Expected.CONNECTED
    if target.way == "DNS name" and not prober.dns:
        return Expected.NO_DNS
    return Expected.CONNECTED if _lets_out(prober, target) and _lets_in(prober, target) else Expected.BLOCKED


def expected_of_tritons_wall(prober: Prober, target: Target) -> Expected:
    """The same where names.LET_OUT may go anywhere: what holds up then is the wall around the dialled pod."""
    if prober.pod not in names.LET_OUT:
        return expected(prober, target)
    return Expected.CONNECTED if target.name == ITSELF or _lets_in(prober, target) else Expected.BLOCKED


def _lets_out(prober: Prober, target: Target) -> bool:
    """Of the release's pods, the proxy goes to Triton's 8001, the scale service to the API server, both to Domino."""
    if prober.namespace != INFERENCE or not prober.component:
        return True
    return target.name in {"proxy": (_GRPC, DOMINO), "scaler": (API, DOMINO)}.get(prober.component, ())


def _lets_in(prober: Prober, target: Target) -> bool:
    """Triton lets in the proxy on 8001, monitoring on 8002; proxy and scale service it on 9090, and users."""
    monitoring = prober.namespace == MONITORING
    if target.name in TRITON_PORTS:
        proxy = prober.namespace == INFERENCE and prober.component == "proxy"
        return (proxy and target.name == _GRPC) or (monitoring and target.name == _METRICS)
    if target.name in (CALLS, REST, HEALTH, SCALE_REST, SCALE_GRPC):
        return prober.namespace == COMPUTE and target.name != HEALTH
    if target.name in (COUNTS, SCALE_COUNTS):
        return monitoring
    return True

"""What the chart promises about which pods reach which, said without looking at its NetworkPolicies."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chart_checks.mesh import HBONE, PROBE_ADDRESSES
from chart_checks.network_policy import End, Host, Network, Pod

CHART = "domino-triton"
TRITON_HTTP, TRITON_GRPC, TRITON_METRICS = 8000, 8001, 8002
PROXY_GRPC, PROXY_HEALTH, PROXY_METRICS, PROXY_HTTP = 50051, 50052, 9090, 8080
SCALER_HTTP, SCALER_GRPC, SCALER_METRICS = 8000, 50052, 9090
DNS, DNS_PROTOCOLS = 53, ("UDP", "TCP")
# Nobody gets there, whatever network of the values holds them: metadata services, which hand out credentials, and
# link-local addresses. Sources: the documents of AWS (IMDS, EKS Pod Identity), Google Cloud, Azure (WireServer) and
# Alibaba Cloud; RFC 3927, RFC 4291 and RFC 6052.
FORBIDDEN = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "fe80::/10",
        "fd00:ec2::/32",
        "fd20:ce::/32",
        "64:ff9b::a9fe:0/112",
        "::ffff:0:0/96",
    )
)


@dataclass(frozen=True)
class Release:
    """An installed release, as its values say it.

    Attributes:
        namespace: where it is installed.
        instance: name of the release.
        values: all its values.
    """

    namespace: str
    instance: str
    values: Mapping[str, Any]

    def labels(self, component: str) -> dict[str, str]:
        """The labels of a component's pods."""
        return {
            "app.kubernetes.io/name": CHART,
            "app.kubernetes.io/instance": self.instance,
            "app.kubernetes.io/component": component,
        }

    def pod(self, component: str) -> Pod:
        """A pod of a component, as the chart makes it."""
        ports = {
            "triton": {"http": ("TCP", TRITON_HTTP), "grpc": ("TCP", TRITON_GRPC), "metrics": ("TCP", TRITON_METRICS)},
            "proxy": {
                "grpc": ("TCP", PROXY_GRPC),
                "health": ("TCP", PROXY_HEALTH),
                "metrics": ("TCP", PROXY_METRICS),
                "http": ("TCP", PROXY_HTTP),
            },
            "scaler": {
                "http": ("TCP", SCALER_HTTP),
                "grpc": ("TCP", SCALER_GRPC),
                "metrics": ("TCP", SCALER_METRICS),
            },
        }
        return Pod(self.namespace, self.labels(component), "10.244.9.9", ports.get(component, {}))

    def is_component(self, end: End, component: str) -> bool:
        """Whether somebody is a pod of the component.

        A user that may create pods in the release's namespace can give them these labels: Kubernetes then sees no
        difference.
        """
        return isinstance(end, Pod) and _has(end, self.namespace, self.labels(component))

    def is_any_component(self, end: End) -> bool:
        """Whether somebody is a pod of the release, of whatever component."""
        ours = {key: value for key, value in self.labels("").items() if not key.endswith("/component")}
        return isinstance(end, Pod) and _has(end, self.namespace, ours)

    @property
    def scales_to_zero(self) -> bool:
        """Whether the scale service reads the proxies' metrics, since it scales by them."""
        scaler = self.values["scaler"]
        return bool(scaler["enabled"] and scaler["idle"]["enabled"])

    @property
    def policy(self) -> Mapping[str, Any]:
        """The values of networkPolicy."""
        policy: Mapping[str, Any] = self.values["networkPolicy"]
        return policy

    @property
    def mesh(self) -> str:
        """The value mesh.mode."""
        return str(self.values["mesh"]["mode"])

    @property
    def callers_port(self) -> int:
        """Where the proxy's callers arrive, as a NetworkPolicy sees it."""
        return HBONE if self.mesh == "ambient" else PROXY_GRPC

    @property
    def metrics_port(self) -> int:
        """Where those arrive that read the proxy's metrics, as a NetworkPolicy sees it."""
        return HBONE if self.mesh == "ambient" else PROXY_METRICS


def _has(pod: Pod, namespace: str, labels: Mapping[str, str]) -> bool:
    return pod.namespace == namespace and labels.items() <= pod.labels.items()


def _is_peer(end: End, peers: Sequence[Mapping[str, Any]]) -> bool:
    return isinstance(end, Pod) and any(_has(end, peer["namespace"], peer.get("podLabels", {})) for peer in peers)


def _is_destination(end: End, port: int, destination: Mapping[str, Any]) -> bool:
    address = ipaddress.ip_address(end.ip)
    outside = any(address in ipaddress.ip_network(cidr) for cidr in destination.get("cidrs", ()))
    outside = outside and not any(address in network for network in FORBIDDEN)
    return port in destination["ports"] and (outside or _is_peer(end, destination.get("peers", ())))


def _asks_dns(release: Release, end: End, port: int, protocol: str) -> bool:
    """DNS as the values name it; of a node's cache its port 53 alone, whatever ports other DNS servers have."""
    dns = release.policy["dns"]
    caches = map(ipaddress.ip_address, dns["nodeLocalCache"])
    cached = port == DNS and ipaddress.ip_address(end.ip) in caches
    return protocol in DNS_PROTOCOLS and (cached or _is_destination(end, port, dns))


def triton_accepts(release: Release, source: End, port: int, protocol: str) -> bool:
    """The proxy on 8001, monitoring on 8002, nobody else on anything; only kubelet asks on 8000."""
    if protocol != "TCP":
        return False
    if port == TRITON_GRPC:
        return release.is_component(source, "proxy")
    return port == TRITON_METRICS and reads_metrics(release, source)


def triton_may_call(release: Release, destination: End, port: int, protocol: str) -> bool:
    """Nobody; with its own traces the collector, and DNS to find it."""
    if not release.values["triton"]["traces"]["enabled"]:
        return False
    collector = protocol == "TCP" and _is_destination(destination, port, release.policy["traces"])
    return collector or _asks_dns(release, destination, port, protocol)


def calls_the_proxy(release: Release, source: End) -> bool:
    """Clients' namespaces, and the publisher where there is one."""
    publisher = release.values["publisher"]["enabled"] and release.is_component(source, "publisher")
    return publisher or _is_peer(source, release.policy["clients"])


def reads_metrics(release: Release, source: End) -> bool:
    """Whether somebody is of those that may read all metrics."""
    return _is_peer(source, release.policy["monitoring"])


def calls_over_http(release: Release, source: End) -> bool:
    """Clients' namespaces, where there is REST: the publisher has no use for it."""
    enabled = bool(release.values["proxy"]["http"]["enabled"])
    return enabled and _is_peer(source, release.policy["clients"])


def proxy_accepts(release: Release, source: End, port: int, protocol: str) -> bool:
    """Its callers on 50051 and 8080, monitoring on 9090, and there the scale service where it scales to zero.

    In an ambient mesh all come on HBONE's port, and kubelet's probes on their own.
    """
    if protocol != "TCP":
        return False
    if release.mesh == "ambient" and port == PROXY_HEALTH:
        return source.ip in PROBE_ADDRESSES
    if port == release.metrics_port and reads_metrics(release, source):
        return True
    if port == PROXY_METRICS and release.scales_to_zero and release.is_component(source, "scaler"):
        return True
    if port == PROXY_HTTP:
        return release.mesh != "ambient" and calls_over_http(release, source)
    return port == release.callers_port and calls_the_proxy(release, source)


def _meshed(release: Release, end: End, port: int, destination: Mapping[str, Any]) -> bool:
    """A destination, with HBONE to its pods in an ambient mesh, by which any port of theirs can be asked for."""
    hbone = release.mesh == "ambient" and port == HBONE and _is_peer(end, destination.get("peers", ()))
    return hbone or _is_destination(end, port, destination)


def _is_istiod(release: Release, end: End, port: int) -> bool:
    """Where a sidecar gets its certificate."""
    return release.mesh == "sidecar" and _is_destination(end, port, release.policy["istiod"])


def proxy_may_call(release: Release, destination: End, port: int, protocol: str) -> bool:
    """Triton's gRPC, DNS, Domino, Keycloak and the collector where they are set, and istiod with a sidecar."""
    if _asks_dns(release, destination, port, protocol):
        return True
    if protocol != "TCP":
        return False
    settings = release.values["proxy"]["settings"]
    named = [
        ("domino", "DOMINO_HOST"),
        ("keycloak", "KEYCLOAK_ISSUER"),
        ("traces", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ]
    if any(settings.get(s) and _meshed(release, destination, port, release.policy[key]) for key, s in named):
        return True
    if _is_istiod(release, destination, port):
        return True
    return port == TRITON_GRPC and release.is_component(destination, "triton")


def publisher_may_call(release: Release, destination: End, port: int, protocol: str) -> bool:
    """The proxy, DNS, what publisher.egress names, and istiod with a sidecar."""
    if _asks_dns(release, destination, port, protocol):
        return True
    if protocol != "TCP":
        return False
    if any(_meshed(release, destination, port, to) for to in release.values["publisher"]["egress"]):
        return True
    if _is_istiod(release, destination, port):
        return True
    return port == release.callers_port and release.is_component(destination, "proxy")


def scaler_accepts(release: Release, source: End, port: int, protocol: str) -> bool:
    """Clients' namespaces on 8000 and 50052, monitoring on 9090; only kubelet asks besides."""
    if protocol != "TCP":
        return False
    if port == SCALER_METRICS:
        return reads_metrics(release, source)
    return port in (SCALER_HTTP, SCALER_GRPC) and _is_peer(source, release.policy["clients"])


def scaler_may_call(release: Release, destination: End, port: int, protocol: str) -> bool:
    """The API server, DNS, Domino and Keycloak where they are set, and the proxy's metrics where it scales to zero."""
    if _asks_dns(release, destination, port, protocol):
        return True
    if protocol != "TCP":
        return False
    if port == PROXY_METRICS and release.scales_to_zero and release.is_component(destination, "proxy"):
        return True
    settings = release.values["scaler"]["settings"]
    named = [("domino", "DOMINO_HOST"), ("keycloak", "KEYCLOAK_ISSUER")]
    to = [release.policy["apiServer"], *(release.policy[key] for key, setting in named if settings.get(setting))]
    return any(_is_destination(destination, port, each) for each in to)


def schedule_may_call(release: Release, destination: End, port: int, protocol: str) -> bool:
    """The API server, nobody else: not even DNS."""
    return protocol == "TCP" and _is_destination(destination, port, release.policy["apiServer"])


def accepts(release: Release, destination: Pod, source: End, port: int, protocol: str) -> bool:
    """Whether a pod of the release may be reached; True for all other pods, about which the chart says nothing."""
    if release.is_component(destination, "triton"):
        return triton_accepts(release, source, port, protocol)
    if release.is_component(destination, "proxy"):
        return proxy_accepts(release, source, port, protocol)
    if release.values["scaler"]["enabled"] and release.is_component(destination, "scaler"):
        return scaler_accepts(release, source, port, protocol)
    return not release.is_any_component(destination)


def may_call(release: Release, source: Pod, destination: End, port: int, protocol: str) -> bool:
    """Whether a pod of the release may go out to another end; True for all other pods."""
    if release.is_component(source, "triton"):
        return triton_may_call(release, destination, port, protocol)
    if release.is_component(source, "proxy"):
        return proxy_may_call(release, destination, port, protocol)
    if release.values["publisher"]["enabled"] and release.is_component(source, "publisher"):
        return publisher_may_call(release, destination, port, protocol)
    if release.values["scaler"]["enabled"] and release.is_component(source, "scaler"):
        return scaler_may_call(release, destination, port, protocol)
    if release.values["scaler"]["schedule"] and release.is_component(source, "schedule"):
        return schedule_may_call(release, destination, port, protocol)
    return not release.is_any_component(source)


def check(network: Network, release: Release, source: End, destination: End, port: int, protocol: str) -> None:
    """Holds the policies against what is promised, each direction alone: one wall must not hide a hole in the other.

    Raises:
        AssertionError: an end reaches one that it must not, or does not reach one that it has to.
    """
    connection = f"{_named(release, source)} → {_named(release, destination)}:{port}/{protocol}"
    if isinstance(destination, Pod):
        observed = network.lets_in(source, destination, port, protocol)
        if observed != accepts(release, destination, source, port, protocol):
            raise AssertionError(f"{connection} is {'let in' if observed else 'not let in'}")
    if isinstance(source, Pod):
        observed = network.lets_out(source, destination, port, protocol)
        if observed != may_call(release, source, destination, port, protocol):
            raise AssertionError(f"{connection} is {'let out' if observed else 'not let out'}")


def _named(release: Release, end: End) -> str:
    if isinstance(end, Host):
        return f"host {end.ip}"
    for component in ("triton", "proxy", "publisher", "scaler", "schedule"):
        if release.is_component(end, component):
            return f"the {component}"
    ours = "a pod of the release" if release.is_any_component(end) else "a pod"
    labels = ",".join(f"{key.rpartition('/')[2]}={value}" for key, value in sorted(end.labels.items()))
    return f"{ours} in {end.namespace} ({labels or 'no labels'})"

"""What the chart promises where its pods are in a mesh, said without looking at its objects of Istio's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from chart_checks.claims import (
    PROXY_GRPC,
    PROXY_HEALTH,
    PROXY_HTTP,
    PROXY_METRICS,
    TRITON_GRPC,
    TRITON_METRICS,
    Release,
    calls_over_http,
    calls_the_proxy,
    proxy_accepts,
    reads_metrics,
    triton_accepts,
)
from chart_checks.mesh import WAYS, Call, DataPlane, Mesh, Way, data_plane
from chart_checks.network_policy import End, Pod
from chart_checks.pods import pods

_PROXY = (PROXY_GRPC, PROXY_HEALTH, PROXY_METRICS, PROXY_HTTP)
PORTS = (22, 8000, TRITON_GRPC, TRITON_METRICS, 15000, 15008, 15012, 15020, 15021, 15090, *_PROXY)
NAMESPACES: tuple[Mapping[str, str], ...] = (
    {},
    {"istio-injection": "enabled"},
    {"istio.io/rev": "stable"},
    {"istio.io/dataplane-mode": "ambient"},
    {"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"},
)


def promised_plane(release: Release, component: str) -> DataPlane:
    """Triton is in no mesh, the others in the one that values name; what their namespace says is nothing to them."""
    planes = {"disabled": DataPlane.NONE, "sidecar": DataPlane.SIDECAR, "ambient": DataPlane.AMBIENT}
    return DataPlane.NONE if component == "triton" else planes[release.mesh]


def principal(release: Release, end: End, account: str = "") -> str:
    """Of a pod's certificate; by default that of the account which the chart, or Kubernetes, gives it."""
    if not isinstance(end, Pod):
        return ""
    if not account:
        accounts = {"triton": "", "proxy": "-proxy", "publisher": "-publisher"}
        found = [suffix for component, suffix in accounts.items() if release.is_component(end, component)]
        account = f"{release.values['name']}{found[0]}" if found else "default"
    return f"{release.values['mesh']['trustDomain']}/ns/{end.namespace}/sa/{account}"


def accepts(release: Release, component: str, call: Call) -> bool:
    """Whether a component may be reached by a call.

    In a mesh the proxy is reached through it only, with certificates: on 50051 by its callers and on 8080 by clients,
    where a pod with the publisher's labels still lacks its ServiceAccount, and on 9090 by monitoring. kubelet's probes
    reach the health port.
    """
    if component == "triton":
        return triton_accepts(release, call.source, call.port, "TCP")
    if component != "proxy":
        return False
    plane = promised_plane(release, component)
    if plane is DataPlane.NONE:
        return proxy_accepts(release, call.source, call.port, "TCP")
    if call.way is Way.PLAIN:
        # A sidecar's probes come from kubelet, as the node that no policy holds up.
        return plane is DataPlane.AMBIENT and call.port == PROXY_HEALTH and proxy_accepts(
            release, call.source, PROXY_HEALTH, "TCP"
        )  # fmt: skip
    # In an ambient mesh NetworkPolicies can't tell ports apart: what comes by HBONE has one port for all.
    comes = {
        PROXY_GRPC: calls_the_proxy(release, call.source),
        PROXY_HTTP: calls_over_http(release, call.source),
        PROXY_METRICS: reads_metrics(release, call.source),
    }
    reaches = any(comes.values()) if plane is DataPlane.AMBIENT else comes.get(call.port, False)
    return reaches and _is_allowed(release, call.principal, call.port)


def _is_allowed(release: Release, shown: str, port: int) -> bool:
    """Whether a certificate opens a port, whatever NetworkPolicies say."""
    if port == PROXY_METRICS:
        trust = release.values["mesh"]["trustDomain"]
        return shown.startswith(tuple(f"{trust}/ns/{peer['namespace']}/sa/" for peer in release.policy["monitoring"]))
    if port == PROXY_HTTP:
        return bool(release.values["proxy"]["http"]["enabled"]) and _is_client(release, shown)
    return port == PROXY_GRPC and _is_caller(release, shown)


def _is_caller(release: Release, shown: str) -> bool:
    """Whether the certificate is of a client's namespace, or the publisher's own."""
    trust = release.values["mesh"]["trustDomain"]
    own = f"{trust}/ns/{release.namespace}/sa/{release.values['name']}-publisher"
    return _is_client(release, shown) or (release.values["publisher"]["enabled"] and shown == own)


def _is_client(release: Release, shown: str) -> bool:
    trust = release.values["mesh"]["trustDomain"]
    return shown.startswith(tuple(f"{trust}/ns/{peer['namespace']}/sa/" for peer in release.policy["clients"]))


class MeshClaims:
    """A render, held against what is promised; each wall alone too, so that none hides a hole in another."""

    def __init__(self, manifests: list[dict[str, Any]], release: Release) -> None:
        """Takes the render in.

        Args:
            manifests: its objects.
            release: what its values say.
        """
        self._release = release
        self._templates = dict(pods(manifests))
        self._mesh = Mesh(manifests, {})
        self._planes = {component: data_plane(template, {}) for component, template in self._templates.items()}

    def check_planes(self) -> None:
        """Holds the pods' labels against what is promised.

        Raises:
            AssertionError: Istio takes a pod in, or leaves it out, that it must not.
        """
        for component, template in self._templates.items():
            for namespace in NAMESPACES:
                observed = data_plane(template, namespace).value
                if observed != promised_plane(self._release, component).value:
                    raise AssertionError(f"the {component} is in {observed} where its namespace says {dict(namespace)}")

    def check_walls(self, principals: Iterable[str]) -> None:
        """Holds PeerAuthentications and AuthorizationPolicies against what is promised, whatever NetworkPolicies do.

        Args:
            principals: to ask for, on each of PORTS.

        Raises:
            AssertionError: the proxy takes plaintext, or allows what it must not, or not what it has to.
        """
        if self._release.mesh == "disabled":
            return
        proxy = self._release.pod("proxy")
        for port in PORTS:
            if not self._mesh.is_strict(proxy, port):
                raise AssertionError(f"the proxy takes plaintext on {port}")
        for shown, port in itertools.product(principals, PORTS):
            observed = self._mesh.allows(proxy, shown, port)
            if observed != _is_allowed(self._release, shown, port):
                raise AssertionError(f"{shown or 'nobody by name'} is {'' if observed else 'not '}allowed on {port}")

    def check_call(self, component: str, call: Call) -> None:
        """Holds all walls together against what is promised.

        Args:
            component: that is called.
            call: of whatever way; one that the component's pods do not have is passed over.

        Raises:
            AssertionError: a call comes through that must not, or does not that has to.
        """
        plane = self._planes[component]
        if call.way not in WAYS[plane]:
            return
        observed = self._mesh.lets_in(self._release.pod(component), plane, call)
        if observed != accepts(self._release, component, call):
            where = call.source.namespace if isinstance(call.source, Pod) else call.source.ip
            said = f"{call.principal or 'nobody by name'} in {where} → the {component}:{call.port} by {call.way.value}"
            raise AssertionError(f"{said} is {'let in' if observed else 'not let in'}")

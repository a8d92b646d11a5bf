"""Which calls Istio lets through to a pod, on top of what NetworkPolicies do.

Sources: Istio's documents on PeerAuthentication and AuthorizationPolicy (reference), "Ambient and Kubernetes
NetworkPolicy", "Sidecar injection" (which label counts), and "Adding workloads to the mesh" for ambient. Istio itself
was not at hand.

NetworkPolicies see packets outside of the pod. A sidecar redirects inside of it, so that ports stay what they are. In
an ambient mesh a call from pod to pod travels through HBONE, to port 15008 from the caller's own address, whatever port
is called: to NetworkPolicies an open 15008 is every port of the pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from chart_checks.network_policy import End, Host, Manifest, Network, Pod, selects

HBONE = 15008
# What istio-cni makes the source of kubelet's probes of pods in an ambient mesh; ztunnel does not touch them.
PROBE_ADDRESSES = ("169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff")
_INJECT, _DATA_PLANE = "sidecar.istio.io/inject", "istio.io/dataplane-mode"


class DataPlane(Enum):
    """What of Istio stands before a pod."""

    NONE = "none"
    SIDECAR = "sidecar"
    AMBIENT = "ambient"


class Way(Enum):
    """How a call travels."""

    PLAIN = "plain"
    MUTUAL_TLS = "mutual TLS"
    HBONE = "HBONE"


WAYS = {
    DataPlane.NONE: (Way.PLAIN,),
    DataPlane.SIDECAR: (Way.PLAIN, Way.MUTUAL_TLS),
    DataPlane.AMBIENT: (Way.PLAIN, Way.HBONE),
}


class UnknownFieldError(ValueError):
    """An object of Istio's says something that is not evaluated here."""


@dataclass(frozen=True)
class Call:
    """A call to a pod.

    Attributes:
        source: where it comes from.
        principal: TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT of the certificate that the caller shows, if it does.
        port: that is called, which is not the packets' own with HBONE.
        way: how it travels.
    """

    source: End
    principal: str
    port: int
    way: Way


def data_plane(template: Manifest, namespace: Mapping[str, str]) -> DataPlane:
    """What of Istio a pod gets.

    Args:
        template: of the pod.
        namespace: labels of its namespace; they count where the pod says nothing itself.
    """
    labels = template["metadata"]["labels"]
    inject = labels.get(_INJECT, template["metadata"].get("annotations", {}).get(_INJECT))
    by_namespace = namespace.get("istio-injection")
    injected = inject == "true" if inject else by_namespace == "enabled" or "istio.io/rev" in namespace
    if injected and by_namespace != "disabled":
        return DataPlane.SIDECAR
    ambient = labels.get(_DATA_PLANE, namespace.get(_DATA_PLANE)) == "ambient"
    return DataPlane.AMBIENT if ambient else DataPlane.NONE


class Mesh:
    """PeerAuthentications and AuthorizationPolicies, and the NetworkPolicies beneath."""

    def __init__(self, manifests: Iterable[Manifest], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        """Takes them in.

        Args:
            manifests: objects of any kind.
            namespaces: as for `Network`.
        """
        objects = list(manifests)
        self._network = Network(objects, namespaces)
        self._peers = [m for m in objects if m["kind"] == "PeerAuthentication"]
        self._policies = [m for m in objects if m["kind"] == "AuthorizationPolicy"]

    def lets_in(self, destination: Pod, plane: DataPlane, call: Call) -> bool:
        """Whether a call gets to a pod's own container.

        Args:
            destination: the pod.
            plane: what of Istio stands before it.
            call: of a way that this plane has.
        """
        wire = HBONE if call.way is Way.HBONE else call.port
        if not self._network.lets_in(call.source, destination, wire):
            return False
        if plane is DataPlane.NONE or (plane is DataPlane.AMBIENT and _is_probe(call)):
            return True
        if call.way is Way.PLAIN:
            return not self.is_strict(destination, call.port) and self.allows(destination, "", call.port)
        return self.allows(destination, call.principal, call.port)

    def is_strict(self, pod: Pod, port: int) -> bool:
        """Whether a pod of the mesh takes mutual TLS only: a mesh alone does not, and of several the laxest counts."""
        modes = []
        for peer in self._peers:
            if _chosen(peer, pod):
                spec = peer["spec"]
                _known(spec, {"selector", "mtls", "portLevelMtls"})
                at_port = (spec.get("portLevelMtls") or {}).get(str(port))
                modes.append((at_port or spec.get("mtls") or {}).get("mode"))
        return bool(modes) and all(mode == "STRICT" for mode in modes)

    def allows(self, pod: Pod, principal: str, port: int) -> bool:
        """What AuthorizationPolicies say: DENY first; then, where there is an ALLOW, a rule of one has to match."""
        allows = []
        for policy in self._policies:
            if _chosen(policy, pod):
                spec = policy["spec"]
                _known(spec, {"selector", "action", "rules"})
                matched = any(_matches(rule, principal, port) for rule in spec.get("rules") or ())
                action = spec.get("action", "ALLOW")
                if action not in ("ALLOW", "DENY"):
                    raise UnknownFieldError(f"action {action} is not evaluated here")
                if action == "DENY" and matched:
                    return False
                if action == "ALLOW":
                    allows.append(matched)
        return not allows or any(allows)


def _is_probe(call: Call) -> bool:
    return isinstance(call.source, Host) and call.source.ip in PROBE_ADDRESSES and call.way is Way.PLAIN


def _known(mapping: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := mapping.keys() - keys:
        raise UnknownFieldError(f"{', '.join(sorted(unknown))}: not evaluated here")


def _chosen(manifest: Manifest, pod: Pod) -> bool:
    """Whether an object is about a pod; without a selector it is about all of its namespace."""
    same = manifest["metadata"].get("namespace", "default") == pod.namespace
    return same and selects(manifest["spec"].get("selector") or {}, pod.labels)


def _matches(rule: Manifest, principal: str, port: int) -> bool:
    """Whether a rule is about a call; a part of it that is left out is about all."""
    _known(rule, {"from", "to"})
    sources, operations = rule.get("from"), rule.get("to")
    for source in sources or ():
        _known(source["source"], {"principals"})
    for operation in operations or ():
        _known(operation["operation"], {"ports"})
    by = not sources or any(_is_one(principal, source["source"].get("principals")) for source in sources)
    return by and (
        not operations or any(_is_one(str(port), operation["operation"].get("ports")) for operation in operations)
    )


def _is_one(text: str, patterns: Iterable[str] | None) -> bool:
    """Whether a text is one of those: itself, or with one * at the beginning or the end; `*` alone is any but none."""
    if patterns is None:
        return True
    return any(
        (pattern == "*" and text != "")
        or (pattern.endswith("*") and pattern != "*" and text.startswith(pattern[:-1]))
        or (pattern.startswith("*") and pattern != "*" and text.endswith(pattern[1:]))
        or text == pattern
        for pattern in patterns
    )

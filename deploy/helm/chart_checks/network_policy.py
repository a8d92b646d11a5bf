"""Which pods can reach which by a set of NetworkPolicies, as Kubernetes defines it.

Sources: the concept, https://kubernetes.io/docs/concepts/services-networking/network-policies/, and the fields,
https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/.

Out of reach of this, as of NetworkPolicy itself: pods in a node's network, and the node, which reaches its pods.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Manifest = Mapping[str, Any]
# Set on every namespace by the API server, which lets nobody change it:
# https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
NAME_LABEL = "kubernetes.io/metadata.name"


class InvalidPolicyError(ValueError):
    """The API server would refuse the policy."""


@dataclass(frozen=True)
class Pod:
    """A pod with an address of its own.

    Attributes:
        namespace: where it runs.
        labels: its labels.
        ip: its address; ipBlocks are held against it.
        ports: its containers' named ports: name to protocol and number.
    """

    namespace: str
    labels: Mapping[str, str]
    ip: str = "10.244.0.1"
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """Whatever has an address and is no pod of the cluster."""

    ip: str


End = Pod | Host


class Network:
    """A cluster's policies and the labels of its namespaces."""

    def __init__(self, policies: Iterable[Manifest], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        """Takes the policies in.

        Args:
            policies: manifests; other kinds than NetworkPolicy are passed over.
            namespaces: name to labels; the one that the API server sets is added.
        """
        self._policies = [policy for policy in policies if policy.get("kind") == "NetworkPolicy"]
        self._namespaces = {name: {**labels, NAME_LABEL: name} for name, labels in namespaces.items()}

    def allows(self, source: End, destination: End, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection can be opened: the source may go out to it, and the destination lets it in.

        Args:
            source: the end that connects.
            destination: the end that it connects to, behind any Service.
            port: the destination's own port, not a Service's.
            protocol: TCP, UDP or SCTP.

        Raises:
            InvalidPolicyError: a policy that the API server would refuse was looked at.
        """
        # "Pods cannot block access to themselves."
        return source is destination or (
            self.lets_out(source, destination, port, protocol) and self.lets_in(source, destination, port, protocol)
        )

    def lets_out(self, source: End, destination: End, port: int, protocol: str = "TCP") -> bool:
        """Whether the source may go out to the destination, whatever that says; as `allows`."""
        return self._passes("Egress", source, destination, destination, port, protocol)

    def lets_in(self, source: End, destination: End, port: int, protocol: str = "TCP") -> bool:
        """Whether the destination lets the source in, whether or not that may go out; as `allows`."""
        return self._passes("Ingress", destination, source, destination, port, protocol)

    def _passes(self, direction: str, own: End, other: End, destination: End, port: int, protocol: str) -> bool:
        """Whether the policies that select `own` let `other` through; without any that isolates it, all pass."""
        if not isinstance(own, Pod):
            return True
        isolating = [policy for policy in self._policies if _isolates(policy, own, direction)]
        if not isolating:
            return True
        key, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
        return any(
            self._any_peer(policy, rule.get(peers), other) and _any_port(rule.get("ports"), destination, port, protocol)
            for policy in isolating
            for rule in policy["spec"].get(key) or ()
        )

    def _any_peer(self, policy: Manifest, peers: Sequence[Manifest] | None, other: End) -> bool:
        """Whether it is one of them; "if this field is empty or missing, this rule matches all"."""
        return not peers or any(self._is_peer(policy, peer, other) for peer in peers)

    def _is_peer(self, policy: Manifest, peer: Manifest, other: End) -> bool:
        block = peer.get("ipBlock")
        pods, namespaces = peer.get("podSelector"), peer.get("namespaceSelector")
        if (block is None) == (pods is None and namespaces is None):
            raise InvalidPolicyError(
                f"{policy['metadata']['name']}: a peer is an ipBlock or selectors, not {dict(peer)}"
            )
        if block is not None:
            return _within(block, other.ip)
        if not isinstance(other, Pod):
            return False
        if namespaces is None:
            in_namespace = other.namespace == _namespace(policy)
        else:
            in_namespace = selects(namespaces, self._namespaces.get(other.namespace, {NAME_LABEL: other.namespace}))
        return in_namespace and (pods is None or selects(pods, other.labels))


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses labels; an empty one chooses all.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#resources-that-support-set-based-requirements

    Raises:
        InvalidPolicyError: an operator that there is not.
    """
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _expression(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _expression(expression: Manifest, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
    match operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise InvalidPolicyError(f"{operator!r} is no operator of a label selector")


def _namespace(policy: Manifest) -> str:
    return str(policy["metadata"].get("namespace", "default"))


def _isolates(policy: Manifest, pod: Pod, direction: str) -> bool:
    spec = policy["spec"]
    # As the API server fills it in: ingress always, egress only where there is a rule of it; an empty list is none.
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return (
        direction in types
        and _namespace(policy) == pod.namespace
        and selects(spec.get("podSelector") or {}, pod.labels)
    )


def _any_port(ports: Sequence[Manifest] | None, destination: End, port: int, protocol: str) -> bool:
    """Whether it is one of them; "if this field is empty or missing, this rule matches all ports"."""
    return not ports or any(_is_port(entry, destination, port, protocol) for entry in ports)


def _is_port(entry: Manifest, destination: End, port: int, protocol: str) -> bool:
    if entry.get("protocol", "TCP") != protocol:
        return False
    first = entry.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return isinstance(destination, Pod) and destination.ports.get(first) == (protocol, port)
    return int(first) <= port <= int(entry.get("endPort", first))


def _within(block: Manifest, ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return address in ipaddress.ip_network(block["cidr"]) and not any(
        address in ipaddress.ip_network(hole) for hole in block.get("except") or ()
    )

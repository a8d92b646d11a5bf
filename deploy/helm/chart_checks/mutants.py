"""Mistakes that a chart's NetworkPolicies could have, each made in a render: what the checks have to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Manifest = dict[str, Any]
Mutation = Callable[[list[Manifest]], list[Manifest]]
NAME = "triton-inference-server"


def _policy(manifests: list[Manifest], name: str) -> Manifest:
    (found,) = [m for m in manifests if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == name]
    return found


def _without(name: str) -> Mutation:
    def mutate(manifests: list[Manifest]) -> list[Manifest]:
        gone = _policy(manifests, name)
        return [manifest for manifest in manifests if manifest is not gone]

    return mutate


def _edited(name: str, edit: Callable[[Manifest], object]) -> Mutation:
    """Changes the spec of a policy."""

    def mutate(manifests: list[Manifest]) -> list[Manifest]:
        edit(_policy(manifests, name)["spec"])
        return manifests

    return mutate


def _proxy_rule(spec: Manifest) -> Manifest:
    """Triton's rule that lets the proxy in."""
    rule: Manifest = spec["ingress"][0]
    return rule


def _no_policy_types(manifests: list[Manifest]) -> list[Manifest]:
    # One policy that keeps them would still isolate the pods: this is a mistake of all of the chart.
    for manifest in manifests:
        if manifest["kind"] == "NetworkPolicy":
            del manifest["spec"]["policyTypes"]
    return manifests


def _elsewhere(manifests: list[Manifest]) -> list[Manifest]:
    for manifest in manifests:
        if manifest["kind"] == "NetworkPolicy":
            del manifest["metadata"]["namespace"]
    return manifests


def _friend_of_all(manifests: list[Manifest]) -> list[Manifest]:
    namespace = _policy(manifests, NAME)["metadata"]["namespace"]
    same_namespace = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}
    metadata = {"name": "allow-same-namespace", "namespace": namespace}
    return [
        *manifests,
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": same_namespace},
    ]


_COMPONENT = "app.kubernetes.io/component"
_TRITON, _PROXY, _DENY = NAME, f"{NAME}-proxy", f"{NAME}-default-deny"

MUTANTS: dict[str, Mutation] = {
    "Triton's policy removed": _without(_TRITON),
    "the proxy's policy removed": _without(_PROXY),
    "default deny removed": _without(_DENY),
    "policies in another namespace": _elsewhere,
    "policyTypes dropped": _no_policy_types,
    "label widened: any pod of the release": _edited(
        _TRITON, lambda spec: _proxy_rule(spec)["from"][0]["podSelector"]["matchLabels"].pop(_COMPONENT)
    ),
    "proxy's labels in any namespace": _edited(
        _TRITON, lambda spec: _proxy_rule(spec)["from"][0].update(namespaceSelector={})
    ),
    "empty from": _edited(_TRITON, lambda spec: _proxy_rule(spec).update({"from": []})),
    "ingress [{}]": _edited(_TRITON, lambda spec: spec.update(ingress=[{}])),
    "every namespace added": _edited(_TRITON, lambda spec: _proxy_rule(spec)["from"].append({"namespaceSelector": {}})),
    "clients let in to Triton": _edited(
        _TRITON,
        lambda spec: _proxy_rule(spec)["from"].append(
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "domino-compute"}}}
        ),
    ),
    "ipBlock of the pods' network added": _edited(
        _TRITON, lambda spec: _proxy_rule(spec)["from"].append({"ipBlock": {"cidr": "10.0.0.0/8"}})
    ),
    "port added": _edited(_TRITON, lambda spec: _proxy_rule(spec)["ports"].append({"protocol": "TCP", "port": 8002})),
    "HTTP opened to the proxy": _edited(
        _TRITON, lambda spec: _proxy_rule(spec)["ports"].append({"protocol": "TCP", "port": 8000})
    ),
    "ports dropped": _edited(_TRITON, lambda spec: _proxy_rule(spec).pop("ports")),
    "ports up to 8002": _edited(_TRITON, lambda spec: _proxy_rule(spec)["ports"][0].update(endPort=8002)),
    "Triton's policy selects nothing": _edited(
        _TRITON, lambda spec: spec["podSelector"]["matchLabels"].update({_COMPONENT: "server"})
    ),
    "Triton's egress opened": _edited(_TRITON, lambda spec: spec.update(egress=[{}])),
    "DNS for Triton": _edited(_TRITON, lambda spec: spec.update(egress=[{"ports": [{"protocol": "UDP", "port": 53}]}])),
    "a namespace's own label for clients": _edited(
        _PROXY,
        lambda spec: spec["ingress"][0].update(
            {"from": [{"namespaceSelector": {"matchLabels": {"name": "domino-compute"}}}]}
        ),
    ),
    "health port opened to clients": _edited(
        _PROXY, lambda spec: spec["ingress"][0]["ports"].append({"protocol": "TCP", "port": 50052})
    ),
    "the proxy may call everything": _edited(_PROXY, lambda spec: spec["egress"].append({})),
    "the proxy may go to Domino on any port": _edited(_PROXY, lambda spec: spec["egress"][2].pop("ports")),
    "a friendly policy added": _friend_of_all,
}


def _blocks(spec: Manifest) -> list[Manifest]:
    """The networks of all rules of egress."""
    return [peer["ipBlock"] for rule in spec["egress"] for peer in rule.get("to", ()) if "ipBlock" in peer]


def _dns_cache(spec: Manifest) -> Manifest:
    """The rule about the node's DNS cache."""
    rule: Manifest
    (rule,) = [r for r in spec["egress"] if {"ipBlock": {"cidr": "169.254.20.10/32"}} in r["to"]]
    return rule


def _collector(spec: Manifest) -> Manifest:
    """The rule about the collector of traces."""
    rule: Manifest
    (rule,) = [r for r in spec["egress"] if {"protocol": "TCP", "port": 4318} in r["ports"]]
    return rule


def _metrics(spec: Manifest) -> Manifest:
    """The scale service's rule about the proxies' metrics."""
    rule: Manifest
    (rule,) = [r for r in spec["egress"] if {"protocol": "TCP", "port": 9090} in r["ports"]]
    return rule


_SCALER, _SCHEDULE = f"{NAME}-admin", f"{NAME}-schedule"

# Mistakes in renders of other value sets, which no cluster of the end-to-end suite has.
MUTANTS_OF: dict[str, dict[str, Mutation]] = {
    "everything": {
        "metrics opened to clients": _edited(
            _PROXY, lambda spec: spec["ingress"][0]["ports"].append({"protocol": "TCP", "port": 9090})
        ),
        "calls opened to monitoring": _edited(
            _PROXY, lambda spec: spec["ingress"][-1]["ports"].append({"protocol": "TCP", "port": 50051})
        ),
        "metrics opened to all of monitoring's namespace": _edited(
            _PROXY, lambda spec: spec["ingress"][-1]["from"][0].pop("podSelector")
        ),
        "metrics opened to everybody": _edited(_PROXY, lambda spec: spec["ingress"][-1].pop("from")),
        "REST opened to the publisher": _edited(
            _PROXY, lambda spec: spec["ingress"][0]["ports"].append({"protocol": "TCP", "port": 8080})
        ),
        "REST opened to every namespace": _edited(
            _PROXY, lambda spec: spec["ingress"][1]["from"].append({"namespaceSelector": {}})
        ),
        "the collector on any port": _edited(_PROXY, lambda spec: _collector(spec).pop("ports")),
        "all of the collector's namespace": _edited(_PROXY, lambda spec: _collector(spec)["to"][0].pop("podSelector")),
        "the collector forgotten": _edited(_PROXY, lambda spec: spec["egress"].remove(_collector(spec))),
        "Triton's collector on any port": _edited(_TRITON, lambda spec: _collector(spec).pop("ports")),
        "Triton's collector forgotten": _edited(_TRITON, lambda spec: spec["egress"].remove(_collector(spec))),
        "Triton may call Domino, too": _edited(
            _TRITON, lambda spec: spec["egress"].append({"to": [{"ipBlock": {"cidr": "10.20.30.0/24"}}]})
        ),
        "REST forgotten": _edited(_PROXY, lambda spec: spec["ingress"].pop(1)),
        "the proxies' metrics forgotten that say when Triton sleeps": _edited(
            _SCALER, lambda spec: spec["egress"].remove(_metrics(spec))
        ),
        "the scale service may call the proxies": _edited(
            _SCALER, lambda spec: _metrics(spec)["ports"].append({"protocol": "TCP", "port": 50051})
        ),
        "the scale service may read Triton's metrics": _edited(
            _SCALER, lambda spec: _metrics(spec)["to"][0]["podSelector"]["matchLabels"].pop(_COMPONENT)
        ),
        "the scale service's metrics opened to clients": _edited(
            _SCALER, lambda spec: spec["ingress"][0]["ports"].append({"protocol": "TCP", "port": 9090})
        ),
        "the scale service opened to monitoring": _edited(
            _SCALER, lambda spec: spec["ingress"][-1]["ports"].append({"protocol": "TCP", "port": 8000})
        ),
        "the schedule's policy removed": _without(_SCHEDULE),
        "the schedule may call everything": _edited(_SCHEDULE, lambda spec: spec["egress"].append({})),
        "the API server on any port for the schedule": _edited(_SCHEDULE, lambda spec: spec["egress"][0].pop("ports")),
        "the schedule may be called": _edited(
            _SCHEDULE, lambda spec: spec["ingress"].append({"from": [{"podSelector": {}}]})
        ),
    },
    "scaler": {
        "the scale service's policy removed": _without(_SCALER),
        "the scale service may call everything": _edited(_SCALER, lambda spec: spec["egress"].append({})),
        "the scale service may call Triton": _edited(
            _SCALER,
            lambda spec: spec["egress"].append(
                {"to": [{"podSelector": {"matchLabels": {_COMPONENT: "triton"}}}], "ports": [{"port": 8001}]}
            ),
        ),
        "Triton lets the scale service in": _edited(
            _TRITON,
            lambda spec: _proxy_rule(spec)["from"].append({"podSelector": {"matchLabels": {_COMPONENT: "scaler"}}}),
        ),
        "the API server on any port": _edited(_SCALER, lambda spec: spec["egress"][0].pop("ports")),
        "the API server's network widened": _edited(_SCALER, lambda spec: _blocks(spec)[0].update(cidr="10.0.0.0/24")),
        "any namespace may call the scale service": _edited(
            _SCALER, lambda spec: spec["ingress"][0]["from"].append({"namespaceSelector": {}})
        ),
        "the release's pods may call the scale service": _edited(
            _SCALER, lambda spec: spec["ingress"][0]["from"].append({"podSelector": {}})
        ),
        "the scale service on any port": _edited(_SCALER, lambda spec: spec["ingress"][0].pop("ports")),
        "Keycloak for a scale service that asks Domino only": _edited(
            _SCALER, lambda spec: spec["egress"][-1]["ports"].append({"protocol": "TCP", "port": 8443})
        ),
    },
    "closed": {
        "REST opened where it is off": _edited(
            _PROXY, lambda spec: spec["ingress"].append({"ports": [{"protocol": "TCP", "port": 8080}]})
        ),
    },
    "ipv6": {
        "a metadata service not cut out": _edited(
            _PROXY, lambda spec: [block.pop("except", None) for block in _blocks(spec)]
        ),
        "another cut out in its place": _edited(
            _PROXY,
            lambda spec: [
                block.update({"except": ["fd00:ec2:1::/48"]}) for block in _blocks(spec) if "except" in block
            ],
        ),
        "all of link-local for the DNS cache": _edited(
            _PROXY, lambda spec: _dns_cache(spec)["to"][0]["ipBlock"].update(cidr="169.254.0.0/16")
        ),
        "the DNS cache on Domino's ports": _edited(
            _PROXY, lambda spec: _dns_cache(spec)["ports"].append({"protocol": "TCP", "port": 443})
        ),
        "the DNS cache among Domino's networks": _edited(
            _PROXY, lambda spec: spec["egress"][-1]["to"].append({"ipBlock": {"cidr": "169.254.20.10/32"}})
        ),
        "an IPv6 network widened": _edited(_PROXY, lambda spec: _blocks(spec)[3].update(cidr="2001:db8::/32")),
        "all of IPv6 for DNS": _edited(_PROXY, lambda spec: _blocks(spec)[0].update(cidr="::/0")),
        "all of IPv6 let in to Triton": _edited(
            _TRITON, lambda spec: _proxy_rule(spec)["from"].append({"ipBlock": {"cidr": "::/0"}})
        ),
        "the proxy's own IPv6 network forgotten": _edited(_PROXY, lambda spec: spec["egress"].pop()),
    },
}

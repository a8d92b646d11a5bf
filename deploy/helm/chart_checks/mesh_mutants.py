"""Mistakes that a chart's objects for Istio could have, by the value set whose render has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chart_checks.mutants import NAME, Manifest, Mutation

_PROXY = f"{NAME}-proxy"


def _found(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def _without(kind: str) -> Mutation:
    return lambda manifests: [m for m in manifests if (m["kind"], m["metadata"]["name"]) != (kind, _PROXY)]


def _edited(kind: str, edit: Callable[[Manifest], object], name: str = _PROXY) -> Mutation:
    """Changes the spec of an object."""

    def mutate(manifests: list[Manifest]) -> list[Manifest]:
        edit(_found(manifests, kind, name)["spec"])
        return manifests

    return mutate


def _moved(kind: str) -> Mutation:
    def mutate(manifests: list[Manifest]) -> list[Manifest]:
        _found(manifests, kind, _PROXY)["metadata"]["namespace"] = "istio-config"
        return manifests

    return mutate


def _labelled(name: str, **labels: str | None) -> Mutation:
    """Sets labels of Istio's on a Deployment's pods, or takes them away, and the annotation with them."""
    keys = {"inject": "sidecar.istio.io/inject", "plane": "istio.io/dataplane-mode"}

    def edit(spec: Manifest) -> None:
        metadata = spec["template"]["metadata"]
        for short, value in labels.items():
            metadata["labels"].pop(keys[short], None)
            metadata.get("annotations", {}).pop(keys[short], None)
            if value is not None:
                metadata["labels"][keys[short]] = value

    return _edited("Deployment", edit, name)


def _rule(spec: Manifest) -> Manifest:
    rule: Manifest = spec["rules"][0]
    return rule


def _principals(spec: Manifest) -> list[str]:
    principals: list[str] = _rule(spec)["from"][0]["source"]["principals"]
    return principals


def _ingress(spec: Manifest) -> Manifest:
    """The rule that lets the proxy's callers in."""
    rule: Manifest = spec["ingress"][0]
    return rule


_PEER, _POLICY, _NETWORK = "PeerAuthentication", "AuthorizationPolicy", "NetworkPolicy"
_BOTH: dict[str, Mutation] = {
    "PeerAuthentication removed": _without(_PEER),
    "mutual TLS permissive": _edited(_PEER, lambda spec: spec["mtls"].update(mode="PERMISSIVE")),
    "mutual TLS unset": _edited(_PEER, lambda spec: spec.pop("mtls")),
    "health permissive": _edited(_PEER, lambda spec: spec.update(portLevelMtls={"50052": {"mode": "PERMISSIVE"}})),
    "PeerAuthentication for other pods": _edited(
        _PEER, lambda spec: spec["selector"]["matchLabels"].update({"app.kubernetes.io/component": "server"})
    ),
    "PeerAuthentication in another namespace": _moved(_PEER),
    "AuthorizationPolicy removed": _without(_POLICY),
    "a rule for everybody": _edited(_POLICY, lambda spec: spec["rules"].append({})),
    "ports dropped": _edited(_POLICY, lambda spec: _rule(spec).pop("to")),
    "the metrics' port for callers, too": _edited(
        _POLICY, lambda spec: _rule(spec)["to"][0]["operation"]["ports"].append("9090")
    ),
    "the callers' port for monitoring, too": _edited(
        _POLICY, lambda spec: spec["rules"][-1]["to"][0]["operation"]["ports"].append("50051")
    ),
    "metrics permissive": _edited(_PEER, lambda spec: spec.update(portLevelMtls={"9090": {"mode": "PERMISSIVE"}})),
    "the health port, too": _edited(
        _POLICY, lambda spec: _rule(spec)["to"][0]["operation"]["ports"].append("50052")
    ),
    "all ports": _edited(_POLICY, lambda spec: _rule(spec)["to"][0]["operation"].update(ports=["*"])),
    "AuthorizationPolicy for other pods": _edited(
        _POLICY, lambda spec: spec["selector"]["matchLabels"].update({"app.kubernetes.io/component": "server"})
    ),
    "AuthorizationPolicy in another namespace": _moved(_POLICY),
    "the publisher by its namespace": _edited(
        _POLICY, lambda spec: _principals(spec).append("acme.example/ns/inference-dev-vision/sa/*")
    ),
    "any principal": _edited(_POLICY, lambda spec: _principals(spec).append("*")),
    "principals of any trust domain": _edited(
        _POLICY, lambda spec: _principals(spec).append("*/sa/triton-inference-server-publisher")
    ),
    "no principals": _edited(_POLICY, lambda spec: _rule(spec).pop("from")),
    "a client forgotten": _edited(_POLICY, lambda spec: _principals(spec).pop(0)),
    "rules of nobody": _edited(_POLICY, lambda spec: spec.update(rules=[])),
    "DENY in place of ALLOW": _edited(_POLICY, lambda spec: spec.update(action="DENY")),
    "Triton gets a sidecar": _labelled(NAME, inject="true"),
    "Triton in the ambient mesh": _labelled(NAME, plane="ambient"),
    "Triton as its namespace says": _labelled(NAME, plane=None, inject=None),
    "the proxy in no mesh": _labelled(_PROXY, plane="none", inject="false"),
}  # fmt: skip
MESH_MUTANTS: dict[str, dict[str, Mutation]] = {
    "sidecar": _BOTH,
    "ambient": {
        **_BOTH,
        "HBONE from everybody with a certificate of a client": _edited(
            _NETWORK, lambda spec: _ingress(spec).update({"from": [{"namespaceSelector": {}}]})
        ),
        "kubelet's probes forgotten": _edited(_NETWORK, lambda spec: spec["ingress"].pop()),
        "probes of any port": _edited(_NETWORK, lambda spec: spec["ingress"][-1].pop("ports")),
        "HBONE to Triton": lambda manifests: _labelled(NAME, plane="ambient")(
            _edited(
                _NETWORK, lambda spec: spec["ingress"].append({"ports": [{"protocol": "TCP", "port": 15008}]}), NAME
            )(manifests)
        ),
    },
}


def _hbone_to_all(spec: Manifest) -> None:
    for rule in spec["egress"]:
        if any(port["port"] == 15008 for port in rule["ports"]):
            rule.pop("to")


def _added(spec: Manifest, **rule: Any) -> None:
    spec["egress"].append(rule)


# Of these, NetworkPolicies alone say what they are.
NETWORK_MUTANTS: dict[str, dict[str, Mutation]] = {
    "ambient": {
        "HBONE to everybody": _edited(_NETWORK, _hbone_to_all),
        "HBONE to the pods of a network": _edited(
            _NETWORK, lambda spec: _added(spec, to=[{"ipBlock": {"cidr": "10.0.0.0/8"}}], ports=[{"port": 15008}])
        ),
        "Triton called through HBONE": _edited(
            _NETWORK, lambda spec: spec["egress"][0]["ports"].append({"protocol": "TCP", "port": 15008})
        ),
        "HBONE let in to Triton": _edited(
            _NETWORK, lambda spec: _ingress(spec)["ports"].append({"protocol": "TCP", "port": 15008}), NAME
        ),
        "HBONE from everybody": _edited(_NETWORK, lambda spec: _ingress(spec).pop("from")),
        "link-local let in beside kubelet's probes": _edited(
            _NETWORK, lambda spec: spec["ingress"][-1]["from"][0]["ipBlock"].update(cidr="169.254.0.0/16")
        ),
    },
    "sidecar": {
        "Triton goes to istiod": _edited(
            _NETWORK, lambda spec: _added(spec, ports=[{"protocol": "TCP", "port": 15012}]), NAME
        ),
        "every pod beside istiod": _edited(_NETWORK, lambda spec: spec["egress"][-1]["to"][0].pop("podSelector")),
        "istiod forgotten": _edited(_NETWORK, lambda spec: spec["egress"].pop()),
        "HBONE open without an ambient mesh": _edited(
            _NETWORK, lambda spec: _ingress(spec)["ports"].append({"protocol": "TCP", "port": 15008})
        ),
    },
}

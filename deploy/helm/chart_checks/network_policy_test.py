"""The evaluator against what Kubernetes' documents say, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chart_checks.network_policy import End, Host, InvalidPolicyError, Network, Pod, selects

NAMESPACES = {"here": {"team": "a"}, "there": {"team": "b"}, "named": {"kubernetes.io/metadata.name": "here"}}
SERVER = Pod("here", {"app": "server"}, "10.0.0.1", {"web": ("TCP", 8000), "dns": ("UDP", 53)})
FRIEND = Pod("here", {"app": "friend", "tier": "x"}, "10.0.0.2")
NEIGHBOUR = Pod("there", {"app": "friend"}, "10.0.1.2")
IMPOSTOR = Pod("named", {"app": "friend"}, "10.0.2.2")
OUTSIDE = Host("203.0.113.9")
EVERYBODY: dict[str, End] = {"friend": FRIEND, "neighbour": NEIGHBOUR, "impostor": IMPOSTOR, "outside": OUTSIDE}
ALL = set(EVERYBODY)


def policy(namespace: str | None = "here", **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p"} | ({"namespace": namespace} if namespace else {})
    return {"kind": "NetworkPolicy", "metadata": metadata, "spec": {"podSelector": {}, **spec}}


def let_in(*policies: dict[str, Any], port: int = 8000, protocol: str = "TCP") -> set[str]:
    network = Network(policies, NAMESPACES)
    return {name for name, end in EVERYBODY.items() if network.lets_in(end, SERVER, port, protocol)}


def let_out(*policies: dict[str, Any], port: int = 8000, protocol: str = "TCP") -> set[str]:
    network = Network(policies, NAMESPACES)
    return {name for name, end in EVERYBODY.items() if network.lets_out(SERVER, end, port, protocol)}


def from_(*peers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return policy(ingress=[{"from": list(peers), **more}])


def test_without_a_policy_everything_passes() -> None:
    assert let_in() == let_out() == ALL


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({"policyTypes": ["Ingress", "Egress"]}, set(), set()),
        ({"policyTypes": ["Ingress"]}, set(), ALL),
        ({"policyTypes": ["Egress"]}, ALL, set()),
        ({}, set(), ALL),
        ({"egress": []}, set(), ALL),  # the API server looks for a rule, not for the key
        ({"egress": [{}]}, set(), ALL),
        ({"egress": [{"to": [{"podSelector": {}}]}]}, set(), {"friend"}),
        ({"policyTypes": ["Ingress"], "egress": [{"to": [{"podSelector": {}}]}]}, set(), ALL),
        ({"policyTypes": ["Egress"], "ingress": []}, ALL, set()),
        ({"ingress": [{}]}, ALL, ALL),
        ({"ingress": None}, set(), ALL),
        ({"policyTypes": ["Ingress"], "podSelector": {"matchLabels": {"app": "other"}}}, ALL, ALL),
    ],
)
def test_which_directions_a_policy_isolates(spec: dict[str, Any], ingress: set[str], egress: set[str]) -> None:
    assert let_in(policy(**spec)) == ingress
    assert let_out(policy(**spec)) == egress


@pytest.mark.parametrize("namespace", ["there", "named", None])
def test_a_policy_is_about_its_own_namespace(namespace: str | None) -> None:
    assert let_in(policy(namespace)) == ALL


def test_a_policy_without_a_namespace_is_in_default() -> None:
    network = Network([policy(None)], {})
    assert not network.allows(FRIEND, Pod("default", {}), 1)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ({"podSelector": {}}, {"friend"}),
        ({"podSelector": {"matchLabels": {"app": "friend"}}}, {"friend"}),
        ({"podSelector": {"matchLabels": {"app": "friend", "tier": "y"}}}, set()),
        ({"namespaceSelector": {}}, {"friend", "neighbour", "impostor"}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"neighbour"}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"tier": "x"}}}, set()),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": "x"}}}, {"friend"}),
        # The label with the namespace's name is the API server's: nobody can have another's.
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "here"}}}, {"friend"}),
        ({"ipBlock": {"cidr": "203.0.113.0/24"}}, {"outside"}),
        ({"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.8/29"]}}, set()),
        ({"ipBlock": {"cidr": "10.0.0.0/8"}}, {"friend", "neighbour", "impostor"}),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, ALL),
        ({"ipBlock": {"cidr": "2001:db8::/32"}}, set()),
    ],
)
def test_a_peer_stands_for_the_pods_that_kubernetes_means(peer: dict[str, Any], expected: set[str]) -> None:
    assert let_in(from_(peer)) == expected
    assert let_out(policy(policyTypes=["Egress"], egress=[{"to": [peer]}])) == expected


def test_one_of_several_peers_rules_or_policies_is_enough() -> None:
    friend: dict[str, Any] = {"podSelector": {}}
    neighbour = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    assert let_in(from_(friend, neighbour)) == {"friend", "neighbour"}
    assert let_in(policy(ingress=[{"from": [friend]}, {"from": [neighbour]}])) == {"friend", "neighbour"}
    assert let_in(from_(friend), from_(neighbour), policy()) == {"friend", "neighbour"}


@pytest.mark.parametrize("peers", [{}, {"from": []}, {"from": None}])
def test_no_peers_are_all_peers(peers: dict[str, Any]) -> None:
    assert let_in(policy(ingress=[peers])) == ALL


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (None, {("TCP", 53), ("UDP", 53), ("TCP", 8000), ("TCP", 8001)}),
        ([], {("TCP", 53), ("UDP", 53), ("TCP", 8000), ("TCP", 8001)}),
        ([{"port": 8000}], {("TCP", 8000)}),
        ([{"port": 53, "protocol": "UDP"}], {("UDP", 53)}),
        ([{"protocol": "TCP"}], {("TCP", 53), ("TCP", 8000), ("TCP", 8001)}),
        ([{"port": "web"}], {("TCP", 8000)}),
        ([{"port": "dns", "protocol": "UDP"}], {("UDP", 53)}),
        ([{"port": "dns"}], set()),
        ([{"port": "grpc"}], set()),
        ([{"port": 7999, "endPort": 8000}], {("TCP", 8000)}),
        ([{"port": 8000, "endPort": 9000}], {("TCP", 8000), ("TCP", 8001)}),
        ([{"port": 8000}, {"port": 53, "protocol": "UDP"}], {("TCP", 8000), ("UDP", 53)}),
    ],
)
def test_a_rule_opens_its_ports_alone(ports: list[dict[str, Any]] | None, expected: set[tuple[str, int]]) -> None:
    asked = {("TCP", 53), ("UDP", 53), ("TCP", 8000), ("TCP", 8001)}
    rule = {"ports": ports}
    assert {
        (protocol, port)
        for protocol, port in asked
        if "friend" in let_in(policy(ingress=[rule]), port=port, protocol=protocol)
    } == expected


def test_a_named_port_of_egress_is_the_destinations() -> None:
    network = Network([policy(policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}]}])], NAMESPACES)
    assert network.allows(FRIEND, SERVER, 8000)
    assert not network.allows(SERVER, FRIEND, 8000)
    assert not network.allows(SERVER, OUTSIDE, 8000)


def test_both_ends_have_to_agree() -> None:
    closed = policy("there", policyTypes=["Egress"])
    network = Network([closed], NAMESPACES)
    assert not network.allows(NEIGHBOUR, SERVER, 8000)
    assert network.lets_in(NEIGHBOUR, SERVER, 8000)
    assert not network.lets_out(NEIGHBOUR, SERVER, 8000)
    assert network.allows(SERVER, NEIGHBOUR, 8000)


def test_a_pod_reaches_itself() -> None:
    assert Network([policy(policyTypes=["Ingress", "Egress"])], NAMESPACES).allows(SERVER, SERVER, 8000)


@pytest.mark.parametrize("peer", [{}, {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}])
def test_what_the_api_server_refuses_is_an_error(peer: dict[str, Any]) -> None:
    with pytest.raises(InvalidPolicyError, match="p: a peer is an ipBlock or selectors, not"):
        let_in(from_(peer))


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ({"key": "app", "operator": "In", "values": ["a", "b"]}, [{"app": "a"}, {"app": "b"}]),
        ({"key": "app", "operator": "NotIn", "values": ["a", "b"]}, [{"app": "c"}, {}]),
        ({"key": "app", "operator": "Exists"}, [{"app": "a"}, {"app": "b"}, {"app": "c"}]),
        ({"key": "app", "operator": "DoesNotExist"}, [{}]),
    ],
)
def test_expressions_choose_as_kubernetes_does(expression: dict[str, Any], chosen: list[dict[str, str]]) -> None:
    everything: list[dict[str, str]] = [{"app": "a"}, {"app": "b"}, {"app": "c"}, {}]
    assert [labels for labels in everything if selects({"matchExpressions": [expression]}, labels)] == chosen


def test_an_unknown_operator_is_an_error() -> None:
    with pytest.raises(InvalidPolicyError, match="'Like' is no operator"):
        selects({"matchExpressions": [{"key": "app", "operator": "Like"}]}, {})


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))


@given(wanted=LABELS, labels=LABELS)
def test_match_labels_is_short_for_expressions(wanted: dict[str, str], labels: dict[str, str]) -> None:
    expressions = [{"key": key, "operator": "In", "values": [value]} for key, value in wanted.items()]
    assert selects({"matchLabels": wanted}, labels) == selects({"matchExpressions": expressions}, labels)


@given(st.lists(st.sampled_from([{"podSelector": {}}, {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}])))
def test_one_more_policy_never_takes_from_who_is_isolated_already(peers: list[dict[str, Any]]) -> None:
    assert let_in(policy()) <= let_in(policy(), from_(*peers)) == let_in(from_(*peers))

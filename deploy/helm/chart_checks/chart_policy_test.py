"""Nobody but the proxy reaches Triton: the chart's NetworkPolicies against what is promised, and mistakes in them."""

from __future__ import annotations

import copy
import ipaddress
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from chart_checks.claims import Release, check
from chart_checks.helm import NAMESPACE, RELEASE, render
from chart_checks.mesh_mutants import NETWORK_MUTANTS
from chart_checks.mutants import MUTANTS, MUTANTS_OF, Mutation
from chart_checks.network_policy import End, Host, Network, Pod
from chart_checks.pods import COMPONENTS
from chart_checks.probes import METADATA_SERVICES, Probe, crossings, probes
from chart_checks.value_sets import VALUE_SETS


def release(values: str) -> Release:
    return Release(NAMESPACE, RELEASE, render(values).values)


def held(manifests: list[dict[str, Any]], installed: Release, probe: Probe) -> None:
    network = Network(manifests, probe.namespaces)
    check(network, installed, probe.source, probe.destination, probe.port, probe.protocol)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_everybody_named_to_everybody_named(name: str) -> None:
    installed = release(VALUE_SETS[name])
    for probe in crossings(installed):
        held(render(VALUE_SETS[name]).manifests, installed, probe)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_any_pod_with_any_labels_anywhere(name: str) -> None:
    installed = release(VALUE_SETS[name])
    manifests = render(VALUE_SETS[name]).manifests

    @settings(max_examples=max(500, settings().max_examples), suppress_health_check=[HealthCheck.too_slow])
    @given(probes(installed))
    def property_holds(probe: Probe) -> None:
        held(manifests, installed, probe)

    property_holds()


@pytest.mark.parametrize("name", VALUE_SETS)
def test_what_has_to_work_works(name: str) -> None:
    installed = release(VALUE_SETS[name])
    network = Network(render(VALUE_SETS[name]).manifests, {})
    triton, proxy = installed.pod("triton"), installed.pod("proxy")
    assert network.allows(proxy, triton, 8001)
    assert not any(network.allows(proxy, triton, port) for port in (8000, 8002))
    for peer in installed.policy["clients"]:
        client = Pod(peer["namespace"], peer.get("podLabels", {}), "10.244.1.1")
        assert network.allows(client, proxy, 15008 if name == "ambient" else 50051)
        assert not any(network.allows(client, triton, port) for port in (8000, 8001, 8002))
    for name_, protocols in {"dns": ("UDP", "TCP"), "domino": ("TCP",)}.items():
        destination = installed.policy[name_]
        ends: list[End] = [Pod(peer["namespace"], peer.get("podLabels", {})) for peer in destination["peers"]]
        ends += [Host(str(ipaddress.ip_network(cidr)[7])) for cidr in destination["cidrs"] if "/128" not in cidr]
        assert ends
        for end, port, protocol in itertools.product(ends, destination["ports"], protocols):
            assert network.allows(proxy, end, port, protocol), (end, port, protocol)
            asks = name_ == "dns" and installed.values["triton"]["traces"]["enabled"]
            assert network.allows(triton, end, port, protocol) is asks
    for cache in installed.policy["dns"]["nodeLocalCache"]:
        assert network.allows(proxy, Host(cache), 53, "UDP")
        assert not network.allows(proxy, Host(cache), 80)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_nobody_gets_a_credential_of_a_cloud(name: str) -> None:
    installed = release(VALUE_SETS[name])
    network = Network(render(VALUE_SETS[name]).manifests, {})
    for component, ip, port in itertools.product(COMPONENTS, METADATA_SERVICES, (80, 443, 9000)):
        assert not network.allows(installed.pod(component), Host(ip), port)


def caught(mutate: Mutation, values: str) -> str:
    """What the property says about a mutant; "" where it says nothing."""
    installed = release(values)
    manifests = mutate(copy.deepcopy(render(values).manifests))

    @settings(
        max_examples=3000,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(probes(installed))
    def property_holds(probe: Probe) -> None:
        held(manifests, installed, probe)

    try:
        for probe in crossings(installed):
            held(manifests, installed, probe)
        property_holds()
    except AssertionError as error:
        return str(error)
    return ""


def test_mistakes_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    mutants = {"default": MUTANTS, **MUTANTS_OF, **NETWORK_MUTANTS}
    said = {
        (values, name): caught(mutate, VALUE_SETS[values])
        for values, named in mutants.items()
        for name, mutate in named.items()
    }
    with capsys.disabled():
        print("\n| values | mistake | what the property says |\n|---|---|---|")
        print("\n".join(f"| {values} | {name} | {text} |" for (values, name), text in said.items()))
    assert [key for key, text in said.items() if not text] == []

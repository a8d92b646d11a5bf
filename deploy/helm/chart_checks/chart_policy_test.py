"""Nobody but the proxy reaches Triton: the chart's NetworkPolicies against what is promised, and mistakes in them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from chart_checks.claims import Release, check
from chart_checks.helm import NAMESPACE, RELEASE, render
from chart_checks.mutants import MUTANTS
from chart_checks.network_policy import Network, Pod
from chart_checks.probes import Probe, crossings, probes
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
        assert network.allows(client, proxy, 50051)
        assert not any(network.allows(client, triton, port) for port in (8000, 8001, 8002))
    dns = Pod("kube-system", {"k8s-app": "kube-dns"}, "10.244.1.2")
    assert network.allows(proxy, dns, 53, "UDP")
    assert network.allows(proxy, Pod("domino-platform", {}, "10.244.1.3"), 9000)
    assert not network.allows(triton, dns, 53, "UDP")


def caught(name: str, values: str) -> str:
    """What the property says about a mutant; "" where it says nothing."""
    installed = release(values)
    manifests = MUTANTS[name](copy.deepcopy(render(values).manifests))

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
    said = {name: caught(name, VALUE_SETS["default"]) for name in MUTANTS}
    with capsys.disabled():
        print("\n| mistake | what the property says |\n|---|---|")
        print("\n".join(f"| {name} | {text} |" for name, text in said.items()))
    assert [name for name, text in said.items() if not text] == []

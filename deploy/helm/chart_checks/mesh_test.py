"""In a mesh, too, nobody but its callers reaches the proxy, and nobody but the proxy Triton: evaluated, not tried."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chart_checks.claims import Release, check
from chart_checks.helm import NAMESPACE, RELEASE, render
from chart_checks.mesh import PROBE_ADDRESSES, WAYS, Call, DataPlane, Mesh, UnknownFieldError, Way, data_plane
from chart_checks.mesh_claims import PORTS, MeshClaims, principal
from chart_checks.mesh_mutants import MESH_MUTANTS
from chart_checks.network_policy import End, Host, Network, Pod
from chart_checks.pods import pods
from chart_checks.probes import crossings, known, probes
from chart_checks.value_sets import VALUE_SETS

COMPONENTS = ("triton", "proxy")
every_value_set = pytest.mark.parametrize("name", VALUE_SETS)


def release(name: str) -> Release:
    return Release(NAMESPACE, RELEASE, render(VALUE_SETS[name]).values)


def sources(installed: Release) -> list[End]:
    """Every end that the values name, here and elsewhere, and where kubelet's probes come from."""
    ends: list[End] = [Host(ip) for ip in PROBE_ADDRESSES]
    return [*ends, *known(installed)]


STRANGERS = (
    "",
    "elsewhere.example/ns/domino-compute/sa/default",
    f"elsewhere.example/ns/{NAMESPACE}/sa/triton-inference-server-publisher",
)


def held(manifests: list[dict[str, Any]], installed: Release) -> None:
    """Everybody calls with a certificate of its own, of another account of its namespace, and with strangers'."""
    claims = MeshClaims(manifests, installed)
    claims.check_planes()
    callers = sources(installed)
    accounts = ("", "default", "triton-inference-server-publisher")
    claims.check_walls(sorted({*STRANGERS, *(principal(installed, s, a) for s in callers for a in accounts)}))
    for source, component, port, way in itertools.product(callers, ("triton", "proxy"), PORTS, Way):
        for name in {*STRANGERS, principal(installed, source), principal(installed, source, "default")}:
            claims.check_call(component, Call(source, name, port, way))


@every_value_set
def test_everybody_named_calls_proxy_and_triton_in_every_way(name: str) -> None:
    held(render(VALUE_SETS[name]).manifests, release(name))


@pytest.mark.parametrize("name", ["sidecar", "ambient"])
def test_any_pod_with_any_certificate_calls_any_port(name: str) -> None:
    installed = release(name)
    claims = MeshClaims(render(VALUE_SETS[name]).manifests, installed)
    accounts = st.sampled_from(["default", "triton-inference-server-publisher", "triton-inference-server", "x"])

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(
        probes(installed),
        accounts,
        st.sampled_from(COMPONENTS),
        st.sampled_from(PORTS) | st.integers(1, 65535),
        st.sampled_from(Way),
    )
    def property_holds(probe: Any, account: str, component: str, port: int, way: Way) -> None:
        claims.check_call(component, Call(probe.source, principal(installed, probe.source, account), port, way))

    property_holds()


@pytest.mark.parametrize("name", ["sidecar", "ambient"])
def test_a_client_and_the_publisher_get_through(name: str) -> None:
    installed = release(name)
    mesh = Mesh(render(VALUE_SETS[name]).manifests, {})
    plane = DataPlane(name)
    way = WAYS[plane][-1]
    clients = [Pod(peer["namespace"], peer.get("podLabels", {})) for peer in installed.policy["clients"]]
    for source in (*clients, installed.pod("publisher")):
        call = Call(source, principal(installed, source), 50051, way)
        assert mesh.lets_in(installed.pod("proxy"), plane, call)
        assert not mesh.lets_in(installed.pod("proxy"), plane, dataclasses.replace(call, way=Way.PLAIN))


@pytest.mark.parametrize("mode", ["sidecar", "ambient"])
def test_no_clients_are_nobody_in_a_mesh_too(mode: str) -> None:
    values = f"{VALUE_SETS['closed']}mesh: {{mode: {mode}}}\n"
    rendered = render(values)
    assert rendered.one("AuthorizationPolicy", "triton-inference-server-proxy")["spec"]["rules"] == []
    installed = Release(NAMESPACE, RELEASE, rendered.values)
    held(rendered.manifests, installed)
    network = Network(rendered.manifests, {})
    for probe in crossings(installed):
        check(network, installed, probe.source, probe.destination, probe.port, probe.protocol)


def test_sidecars_end_after_the_pods_own_container_and_answer_probes_for_it() -> None:
    made = dict(pods(render(VALUE_SETS["sidecar"]).manifests))
    for component in ("proxy", "publisher"):
        assert made[component]["metadata"]["annotations"] == {
            "sidecar.istio.io/nativeSidecar": "true",
            "sidecar.istio.io/rewriteAppHTTPProbers": "true",
        }


def test_mistakes_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for values, mutants in MESH_MUTANTS.items():
        for name, mutate in mutants.items():
            said[values, name] = ""
            try:
                held(mutate(copy.deepcopy(render(VALUE_SETS[values]).manifests)), release(values))
            except AssertionError as error:
                said[values, name] = str(error)
    with capsys.disabled():
        print("\n| values | mistake | what the claims say |\n|---|---|---|")
        print("\n".join(f"| {values} | {name} | {text} |" for (values, name), text in said.items()))
    assert [key for key, text in said.items() if not text] == []


SERVER = Pod("here", {"app": "server"})
CALLER = Pod("there", {})
OWN = "td/ns/there/sa/a"


def peer(**spec: Any) -> dict[str, Any]:
    return {"kind": "PeerAuthentication", "metadata": {"name": "p", "namespace": "here"}, "spec": spec}


def policy(**spec: Any) -> dict[str, Any]:
    return {"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "here"}, "spec": spec}


def rule(*principals: str, ports: tuple[str, ...] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {"from": [{"source": {"principals": list(principals)}}]} if principals else {}
    return made | ({"to": [{"operation": {"ports": list(ports)}}]} if ports else {})


def through(
    *objects: dict[str, Any], plane: DataPlane = DataPlane.SIDECAR, way: Way = Way.MUTUAL_TLS, port: int = 1
) -> bool:
    return Mesh(objects, {}).lets_in(SERVER, plane, Call(CALLER, OWN, port, way))


# https://istio.io/latest/docs/reference/config/security/peer_authentication/
@pytest.mark.parametrize(
    ("objects", "plain"),
    [
        ([], True),
        ([peer(mtls={"mode": "STRICT"})], False),
        ([peer(mtls={"mode": "PERMISSIVE"})], True),
        ([peer(mtls={})], True),
        ([peer(selector={"matchLabels": {"app": "server"}}, mtls={"mode": "STRICT"})], False),
        ([peer(selector={"matchLabels": {"app": "other"}}, mtls={"mode": "STRICT"})], True),
        ([peer(mtls={"mode": "STRICT"}, portLevelMtls={"1": {"mode": "DISABLE"}})], True),
        ([peer(mtls={"mode": "STRICT"}, portLevelMtls={"2": {"mode": "DISABLE"}})], False),
        ([peer(mtls={"mode": "STRICT"}), peer(mtls={"mode": "PERMISSIVE"})], True),
    ],
)
def test_a_peer_authentication_decides_on_plaintext(objects: list[dict[str, Any]], plain: bool) -> None:
    assert through(*objects, way=Way.PLAIN) == plain
    assert through(*objects, way=Way.PLAIN, plane=DataPlane.NONE)
    assert through(*objects)


# https://istio.io/latest/docs/reference/config/security/authorization-policy/
@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([policy()], False),
        ([policy(rules=[])], False),
        ([policy(rules=[{}])], True),
        ([policy(rules=[rule(OWN)])], True),
        ([policy(rules=[rule("td/ns/there/sa/*")])], True),
        ([policy(rules=[rule("*/sa/a")])], True),
        ([policy(rules=[rule("*")])], True),
        ([policy(rules=[rule("td/ns/there/sa/b", "td2/ns/there/sa/*", "*/sa/aa")])], False),
        ([policy(rules=[rule(OWN, ports=("1",))])], True),
        ([policy(rules=[rule(OWN, ports=("2", "11"))])], False),
        ([policy(rules=[rule(ports=("1",))])], True),
        ([policy(rules=[rule("x"), rule(OWN)])], True),
        ([policy(rules=[rule("x")]), policy(rules=[rule(OWN)])], True),
        ([policy(action="DENY", rules=[rule(OWN)]), policy(rules=[{}])], False),
        ([policy(action="DENY", rules=[rule("x")])], True),
        ([policy(selector={"matchLabels": {"app": "other"}})], True),
    ],
)
def test_an_authorization_policy_decides_who_gets_through(objects: list[dict[str, Any]], expected: bool) -> None:
    assert through(*objects) == expected
    assert through(*objects, plane=DataPlane.AMBIENT, way=Way.HBONE) == expected


def test_any_principal_is_nobody_without_a_certificate() -> None:
    assert not through(policy(rules=[rule("*")]), way=Way.PLAIN)


@pytest.mark.parametrize(
    "made",
    [
        policy(rules=[{"when": []}]),
        policy(action="CUSTOM"),
        policy(targetRefs=[]),
        policy(rules=[{"from": [{"source": {"notPrincipals": ["x"]}}]}]),
        policy(rules=[{"to": [{"operation": {"notPorts": ["1"]}}]}]),
        peer(targetRef={}),
    ],
)
def test_what_is_not_evaluated_is_an_error(made: dict[str, Any]) -> None:
    with pytest.raises(UnknownFieldError, match="evaluated here"):
        through(made, way=Way.PLAIN)


def test_hbone_passes_network_policies_by_its_own_port() -> None:
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": 15008}]}]}
    closed = {"kind": "NetworkPolicy", "metadata": {"name": "n", "namespace": "here"}, "spec": spec}
    assert through(closed, plane=DataPlane.AMBIENT, way=Way.HBONE, port=22)
    assert not through(closed, plane=DataPlane.AMBIENT, way=Way.PLAIN, port=22)
    assert not through(closed, port=22)


# https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/
@pytest.mark.parametrize(
    ("labels", "annotations", "namespace", "expected"),
    [
        ({}, {}, {}, DataPlane.NONE),
        ({}, {}, {"istio-injection": "enabled"}, DataPlane.SIDECAR),
        ({}, {}, {"istio.io/rev": "a"}, DataPlane.SIDECAR),
        ({"sidecar.istio.io/inject": "true"}, {}, {}, DataPlane.SIDECAR),
        ({"sidecar.istio.io/inject": "true"}, {}, {"istio-injection": "disabled"}, DataPlane.NONE),
        ({"sidecar.istio.io/inject": "false"}, {}, {"istio-injection": "enabled"}, DataPlane.NONE),
        ({}, {"sidecar.istio.io/inject": "false"}, {"istio-injection": "enabled"}, DataPlane.NONE),
        ({}, {}, {"istio.io/dataplane-mode": "ambient"}, DataPlane.AMBIENT),
        ({"istio.io/dataplane-mode": "none"}, {}, {"istio.io/dataplane-mode": "ambient"}, DataPlane.NONE),
        ({"istio.io/dataplane-mode": "ambient"}, {}, {}, DataPlane.AMBIENT),
    ],
)
def test_the_label_that_counts_puts_a_pod_into_the_mesh(
    labels: dict[str, str], annotations: dict[str, str], namespace: dict[str, str], expected: DataPlane
) -> None:
    assert data_plane({"metadata": {"labels": labels, "annotations": annotations}}, namespace) is expected

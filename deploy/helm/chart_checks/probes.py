"""Connections to hold against the policies: one that is allowed, with nothing, one thing or a few things changed."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from chart_checks.claims import (
    PROXY_HEALTH,
    PROXY_METRICS,
    SCALER_GRPC,
    SCALER_HTTP,
    SCALER_METRICS,
    TRITON_GRPC,
    TRITON_METRICS,
    Release,
)
from chart_checks.mesh import PROBE_ADDRESSES
from chart_checks.network_policy import End, Host, Pod

Labels = dict[str, str]
_PORTS = (53, 80, 443, 5353, 6443, 8000, 8001, 8002, 8003, 8080, 8443, 9000, 9090, 15008, 15012, 50050, 50051, 50052)
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_KEYS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "k8s-app", "app")
_VALUES = (
    "",
    "domino-triton",
    "mm",
    "triton",
    "proxy",
    "publisher",
    "scaler",
    "schedule",
    "network",
    "kube-dns",
    "prometheus",
    "true",
)
_WORDS = st.text("abcxyz-", min_size=1, max_size=5)
# What clouds answer on, and addresses beside them in networks that values may name.
METADATA_SERVICES = ("169.254.169.254", "169.254.170.23", "100.100.100.200", "168.63.129.16", "fd00:ec2::254",
                      "fd20:ce::254", "fe80::a9fe:a9fe")  # fmt: skip
_IPS = st.one_of(
    st.sampled_from(["10.0.0.7", "10.244.0.1", "8.8.8.8", "100.100.100.201", "2001:db8::7", "fd00:10:244::1"]),
    st.sampled_from(METADATA_SERVICES),
    st.ip_addresses().map(str),
)
_LABEL_STEPS = st.tuples(
    st.one_of(st.none(), st.integers(0, 5)),
    st.one_of(st.none(), st.sampled_from(_KEYS)),
    st.one_of(st.sampled_from(_VALUES), _WORDS),
)
_POD_IP = "10.244.0.1"


@dataclass(frozen=True)
class Probe:
    """One connection.

    Attributes:
        source: the end that connects.
        destination: the end that it connects to.
        port: the destination's.
        protocol: TCP, UDP or SCTP.
        namespaces: the cluster's, with their labels.
    """

    source: End
    destination: End
    port: int
    protocol: str
    namespaces: Mapping[str, Labels] = dataclasses.field(default_factory=dict)


def crossings(release: Release) -> Iterable[Probe]:
    """From every end that the values name to every other, on every port that any of them has."""
    ends = known(release)
    ports = sorted({*_PORTS, *(probe.port for probe in _allowed(release))})
    for source, destination, port, protocol in itertools.product(ends, ends, ports, _PROTOCOLS):
        # A copy: a pod that connects to itself passes every policy.
        yield Probe(source, dataclasses.replace(destination), port, protocol)


def probes(release: Release) -> st.SearchStrategy[Probe]:
    """Connections of any pod or host, most of them a small step away from what is allowed."""
    allowed, ends_known = list(_allowed(release)), known(release)
    anybody = st.sampled_from(ends_known).map(dataclasses.replace)
    bases = st.sampled_from(allowed)
    crossed = st.builds(_crossed, anybody, anybody, bases)
    namespaces = sorted({end.namespace for end in ends_known if isinstance(end, Pod)} | {release.namespace + "-2"})
    ends = st.one_of(
        anybody,
        _LABEL_STEPS.map(_relabelled),
        _LABEL_STEPS.map(_relabelled),
        st.one_of(st.sampled_from(namespaces), _WORDS).map(_moved),
        _IPS.map(_readdressed),
        _IPS.map(Host),
    )
    steps = st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["source", "destination"]), ends),
            st.tuples(st.just("port"), st.one_of(st.sampled_from(_PORTS), st.integers(1, 65535))),
            st.tuples(st.just("protocol"), st.sampled_from(_PROTOCOLS)),
        ),
        max_size=3,
    )
    labels = st.dictionaries(st.sampled_from(["name", "team"]), st.sampled_from([*namespaces, "true"]), max_size=1)
    return st.builds(
        _stepped, st.one_of(bases, crossed), steps, st.fixed_dictionaries(dict.fromkeys(namespaces, labels))
    )


def _crossed(source: End, destination: End, base: Probe) -> Probe:
    return dataclasses.replace(base, source=source, destination=destination)


def _stepped(probe: Probe, steps: list[tuple[str, Any]], namespaces: Mapping[str, Labels]) -> Probe:
    for name, to in steps:
        probe = dataclasses.replace(probe, **{name: to(getattr(probe, name)) if callable(to) else to})
    return dataclasses.replace(probe, namespaces=namespaces)


def known(release: Release) -> list[End]:
    """The release's pods and every end that its values name, also elsewhere; and where clouds keep credentials."""
    pods = [release.pod(component) for component in ("triton", "proxy", "publisher", "scaler", "schedule", "other")]
    ends: list[End] = [end for probe in _allowed(release) for end in (probe.source, probe.destination)]
    namespaces = {end.namespace for end in ends if isinstance(end, Pod)} | {release.namespace + "-2"}
    ends += [dataclasses.replace(pod, namespace=namespace) for pod in pods for namespace in sorted(namespaces)]
    ends += [dataclasses.replace(end, namespace=release.namespace) for end in ends if isinstance(end, Pod)]
    ends += [Host(ip) for ip in METADATA_SERVICES]
    ends += [Host(ip) for cidr in _cidrs(release) for ip in _outside(cidr)]
    return list({repr(end): end for end in ends}.values())


def _allowed(release: Release) -> Iterable[Probe]:
    """One connection of each kind that the values allow."""
    triton, proxy, policy = release.pod("triton"), release.pod("proxy"), release.policy
    yield Probe(proxy, triton, TRITON_GRPC, "TCP")
    for peer in policy["monitoring"]:
        yield Probe(_pod(peer), triton, TRITON_METRICS, "TCP")
        yield Probe(_pod(peer), proxy, release.metrics_port, "TCP")
    for peer in policy["clients"]:
        yield Probe(_pod(peer), proxy, release.callers_port, "TCP")
    if release.mesh == "ambient":
        yield from (Probe(Host(ip), proxy, PROXY_HEALTH, "TCP") for ip in PROBE_ADDRESSES)
    callers = [(proxy, [policy["dns"], policy["domino"], policy["keycloak"], policy["traces"], policy["istiod"]])]
    if release.values["triton"]["traces"]["enabled"]:
        callers.append((triton, [policy["dns"], policy["traces"]]))
    if release.values["publisher"]["enabled"]:
        publisher = release.pod("publisher")
        yield Probe(publisher, proxy, release.callers_port, "TCP")
        callers.append((publisher, [policy["dns"], *release.values["publisher"]["egress"]]))
    yield from _allowed_of_the_scaler(release)
    if release.values["scaler"]["enabled"]:
        callers.append((release.pod("scaler"), [policy[key] for key in ("apiServer", "dns", "domino", "keycloak")]))
    if release.values["scaler"]["schedule"]:
        callers.append((release.pod("schedule"), [policy["apiServer"]]))
    for caller, destinations in callers:
        for destination in destinations:
            ends: list[End] = [_pod(peer) for peer in destination.get("peers", ())]
            ends += [Host(ip) for cidr in destination.get("cidrs", ()) for ip in _first_and_last(cidr)]
            ends += [Host(ip) for ip in destination.get("nodeLocalCache", ())]
            yield from (Probe(caller, end, port, "TCP") for end in ends for port in destination["ports"])


def _allowed_of_the_scaler(release: Release) -> Iterable[Probe]:
    """The same of the scale service and the release's other pods."""
    if release.values["scaler"]["enabled"]:
        for port in (SCALER_HTTP, SCALER_GRPC):
            yield from (Probe(_pod(peer), release.pod("scaler"), port, "TCP") for peer in release.policy["clients"])
        for peer in release.policy["monitoring"]:
            yield Probe(_pod(peer), release.pod("scaler"), SCALER_METRICS, "TCP")
    if release.scales_to_zero:
        yield Probe(release.pod("scaler"), release.pod("proxy"), PROXY_METRICS, "TCP")


def _cidrs(release: Release) -> Iterable[str]:
    destinations = [
        *(release.policy[key] for key in ("dns", "domino", "keycloak", "traces", "apiServer")),
        *release.values["publisher"]["egress"],
    ]
    return (cidr for destination in destinations for cidr in destination.get("cidrs", ()))


def _outside(cidr: str) -> tuple[str, str]:
    """The addresses before and after a network, as a policy that is a little too wide has them."""
    network = ipaddress.ip_network(cidr)
    return str(network[0] - 1), str(network[-1] + 1)


def _first_and_last(cidr: str) -> tuple[str, str]:
    network = ipaddress.ip_network(cidr)
    return str(network[0]), str(network[-1])


def _pod(peer: Mapping[str, Any]) -> Pod:
    return Pod(peer["namespace"], peer.get("podLabels", {}), _POD_IP)


def _relabelled(step: tuple[int | None, str | None, str]) -> Callable[[End], End]:
    """The pod with one label left out, one changed or one more."""
    dropped, key, value = step

    def change(end: End) -> End:
        if not isinstance(end, Pod):
            return end
        labels = dict(end.labels)
        if dropped is not None and labels:
            del labels[sorted(labels)[dropped % len(labels)]]
        if key is not None:
            labels[key] = value
        return dataclasses.replace(end, labels=labels)

    return change


def _moved(namespace: str) -> Callable[[End], End]:
    return lambda end: dataclasses.replace(end, namespace=namespace) if isinstance(end, Pod) else end


def _readdressed(ip: str) -> Callable[[End], End]:
    return lambda end: dataclasses.replace(end, ip=ip)

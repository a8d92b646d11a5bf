"""Claims about what Prometheus sees: all that is to be scraped is, and each alert fires under its fault and clears."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from boundary import names
from boundary.claims import Claim, same
from boundary.faults import Faults
from boundary.kube import Kube
from boundary.names import INFERENCE
from boundary.prometheus import Prometheus
from chart_checks.network_policy import selects
from chart_checks.pods import pods

Manifest = dict[str, Any]
_POLL_SECS = 0.5
_SCRAPED_SECS, _FIRING_SECS, _CLEAR_SECS = 60.0, 75.0, 90.0
_GROUP = "alerts, their times shortened"
# Alert, and the fault under which it fires.
BEGUN_WITH = {"TritonProxyCertificateEnds": "a certificate that ends in five days"}
AT_ONCE = {
    "TritonProxyBreakerOpen": "Domino's front end gone",
    "TritonProxyCallsFull": "30 streams open, of MAX_CALLS 32",
    "TritonProxyCertificateBroken": "a certificate with the key of another",
    "TritonProxyPolicyBroken": "an access policy that can't be read",
    "TritonProxyQueueGrows": "12 streams of 8 MiB, with MAX_MB_IN_FLIGHT 64",
    "TritonProxySlow": "a model that takes 1.5 s",
    "TritonProxyStaleIdentity": "Domino's front end gone",
    "TritonProxyTritonEjected": "one of two Tritons killed",
}
WITHOUT_TRITON = {
    "TritonProxyFailures": "no Triton",
    "TritonProxyTritonNotReady": "no Triton",
}
WITHOUT_PROXY = {"ScaleServiceDown": "no scale service", "TritonProxyDown": "no proxy"}
# What takes too long on kind, or too much of it: promtool's tests hold these alone.
NOT_PROVOKED = (
    "ScaleServiceAuditLinesDropped",
    "ScaleServiceNoApiServer",
    "ScaleServicePolicyBroken",
    "TritonProxyAuditLinesDropped",
    "TritonProxyMemoryHigh",
)
PROVOKED: Mapping[str, str] = {**BEGUN_WITH, **AT_ONCE, **WITHOUT_TRITON, **WITHOUT_PROXY}


def scraped(kube: Kube, prometheus: Prometheus, rendered: Sequence[Manifest]) -> list[Claim]:
    """Every pod that a PodMonitor of the chart chooses is scraped."""
    wanted: dict[str, set[str]] = {}
    for monitor in rendered:
        if monitor["kind"] == "PodMonitor":
            endpoints = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
            for component, template in pods(rendered):
                if selects(monitor["spec"]["selector"], template["metadata"]["labels"]):
                    wanted.setdefault(component, set()).update(endpoints & _ports(template))

    def missing() -> dict[str, list[str]]:
        found = prometheus.targets()
        return {
            component: [
                f"{name} {port}: {found.get(f'{name} {port}', 'not a target')}"
                for name in _pods(kube, component)
                for port in sorted(ports)
                if found.get(f"{name} {port}") != "up"
            ]
            for component, ports in wanted.items()
        }

    _until(lambda: not any(missing().values()), _SCRAPED_SECS)
    group = "Prometheus, by the chart's PodMonitors"
    left = missing()
    claims = [same(group, f"pods of {each}", "all up", ", ".join(left[each]) or "all up") for each in sorted(left)]
    nobody = sorted(each for each, ports in wanted.items() if not (ports and _pods(kube, each)))
    return [*claims, same(group, "components without a pod or a port", "none", ", ".join(nobody) or "none")]


def _ports(template: Manifest) -> set[str]:
    return {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", ())}


def _pods(kube: Kube, component: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in kube.pods(INFERENCE, names.selector(component))]


def fire_and_clear(prometheus: Prometheus, faults: Faults) -> list[Claim]:
    """Makes faults, as many at once as do not hide each other, and ends them."""
    claims = [_only(prometheus, "before any other fault", set(BEGUN_WITH))]

    faults.overload()
    faults.stop_domino()
    faults.break_policy()
    faults.break_certificate()
    faults.kill_a_triton()
    claims += _fire(prometheus, {**BEGUN_WITH, **AT_ONCE})

    faults.end_overload()
    faults.start_domino()
    faults.mend_policy()
    faults.renew_certificate()
    claims.append(_only(prometheus, "after these", set()))

    faults.stop_tritons()
    claims += _fire(prometheus, WITHOUT_TRITON)
    faults.stop_servers()
    claims += _fire(prometheus, WITHOUT_PROXY)
    faults.start_all()
    claims.append(_only(prometheus, "after all", set()))
    return claims


def _fire(prometheus: Prometheus, expected: Mapping[str, str]) -> list[Claim]:
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.update(prometheus.firing())
        return set(expected) <= seen

    began = time.monotonic()
    _until(all_seen, _FIRING_SECS)
    detail = f"{time.monotonic() - began:.0f} s"
    return [
        same(_GROUP, f"{alert}: {fault}", "fires", "fires" if alert in seen else "silent", detail)
        for alert, fault in sorted(expected.items())
    ]


def _only(prometheus: Prometheus, when: str, expected: Collection[str]) -> Claim:
    _until(lambda: prometheus.firing() == set(expected), _CLEAR_SECS)
    return same(_GROUP, f"what fires {when}", _list(expected), _list(prometheus.firing()))


def _list(alerts: Collection[str]) -> str:
    return ", ".join(sorted(alerts)) or "none"


def _until(condition: Callable[[], bool], secs: float) -> None:
    deadline = time.monotonic() + secs
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_SECS)

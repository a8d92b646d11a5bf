"""Claims about replacing what serves, under traffic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from boundary import names
from boundary.accounting import EVEN, Account, balance
from boundary.claims import Claim, same
from boundary.kube import Kube
from boundary.names import INFERENCE, PROXY, TRITON
from boundary.traffic import Traffic
from kind_cluster.command import KindError

_WHERE = f"--namespace={INFERENCE}"
_LONGEST_WAIT_SECS = 30.0
_FLOWING = 25


def _names(pods: Sequence[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


def _restarts(pods: Sequence[dict[str, Any]]) -> int:
    return sum(status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"])


def _failures(accounts: Sequence[Account]) -> list[tuple[str, str]]:
    return [failure for account in accounts for failure in account.failures.values()]


def rolling_restart(kube: Kube) -> list[Claim]:
    """Restarts all proxies, one after the other, while clients stream."""
    group = "rolling restart of the proxy under traffic"
    before = kube.pods(INFERENCE, names.selector("proxy"))
    with Traffic(kube) as traffic:
        traffic.more(_FLOWING, 60)
        kube.kubectl(_WHERE, "rollout", "restart", f"deployment/{PROXY}")
        kube.kubectl(_WHERE, "rollout", "status", f"deployment/{PROXY}", "--timeout=240s")
        _gone(kube, _names(before))
        traffic.more(_FLOWING, 60)
        accounts = traffic.finish()
    after = kube.pods(INFERENCE, names.selector("proxy"))
    kept = sorted(_names(before) & _names(after))
    failures = _failures(accounts)
    return [
        same(group, "proxy pods before, and after", "2, and 2", f"{len(before)}, and {len(after)}"),
        same(group, "proxy pods that are the same as before", "none", ", ".join(kept) or "none"),
        same(group, _packets(accounts), EVEN, balance(accounts)),
        same(group, "packets answered with an error", "0", str(len(failures)), str(failures[:3])),
        _waits(group, accounts),
    ]


def _gone(kube: Kube, pods: set[str]) -> None:
    kube.kubectl(_WHERE, "wait", *(f"pod/{name}" for name in sorted(pods)), "--for=delete", "--timeout=120s")


def _packets(accounts: Sequence[Account]) -> str:
    # Without their number, which differs from run to run: a claim's name does not.
    return f"packets of {len(accounts)} streams"


def _waits(group: str, accounts: Sequence[Account]) -> Claim:
    longest = max(account.longest_wait_secs for account in accounts)
    expected = f"under {_LONGEST_WAIT_SECS:.0f} s"
    observed = expected if longest < _LONGEST_WAIT_SECS else f"{longest:.1f} s"
    return same(group, "longest wait for an answer", expected, observed, f"{longest:.1f} s")


def triton_killed(kube: Kube) -> list[Claim]:
    """Deletes Triton's pod, at once, while clients stream."""
    group = "Triton's pod deleted under traffic"
    proxies = kube.pods(INFERENCE, names.selector("proxy"))
    restarts = _restarts(proxies)
    (triton,) = kube.pods(INFERENCE, names.selector("triton"))
    with Traffic(kube) as traffic:
        traffic.more(_FLOWING, 60)
        kube.kubectl(_WHERE, "delete", "pod", triton["metadata"]["name"], "--now")
        traffic.wait_for(lambda _, failed: failed > 0, 60)
        kube.kubectl(_WHERE, "rollout", "status", f"deployment/{TRITON}", "--timeout=240s")
        traffic.more(_FLOWING, 90)
        accounts = traffic.finish()
    after = kube.pods(INFERENCE, names.selector("proxy"))
    statuses = sorted({status for status, _ in _failures(accounts)})
    texts = sorted({text for _, text in _failures(accounts)})
    return [
        same(group, "Ack status of packets that Triton did not answer", "INTERNAL", ", ".join(statuses), str(texts)),
        same(group, _packets(accounts), EVEN, balance(accounts)),
        _waits(group, accounts),
        same(group, "streams served again, by", "the proxies of before", _who(proxies, after, restarts)),
    ]


def _who(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], restarts: int) -> str:
    kept = _names(before) == _names(after) and _restarts(after) == restarts
    return "the proxies of before" if kept else f"others: {sorted(_names(after))}, {_restarts(after)} restarts"


def disruption(kube: Kube) -> list[Claim]:
    """Asks for the eviction of both proxies at once, as the draining of two nodes would."""
    group = "eviction of the proxies"
    (budget,) = kube.get(_WHERE, f"poddisruptionbudget/{PROXY}")
    pods = sorted(_names(kube.pods(INFERENCE, names.selector("proxy"))))
    answers = [_evict(kube, pod) for pod in pods]
    _gone(kube, {pods[0]})
    kube.kubectl(_WHERE, "rollout", "status", f"deployment/{PROXY}", "--timeout=240s")
    return [
        same(group, "disruptions that the budget allows", "1", str(budget["status"]["disruptionsAllowed"])),
        same(group, "the first", "evicted", answers[0]),
        same(group, "the second, at the same time", "refused by the disruption budget", answers[1]),
    ]


def _evict(kube: Kube, pod: str) -> str:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": INFERENCE}}
    path = f"/api/v1/namespaces/{INFERENCE}/pods/{pod}/eviction"
    try:
        kube.kubectl("create", f"--raw={path}", "--filename=-", text=json.dumps(eviction))
    except KindError as error:
        refused = "Cannot evict pod as it would violate the pod's disruption budget" in str(error)
        return "refused by the disruption budget" if refused else str(error).splitlines()[-1]
    return "evicted"

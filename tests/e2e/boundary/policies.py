"""The release's NetworkPolicies on the cluster: taken away, changed, put back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from boundary import objects
from boundary.claims import Claim
from boundary.kube import Kube
from boundary.names import INFERENCE, RELEASE
from boundary.network import Expectation, Network
from boundary.probers import expected, expected_of_tritons_wall
from chart_checks.mutants import MUTANTS, MUTANTS_OF, Mutation

Manifest = dict[str, Any]
# Rounds within which a mutant has to be noticed: at first those that take two seconds.
_QUICK_ROUNDS, _ROUNDS = 3, 6
GROUP = "the chart, changed: does a claim turn red?"


def policies_of(text: str) -> list[Manifest]:
    """The NetworkPolicies among the objects that helm rendered."""
    return [found for found in yaml.safe_load_all(text) if found and found["kind"] == "NetworkPolicy"]


def key(policy: Manifest) -> tuple[str, str]:
    """Namespace and name; where a policy names no namespace, kubectl's default one."""
    return policy["metadata"].get("namespace", "default"), policy["metadata"]["name"]


class Policies:
    """The policies as helm installed them.

    Args:
        kube: the cluster.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._own = policies_of(kube.helm("get", "manifest", RELEASE, "--namespace", INFERENCE))
        self._there = {key(policy) for policy in self._own}

    def remove(self) -> None:
        """Takes all away."""
        self.set([])

    def restore(self) -> None:
        """Puts the chart's own back, and takes away what else was put."""
        self.set(self._own)

    def let_out(self) -> None:
        """The chart's own, and one that opens the second of two walls."""
        self.set(self._own, objects.let_out())

    def let_http(self) -> None:
        """The chart's own, and one that lets the proxy call Triton over HTTP, for a look at Triton's own wall."""
        self.set(self._own, objects.let_http())

    def mutated(self, mutate: Callable[[list[Manifest]], list[Manifest]]) -> list[Manifest]:
        """The chart's own with a mistake made in them."""
        return mutate(copy.deepcopy(self._own))

    def set(self, wanted: Iterable[Manifest], *beside: Manifest) -> None:
        """Makes exactly these be there, and those beside them; those that stay are never away."""
        policies = [*wanted, *beside]
        if policies:
            self._kube.apply(policies)
        now = {key(policy) for policy in policies}
        for namespace, name in sorted(self._there - now):
            self._kube.kubectl(f"--namespace={namespace}", "delete", "networkpolicy", name)
        self._there = now


# Those of the scale service's that a dial can see: where it has one port only, it does not see that others are open.
_OF_THE_SCALE_SERVICE = (
    "the scale service's policy removed",
    "the scale service may call everything",
    "any namespace may call the scale service",
    "the release's pods may call the scale service",
)
MISTAKES: Mapping[str, Mutation] = {**MUTANTS, **{name: MUTANTS_OF["scaler"][name] for name in _OF_THE_SCALE_SERVICE}}
# Two walls stand between Triton and the release's own pods: a hole in one is seen with the other open.
ONE_OF_TWO_WALLS = {
    "label widened: any pod of the release",
    "HTTP opened to the proxy",
    "port added",
    "ports dropped",
    "ports up to 8002",
}


def mutate_all(policies: Policies, network: Network, names: Iterable[str], say: Callable[[str], None]) -> list[Claim]:
    """Applies one mistake after another; each has to turn a claim red, and all claims have to hold again without it."""
    claims = []
    for name in names:
        alone = name in ONE_OF_TWO_WALLS
        try:
            if alone:
                policies.let_out()
                network.wall_alone()
            policies.set(policies.mutated(MISTAKES[name]), *([objects.let_out()] if alone else []))
            red = _stays_red(network, expected_of_tritons_wall if alone else expected)
        finally:
            policies.restore()
        claims.append(_caught(name, red))
        say(f"  {name}: {claims[-1].observed}")
        again = [claim for claim in network.settle(GROUP, expected, quick=True) if not claim.held]
        observed = "all claims hold" if not again else f"{len(again)} do not, as {again[0].what}"
        claims.append(Claim(GROUP, f"right again after: {name}", "all claims hold", observed, not again))
    return claims


def _stays_red(network: Network, expectation: Expectation) -> list[Claim]:
    """Claims that do not hold in two rounds after each other: one alone may have met a slow moment."""
    before: set[str] = set()
    for number in range(_ROUNDS):
        quick = number < _QUICK_ROUNDS
        red = [claim for claim in network.round(GROUP, expectation, quick=quick) if not claim.held]
        if both := [claim for claim in red if claim.name in before]:
            return both
        before = {claim.name for claim in red}
    return []


def _caught(name: str, red: list[Claim]) -> Claim:
    if not red:
        return Claim(GROUP, name, "caught", "NOT CAUGHT: all claims hold", False)
    first = red[0]
    by = " by ".join(filter(None, (first.what, first.way)))
    more = f", and {len(red) - 1} more" if len(red) > 1 else ""
    return Claim(GROUP, name, "caught", f"caught by: {by} was {first.observed}{more}", True)

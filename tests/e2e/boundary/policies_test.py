from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

import pytest
import yaml

from boundary import policies, scaling
from boundary.claims import Claim
from boundary.kube import Kube
from boundary.names import INFERENCE, labels
from boundary.network import Network
from boundary.policies import MISTAKES, Policies, key, mutate_all
from chart_checks import network_policy as evaluated
from chart_checks.helm import render

TEXT = render(f"# from: values-kind.yaml\n{yaml.safe_dump(scaling.values_of(['172.18.0.2'], [6443]))}").text
KEYS = {key(policy) for policy in policies.policies_of(TEXT)}


class Cluster:
    """Keeps policies as kubectl would."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], Any] = {key(policy): policy for policy in policies.policies_of(TEXT)}
        self.moments = [set(self.there)]

    def helm(self, *_: object) -> str:
        return TEXT

    def apply(self, objects: Iterable[Any]) -> None:
        self.there.update((key(made), copy.deepcopy(made)) for made in objects)
        self.moments.append(set(self.there))

    def kubectl(self, *words: str) -> str:
        namespace, verb, kind, name = words
        assert (verb, kind) == ("delete", "networkpolicy")
        del self.there[namespace.removeprefix("--namespace="), name]
        self.moments.append(set(self.there))
        return ""


def installed(cluster: Cluster) -> Policies:
    return Policies(cast(Kube, cluster))


def test_removed_policies_are_restored() -> None:
    cluster = Cluster()
    of_chart = copy.deepcopy(cluster.there)
    made = installed(cluster)
    made.remove()
    assert cluster.there == {}
    made.restore()
    assert cluster.there == of_chart
    assert len(of_chart) == 4


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_changes_the_policies_and_is_taken_back(name: str) -> None:
    cluster = Cluster()
    of_chart = copy.deepcopy(cluster.there)
    made = installed(cluster)
    mutated = made.mutated(MISTAKES[name])
    made.set(mutated)
    assert cluster.there == {key(policy): policy for policy in mutated} != of_chart
    made.restore()
    assert cluster.there == of_chart


def test_a_policy_that_stays_is_never_away() -> None:
    cluster = Cluster()
    made = installed(cluster)
    kept = made.mutated(lambda own: own)[:2]
    made.set(kept)
    made.restore()
    assert all({key(policy) for policy in kept} <= moment for moment in cluster.moments)


class Rounds:
    """Answers rounds of dialling from a list; the last one again and again."""

    def __init__(self, *rounds: Iterable[str]) -> None:
        self.rounds = [[Claim("g", what, "blocked", "connected", held=False) for what in each] for each in rounds]

    def settle(self, *_: object, **__: object) -> list[Claim]:
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]

    round = settle
    wall_alone = settle


def mutate(*rounds: Iterable[str], name: str = "empty from", cluster: Cluster | None = None) -> list[Claim]:
    said: list[str] = []
    made = mutate_all(installed(cluster or Cluster()), cast(Network, Rounds(*rounds)), [name], said.append)
    assert said == [f"  {name}: {made[0].observed}"]
    return made


def test_a_claim_that_is_red_twice_catches_a_mistake() -> None:
    caught, again = mutate([], ["x", "y"], ["y", "z"], [])
    assert (caught.what, caught.observed, caught.held) == ("empty from", "caught by: y was connected", True)
    assert (again.what, again.observed, again.held) == ("right again after: empty from", "all claims hold", True)


@pytest.mark.parametrize("name", policies.ONE_OF_TWO_WALLS)
def test_the_second_wall_is_open_before_and_while_there_is_a_hole_in_the_first(name: str) -> None:
    cluster = Cluster()
    of_chart = set(cluster.there)
    caught, _ = mutate([], ["x"], ["x"], [], name=name, cluster=cluster)
    assert caught.held
    let_out = ("inference-e2e-vision", "let-out")
    assert [let_out in moment for moment in cluster.moments][:3] == [False, True, True]
    assert let_out not in cluster.there
    assert set(cluster.there) == of_chart


def test_triton_s_http_port_is_opened_to_the_proxy_only_and_closed_again() -> None:
    cluster = Cluster()
    of_chart = copy.deepcopy(cluster.there)
    made = installed(cluster)
    made.let_http()
    opened = evaluated.Network(cluster.there.values(), {})
    triton, *others = (
        evaluated.Pod(INFERENCE, labels(component)) for component in ("triton", "proxy", "publisher", "other")
    )
    assert [opened.allows(pod, triton, 8000) for pod in others] == [True, False, False]
    assert not opened.allows(others[0], triton, 8002)
    assert not opened.allows(triton, others[0], 8000)
    made.restore()
    assert cluster.there == of_chart


def test_a_claim_that_is_red_once_catches_nothing() -> None:
    caught, _ = mutate(["x"], ["y"], [])
    assert (caught.observed, caught.held) == ("NOT CAUGHT: all claims hold", False)


def test_what_stays_red_afterwards_is_red() -> None:
    caught, again = mutate(["x"])
    assert caught.held
    assert (again.observed, again.held) == ("1 do not, as x", False)


def test_a_policy_without_a_namespace_is_in_kubectls_default() -> None:
    assert key(yaml.safe_load("metadata: {name: n}")) == ("default", "n")
    assert len(KEYS) == 4

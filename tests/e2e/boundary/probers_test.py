from __future__ import annotations

import functools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from boundary import names, probers, scaling
from boundary.claims import Answer, Dial, Expected, Outcome, Target, judge
from boundary.network import without_policies
from boundary.probers import PROBERS, Addresses, Prober, expected, expected_of_tritons_wall, targets
from chart_checks import claims as promised
from chart_checks.helm import render
from chart_checks.network_policy import Pod

AT = Addresses(*(f"10.244.0.{n}" for n in range(1, 14)))
PAIRS = [(prober, target) for prober in PROBERS for target in targets(prober, AT)]


def as_expected(prober: Prober, target: Target) -> Dial:
    wanted = expected(prober, target)
    who = target.who if wanted is Expected.CONNECTED else ""
    return Dial(prober.name, target, wanted, Answer(wanted.outcome, who))


def test_on_a_perfect_cluster_every_claim_holds_so_every_blocked_one_has_its_twins() -> None:
    claims = judge("g", [as_expected(*pair) for pair in PAIRS])
    assert [claim.name for claim in claims if not claim.held] == []
    assert len({claim.name for claim in claims}) == len(claims)


def test_without_policies_every_dial_is_to_connect() -> None:
    assert {without_policies(*pair) for pair in PAIRS} == {Expected.CONNECTED}


@given(st.sampled_from(range(len(PAIRS))), st.sampled_from(Outcome))
def test_one_other_outcome_is_one_red_claim_at_least(number: int, outcome: Outcome) -> None:
    dials = [as_expected(*pair) for pair in PAIRS]
    was = dials[number]
    dials[number] = Dial(was.source, was.target, was.expected, Answer(outcome, was.target.who))
    assert judge("g", dials)[number].held is (outcome is was.expected.outcome)


def test_who_is_let_out_meets_tritons_wall_alone() -> None:
    changed = {(p.pod, t.name) for p, t in PAIRS if expected(p, t) is not expected_of_tritons_wall(p, t)}
    assert {pod for pod, _ in changed} == set(names.LET_OUT)
    (metrics,) = [name for name, (port, *_) in probers.TRITON_PORTS.items() if port == 8002]
    wall = {t.way: expected_of_tritons_wall(p, t) for p, t in PAIRS if p.pod == "forged" and t.name == metrics}
    assert wall == dict.fromkeys(["pod IP", "Service IP", "DNS name"], Expected.BLOCKED)


def test_each_way_to_each_port_of_triton_is_dialled_by_everybody_else() -> None:
    for prober in PROBERS:
        dialled = {(t.name, t.way) for t in targets(prober, AT) if t.name in probers.TRITON_PORTS}
        assert len(dialled) == (0 if prober is probers.THE_TRITON else 9), prober


@functools.cache
def release() -> promised.Release:
    scaler = yaml.safe_dump(scaling.values_of(["172.18.0.2"], [6443]))
    return promised.Release(names.INFERENCE, names.RELEASE, render(f"# from: values-kind.yaml\n{scaler}").values)


@pytest.mark.parametrize("prober", [p for p in PROBERS if p not in (probers.THE_NODE, probers.THE_TRITON)], ids=str)
def test_what_is_expected_is_what_the_chart_promises(prober: Prober) -> None:
    labels = prober.labels or (names.labels(prober.component) if prober.component else {})
    source = Pod(prober.namespace, labels, "10.244.0.99")
    ports = {name: ("triton", port) for name, (port, *_) in probers.TRITON_PORTS.items()}
    ports |= {probers.CALLS: ("proxy", 50051), probers.HEALTH: ("proxy", 50052), probers.COUNTS: ("proxy", 9090)}
    ports |= {probers.SCALE_REST: ("scaler", 8000), probers.SCALE_GRPC: ("scaler", 50052)}
    for target in targets(prober, AT):
        if target.name in ports and expected(prober, target) is not Expected.NO_DNS:
            component, port = ports[target.name]
            called = release().pod(component)
            allowed = promised.accepts(release(), called, source, port, "TCP") and promised.may_call(
                release(), source, called, port, "TCP"
            )
            assert allowed is (expected(prober, target) is Expected.CONNECTED), target.name

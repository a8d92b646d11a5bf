from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary.claims import Answer, Dial, Expected, Outcome, Target, judge, same

TRITON = Target("Triton 8001", "pod IP", "grpc://10.244.0.7:8001", "triton")
BEACON = Target("a pod elsewhere", "pod IP", "10.244.0.9:8080", "stranger")
outcomes = st.sampled_from(Outcome)


def connected(source: str, target: Target) -> Dial:
    return Dial(source, target, Expected.CONNECTED, Answer(Outcome.CONNECTED, target.who))


def client(expected: Expected, outcome: Outcome, who: str = "") -> Dial:
    return Dial("a client", TRITON, expected, Answer(outcome, who))


TWINS = [connected("a client", BEACON), connected("the proxy", TRITON)]


@given(outcomes, st.sampled_from([Expected.BLOCKED, Expected.NO_DNS]))
def test_each_expectation_is_met_by_one_outcome_only(outcome: Outcome, expected: Expected) -> None:
    claim, *_ = judge("g", [client(expected, outcome, "triton"), *TWINS])
    met_by = {Expected.BLOCKED: Outcome.DROPPED, Expected.NO_DNS: Outcome.DNS_FAILED}
    assert claim.held is (outcome is met_by[expected])
    assert (claim.expected, claim.observed) == (expected.value, outcome.value)


@given(outcomes, st.text(max_size=8))
def test_connected_is_met_by_the_target_that_was_asked_for(outcome: Outcome, who: str) -> None:
    claim, *_ = judge("g", [client(Expected.CONNECTED, outcome, who)])
    assert claim.held is (outcome is Outcome.CONNECTED and who.startswith("triton"))
    good, *_ = judge("g", [connected("a client", TRITON)])
    assert good.held


def test_somebody_else_who_answers_is_named() -> None:
    claim, *_ = judge("g", [client(Expected.CONNECTED, Outcome.CONNECTED, "nginx")])
    assert claim.observed == "connected to 'nginx' instead of 'triton'"


NOBODY_REACHED = "nobody else reached that target in this round"
REACHED_NOBODY = "a client reached nobody in this round"


@pytest.mark.parametrize(
    ("twins", "missing"),
    [
        ([], [REACHED_NOBODY, NOBODY_REACHED]),
        (TWINS[:1], [NOBODY_REACHED]),
        (TWINS[1:], [REACHED_NOBODY]),
        # The same target by another address is another way, with rules of its own.
        ([TWINS[0], connected("the proxy", dataclasses.replace(TRITON, way="DNS name"))], [NOBODY_REACHED]),
        # An end that answers in the target's place is no twin.
        ([TWINS[0], dataclasses.replace(TWINS[1], answer=Answer(Outcome.CONNECTED, "nginx"))], [NOBODY_REACHED]),
    ],
)
def test_dropped_without_its_twins_proves_nothing(twins: Sequence[Dial], missing: Sequence[str]) -> None:
    claim, *_ = judge("g", [client(Expected.BLOCKED, Outcome.DROPPED), *twins])
    assert not claim.held
    assert claim.observed == ", ".join(["dropped", *(f"which proves nothing: {reason}" for reason in missing)])


def test_texts_are_the_same_or_not() -> None:
    assert same("g", "w", "OK", "OK").held
    assert not same("g", "w", "OK", "OK ").held


dial_makers: st.SearchStrategy[Callable[[], Dial]] = st.sampled_from([lambda: TWINS[0], lambda: TWINS[1]])


@given(st.lists(st.builds(lambda make: make(), dial_makers), max_size=4))
def test_there_is_a_claim_for_each_dial_in_order(dials: Sequence[Dial]) -> None:
    assert [claim.what for claim in judge("g", dials)] == [f"{d.source} → {d.target.name}" for d in dials]

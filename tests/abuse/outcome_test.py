"""Each bound that an attack goes over is named, and nothing else is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from attacks.good_caller import Calls
from attacks.health_prober import Health
from attacks.outcome import HEADINGS, Drain, Outcome, line, markdown
from attacks.table import TABLE, Row
from attacks.world import MB

ROW = next(row for row in TABLE if row.newcomers and not row.kills_triton)


def good(row: Row = ROW, **more: Any) -> Outcome:
    """An attack of which nobody noticed anything, but for `more`."""
    outcome = Outcome(
        row,
        bound_bytes=500 * MB,
        good=Calls(seconds=[0.01] * 200),
        health=Health(probes=10, worst_secs=0.1),
        peak_bytes=400 * MB,
        recovered_secs=2.0,
        drain=Drain(exit_status=0, seconds=1.0),
    )
    return dataclasses.replace(outcome, **more)


def test_nothing_over_a_bound_is_no_problem() -> None:
    assert good().problems(timed=True) == []
    assert line(good())[-1] == "holds"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"good": Calls(seconds=[0.1, 0.2], lost=["gone"])}, "1 of 2 good calls lost: gone"),
        ({"good": Calls()}, "no good call was made"),
        ({"newcomers": Calls(seconds=[0.1], lost=["full"])}, "1 of 1 newcomers lost: full"),
        ({"health": Health(probes=3, wrong=["NOT_SERVING"])}, "1 of 3 probes failed: NOT_SERVING"),
        ({"peak_bytes": 501 * MB}, "memory 501 MiB, bound 500"),
        ({"recovered_secs": None, "missing": ["a", "b"]}, "not as before: a; b"),
        ({"died": "Killed"}, "the proxy ended by itself: Killed"),
        ({"drain": Drain(unanswered="late", exit_status=0)}, "a packet accepted before SIGTERM got no Ack: late"),
        ({"drain": Drain(not_accepted="full", exit_status=0)}, "no packet accepted before SIGTERM: full"),
        ({"drain": Drain(seconds=30)}, "SIGTERM did not end it within 30 s"),
        ({"drain": Drain(exit_status=137)}, "exit status 137 after SIGTERM"),
    ],
)
@pytest.mark.parametrize("timed", [False, True])
def test_what_is_over_a_bound_is_named(more: dict[str, Any], text: str, timed: bool) -> None:
    assert good(**more).problems(timed=timed) == [text]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        # Of 200 calls, 2 may be slower.
        ({"good": Calls(seconds=[0.1] * 197 + [1.5] * 3)}, "p99 1.50 s, bound 1"),
        ({"health": Health(probes=3, worst_secs=1.2)}, "health 1.20 s, bound 1"),
        ({"recovered_secs": 11.0}, "recovery 11.0 s, bound 10"),
    ],
)
def test_times_are_held_against_bounds_in_the_long_run_only(more: dict[str, Any], text: str) -> None:
    assert good(**more).problems(timed=True) == [text]
    assert good(**more).problems(timed=False) == []


def test_two_of_200_calls_may_be_slow() -> None:
    assert good(good=Calls(seconds=[0.1] * 198 + [1.5] * 2)).problems(timed=True) == []


def test_losses_while_triton_is_away_are_its_own() -> None:
    calls = Calls(seconds=[3.0], lost=["failed to connect"])
    assert good(ROW, good=calls, newcomers=calls, triton_died=True).problems(timed=True) == []


def test_the_table_has_a_cell_for_each_heading() -> None:
    text = markdown([good(died="one\n|two|")])
    first, _, last = text.splitlines()
    assert first.count("|") == last.count("|") == len(HEADINGS) + 1

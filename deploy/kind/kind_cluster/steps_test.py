from __future__ import annotations

import threading

import pytest

from kind_cluster.command import KindError
from kind_cluster.steps import Step, run_steps


def test_each_step_says_how_long_it_usually_takes_and_took() -> None:
    lines: list[str] = []
    ticks = iter([0.0, 1.5, 10.0, 10.25])
    steps = [Step("bread", "an hour", lambda: "2 loaves"), Step("butter", "", lambda: None)]
    run_steps(steps, tell=lines.append, clock=lambda: next(ticks))
    assert lines == [
        "[1/2] bread … (an hour)",
        "[1/2] bread: 2 loaves (1.5 s)",
        "[2/2] butter …",
        "[2/2] butter: done (0.2 s)",
    ]


def test_a_long_step_says_that_it_goes_on() -> None:
    lines: list[str] = []
    reminded = threading.Event()

    def tell(line: str) -> None:
        lines.append(line)
        if "still at it" in line:
            reminded.set()

    run_steps([Step("long", "", lambda: str(reminded.wait(30)))], tell=tell, remind=0.01)
    assert lines[1].startswith("[1/1] long … still at it after 0 s")
    assert lines[-1].startswith("[1/1] long: True")


def test_a_step_that_fails_ends_all() -> None:
    lines: list[str] = []

    def fail() -> None:
        raise KindError("no flour")

    with pytest.raises(KindError, match="no flour"):
        run_steps([Step("bread", "", fail), Step("butter", "", lambda: None)], tell=lines.append)
    assert lines == ["[1/2] bread …"]
    assert threading.active_count() == 1

from __future__ import annotations

import io
import re

from mm_scale import Deployment, Problem, RolloutBar


def deployment(state: str, desired: int, available: int, *problems: Problem) -> Deployment:
    return Deployment(
        "inference-server", "t", "n", state, desired, desired, desired, available, available, "1", tuple(problems)
    )


def test_the_bar_follows_a_rollout_to_its_end_and_stays() -> None:
    out = io.StringIO()
    bar = RolloutBar(out)
    bar(deployment("progressing", 2, 1))
    bar(deployment("progressing", 2, 1, Problem("Unschedulable", "0/3 nodes", "p")))
    bar(deployment("ready", 2, 2))
    shown = [line.rstrip() for line in re.split(r"[\r\n]+", out.getvalue()) if line.strip()]
    assert all(line.startswith("inference-server: ") for line in shown)
    assert any("1/2 available" in line and line.endswith("progressing") for line in shown)
    assert any("1/2 available" in line and line.endswith("progressing, Unschedulable") for line in shown)
    assert re.fullmatch(r"inference-server: 2/2 available \|[#█]+\| 00:\d\d, ready", shown[-1])
    assert out.getvalue().endswith("\n")


def test_each_rollout_has_a_bar_of_its_own() -> None:
    out = io.StringIO()
    bar = RolloutBar(out)
    bar(deployment("ready", 1, 1))
    first = out.getvalue()
    bar(deployment("progressing", 0, 1))
    bar(deployment("stopped", 0, 0))
    ends = out.getvalue()[len(first) :].splitlines()[-1]
    assert first.count("\n") == 1
    assert out.getvalue().count("\n") == 2
    assert "0/0 available" in ends
    assert ends.endswith("stopped")

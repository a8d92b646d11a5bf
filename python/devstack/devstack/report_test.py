from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack import report
from devstack.accuracy import Accuracy
from devstack.checks import Outcome
from devstack.report import Run


def _row(number: int, **more: Any) -> dict[str, Any]:
    timing = {"triton_infer_ms": 10.0 + number, "total_ms": 12.0 + number, "roundtrip_ms": 20.0 + number}
    return {"frame": number, "count": 1, "timing": timing, **more}


def _run() -> Run:
    return Run(
        rows=[_row(number) for number in range(5)],
        seconds=2.0,
        expected_frames=5,
        accuracy=Accuracy(found=100, missed=[(3, "car")], ious=[0.95] * 100),
        judged=True,
        outcomes=[Outcome("wrong API key", True, "gRPC UNAUTHENTICATED")],
        files=[Path("out/annotated.mp4")],
    )


def test_a_good_run_has_no_problems_and_the_summary_tells_all() -> None:
    run = _run()
    text = report.render(run)

    assert run.problems() == []
    for part in ("5 frames", "2.0 a second", "precision 1.000", "recall 0.990", "mean IoU 0.950", "UNAUTHENTICATED"):
        assert part in text
    assert "out/annotated.mp4" in text
    assert text.endswith("✓ all as it should be")
    assert "✗" not in text


def test_latencies_are_split_between_triton_and_proxy() -> None:
    triton, proxy, client = _run().latencies()
    assert (triton.p50, proxy.p50, client.p50) == (12.0, 2.0, 22.0)
    assert [triton.p95, proxy.p95] == pytest.approx([13.8, 2.0])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"outcomes": [Outcome("wrong API key", False, "was let in")]}, "wrong API key: was let in"),
        ({"rows": []}, "no frame was answered"),
        ({"rows": [_row(number) for number in (0, 1, 3, 2, 4)]}, "expected one for each of 5 frames, in order"),
        ({"expected_frames": 6}, "5 answers, expected one for each of 6 frames"),
        ({"rows": [*[_row(n) for n in range(4)], _row(4, error="Triton is down")]}, "frame 4: Triton is down"),
        ({"accuracy": Accuracy(found=99, wrong=[(7, "car")], ious=[1.0])}, "precision is 0.990, expected 1 or more"),
        ({"accuracy": Accuracy(found=99, wrong=[(7, "car")], ious=[1.0])}, "frame 7: car found where there is none"),
        ({"accuracy": Accuracy(found=9, missed=[(2, "bus")], ious=[1.0])}, "recall is 0.900"),
        ({"accuracy": Accuracy(found=1, ious=[0.8])}, "mean IoU is 0.800"),
    ],
)
def test_whatever_differs_is_reported_as_a_problem(change: dict[str, Any], problem: str) -> None:
    run = replace(_run(), **change)

    assert any(problem in entry for entry in run.problems())
    assert problem in report.render(run)
    assert report.render(run).endswith("✗ something differs from what it should be")


def test_accuracy_does_not_decide_about_ones_own_model() -> None:
    run = replace(_run(), accuracy=Accuracy(missed=[(0, "car")]), judged=False)
    assert run.problems() == []
    assert "not judged" in report.render(run)


def test_ones_own_video_has_no_truth_and_the_summary_says_so() -> None:
    assert "no truth to compare with" in report.render(replace(_run(), accuracy=None, expected_frames=None))

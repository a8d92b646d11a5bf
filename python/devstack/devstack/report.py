"""The demo's summary: what was measured, what was expected, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devstack.accuracy import Accuracy
from devstack.checks import Outcome

MINIMUM_PRECISION, MINIMUM_RECALL, MINIMUM_MEAN_IOU = 1.0, 0.99, 0.9
_WIDTH = 76
_GOOD, _BAD, _NOTE = "✓", "✗", "·"
_SHOWN = 5


@dataclass(frozen=True)
class Latencies:
    """Milliseconds per frame.

    Attributes:
        name: which part of the way.
        p50: half of the frames took no longer.
        p95: 95 of 100 took no longer.
    """

    name: str
    p50: float
    p95: float


@dataclass(frozen=True)
class Run:
    """What the demo saw.

    Attributes:
        rows: mm-client's line for each frame.
        seconds: from the first answer to the last.
        expected_frames: frames of the video; None where nobody counted them.
        accuracy: rows held against the truth; None where there is none.
        judged: whether the accuracy decides about success.
        outcomes: the other checks.
        files: what was written.
    """

    rows: Sequence[Mapping[str, Any]]
    seconds: float
    expected_frames: int | None
    accuracy: Accuracy | None
    judged: bool
    outcomes: Sequence[Outcome]
    files: Sequence[Path]

    @property
    def frames_per_second(self) -> float:
        """Answers per second, the first not counted."""
        return (len(self.rows) - 1) / self.seconds if self.seconds > 0 else 0.0

    @property
    def failed_frames(self) -> list[Mapping[str, Any]]:
        """Lines of the frames that were not inferred."""
        return [row for row in self.rows if "error" in row]

    def latencies(self) -> list[Latencies]:
        """Splits the time of each good frame, from the Ack's timing: Triton, the proxy's own part, and all of it.

        Returns:
            Nothing where no frame was good.
        """
        timings = [row["timing"] for row in self.rows if "error" not in row]
        if not timings:
            return []
        triton = np.array([timing.get("triton_infer_ms", 0.0) for timing in timings])
        total = np.array([timing.get("total_ms", 0.0) for timing in timings])
        round_trip = np.array([timing["roundtrip_ms"] for timing in timings])
        parts = (("in Triton", triton), ("in the proxy itself", total - triton), ("seen by the client", round_trip))
        return [
            Latencies(name, float(np.percentile(values, 50)), float(np.percentile(values, 95)))
            for name, values in parts
        ]

    def problems(self) -> list[str]:
        """Lists what is not as it should be; empty means success."""
        found = [f"{outcome.title}: {outcome.detail}" for outcome in self.outcomes if not outcome.passed]
        for row in self.failed_frames[:_SHOWN]:
            found.append(f"frame {row['frame']}: {row['error']}")
        if not self.rows:
            found.append("no frame was answered")
        numbers = [row["frame"] for row in self.rows]
        if self.expected_frames is not None and numbers != list(range(self.expected_frames)):
            found.append(f"{len(numbers)} answers, expected one for each of {self.expected_frames} frames, in order")
        if self.judged and self.accuracy is not None:
            found += _shortfalls(self.accuracy)
        return found


def _shortfalls(accuracy: Accuracy) -> list[str]:
    found = []
    for name, value, least in (
        ("precision", accuracy.precision, MINIMUM_PRECISION),
        ("recall", accuracy.recall, MINIMUM_RECALL),
        ("mean IoU", accuracy.mean_iou, MINIMUM_MEAN_IOU),
    ):
        if value < least:
            found.append(f"{name} is {value:.3f}, expected {least:g} or more")
    if not found:
        return []
    found += [f"frame {frame}: {label} found where there is none" for frame, label in accuracy.wrong[:_SHOWN]]
    return found + [f"frame {frame}: {label} missed" for frame, label in accuracy.missed[:_SHOWN]]


def render(run: Run) -> str:
    """Returns the summary for a person."""
    lines = ["", f" The main job, end to end {'─' * (_WIDTH - 26)}"]
    good = not run.failed_frames
    lines.append(
        f" {_GOOD if good else _BAD} {len(run.rows)} frames through the authenticated proxy to Triton and back, "
        f"{run.frames_per_second:.1f} a second"
    )
    lines += _accuracy_lines(run)
    lines += [f" {_GOOD if outcome.passed else _BAD} {outcome.title:<18}{outcome.detail}" for outcome in run.outcomes]
    lines += ["", f"   {'milliseconds per frame':<26}{'p50':>9}{'p95':>9}"]
    lines += [f"   {entry.name:<26}{entry.p50:>9.1f}{entry.p95:>9.1f}" for entry in run.latencies()]
    lines.append("   Several frames are under way at once, so the client waits longer than the parts take.")
    lines += ["", *(f"   {path}" for path in run.files), " " + "─" * (_WIDTH - 1)]
    problems = run.problems()
    lines += [f" {_BAD} {problem}" for problem in problems]
    lines.append(f" {_BAD} something differs from what it should be" if problems else f" {_GOOD} all as it should be")
    return "\n".join(lines)


def _accuracy_lines(run: Run) -> list[str]:
    accuracy = run.accuracy
    if accuracy is None:
        return [f" {_NOTE} your own video has no truth to compare with: look at the pictures"]
    mark = _NOTE if not run.judged else _BAD if _shortfalls(accuracy) else _GOOD
    note = "" if run.judged else " (your own model: not judged)"
    figures = f"precision {accuracy.precision:.3f}   recall {accuracy.recall:.3f}   mean IoU {accuracy.mean_iou:.3f}"
    return [f" {mark} {figures}   over {accuracy.found + len(accuracy.missed)} objects{note}"]

"""A rollout as a progress bar, in a notebook or a terminal."""

from __future__ import annotations

from typing import Any, TextIO

from tqdm import tqdm

from mm_scale.values import Deployment

_SHAPE = "{desc}: {n}/{total} available |{bar}| {elapsed}{postfix}"
_ENDS = ("ready", "stopped", "stuck")


class RolloutBar:
    """Shows how many of the wanted replicas are available: `client.wait(progress=RolloutBar())`.

    It stays as it is once the rollout is at its end; the next rollout has a bar of its own.

    Args:
        out: where to; None for standard error.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out
        self._bar: tqdm[Any] | None = None

    def __call__(self, found: Deployment) -> None:
        """Takes a change."""
        bar = self._bar or tqdm(desc=found.what, total=found.desired, file=self._out, bar_format=_SHAPE)
        # While it scales down there are more than are wanted.
        bar.total = max(found.desired, found.available)
        bar.n = found.available
        reasons = dict.fromkeys(problem.reason for problem in found.problems)
        bar.set_postfix_str(", ".join([found.state, *reasons]))
        if found.state in _ENDS:
            bar.close()
        self._bar = None if found.state in _ENDS else bar

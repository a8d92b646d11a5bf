"""What commands that `bazel run` starts have in common."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTED = 128


def user_path(text: str) -> Path:
    """Reads a path as the user means it: from where they stand, which is not where Bazel runs us."""
    return Path(os.environ.get("BUILD_WORKING_DIRECTORY", ".")).absolute() / Path(text).expanduser()


def leave_on_signals() -> None:
    """Turns the first SIGINT, SIGTERM or SIGHUP into SystemExit with 128 + its number, and ignores those that follow.

    What was brought up is taken down on the way out, and a second Ctrl-C does not cut that short.
    """
    for number in _SIGNALS:
        signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(_INTERRUPTED + number)

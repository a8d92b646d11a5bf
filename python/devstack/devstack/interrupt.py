"""Ctrl-C, SIGTERM and SIGHUP as an orderly way out."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 128


def leave_on_signals() -> None:
    """Turns the first such signal into SystemExit with status 128 + its number, and ignores those that follow.

    What was brought up is taken down on the way out, and a second Ctrl-C does not cut that short.
    """
    for number in _SIGNALS:
        signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(INTERRUPTED + number)

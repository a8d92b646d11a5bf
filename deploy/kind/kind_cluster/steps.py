"""Long work in named steps, with times."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_REMIND_SECONDS = 30.0


@dataclass(frozen=True)
class Step:
    """One piece of work.

    Attributes:
        title: what it makes or does.
        usual: how long that takes, for the user; "" where it is quick.
        action: does it and returns a word about what came of it, or None.
    """

    title: str
    usual: str
    action: Callable[[], str | None]


def say(text: str) -> None:
    """Writes a line of progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def run_steps(
    steps: Sequence[Step],
    *,
    tell: Callable[[str], None] = say,
    clock: Callable[[], float] = time.monotonic,
    remind: float = _REMIND_SECONDS,
) -> None:
    """Does one step after another and says when each begins, that it goes on, and how long it took.

    Args:
        steps: what is to be done; an exception of one ends all.
        tell: takes each line.
        clock: seconds.
        remind: seconds between the lines that say that a step goes on.
    """
    for number, step in enumerate(steps, start=1):
        begun = clock()
        head = f"[{number}/{len(steps)}] {step.title}"
        tell(f"{head} …" + (f" ({step.usual})" if step.usual else ""))
        done = threading.Event()

        def keep_telling(head: str = head, begun: float = begun, done: threading.Event = done) -> None:
            while not done.wait(remind):
                tell(f"{head} … still at it after {clock() - begun:.0f} s")

        teller = threading.Thread(target=keep_telling, daemon=True)
        teller.start()
        try:
            word = step.action()
        finally:
            done.set()
            teller.join()
        tell(f"{head}: {word or 'done'} ({clock() - begun:.1f} s)")

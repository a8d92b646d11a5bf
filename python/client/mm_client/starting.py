"""Saying that Triton is being started, while a command waits for its first answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mm_client_api import TritonClient, TritonClientError, TritonStarting

# A command that has its answer within this time asks nothing more.
FIRST_SECS = 3.0
_ASK_SECS = 2.0
# Between two lines.
_SAY_SECS = 10.0


@contextmanager
def announcing_start(
    client: TritonClient,
    say: Callable[[str], object],
    *,
    first_secs: float = FIRST_SECS,
    ask_secs: float = _ASK_SECS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """While the block lasts and no Triton is running, say for how long; and once, when one is.

    Args:
        client: asked for the list of models, which wakes nothing.
        say: prints a line.
        first_secs: nothing is asked before, in seconds.
        ask_secs: between two questions.
        clock: seconds that only grow.
    """
    over = threading.Event()
    began = clock()

    def ask() -> None:
        said_at: float | None = None
        wait = first_secs
        while not over.wait(wait):
            wait = ask_secs
            try:
                client.models()
            except TritonStarting:
                now = clock()
                if said_at is None or now - said_at >= _SAY_SECS:
                    said_at = now
                    say(f"Triton is starting: {now - began:.0f} s")
                continue
            except (TritonClientError, ValueError, RuntimeError):
                # The command itself says what is wrong; the last two are those of a client that was closed meanwhile.
                return
            if said_at is not None:
                say(f"Triton is ready, after {clock() - began:.0f} s")
            return

    thread = threading.Thread(target=ask, name="mm-client-starting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()

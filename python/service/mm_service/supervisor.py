"""What must not end silently: threads that a server can't do without, and the process itself once it is to end.

A thread that dies takes its duty with it: nobody would look for lapsed rights any more, or read another call. The
process then ends at once, with a sentence, and whatever supervises it (Kubernetes, systemd) starts a new one.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

DIED_STATUS = 3
_LOG = logging.getLogger(__name__)


def end_with_any_thread() -> None:
    """Ends the process with `DIED_STATUS` when any of its threads dies of an exception."""
    threading.excepthook = _end


def end_within(secs: float) -> None:
    """Ends the process after so long, whatever hangs; where it hung goes to standard error.

    Args:
        secs: from now.
    """
    faulthandler.dump_traceback_later(secs, exit=True)


class TerminationSignal:
    """SIGTERM or SIGINT, also one that comes before it is waited for; to be made in the main thread.

    Python runs a handler only when the main thread is done waiting, which a signal does not end that comes just before
    the wait, or to another thread; a pipe does.
    """

    def __init__(self) -> None:
        """From now on these signals do nothing but end `wait`."""
        self._came, comes = os.pipe()
        os.set_blocking(comes, False)
        signal.set_wakeup_fd(comes)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Waits until one of them has come."""
        os.read(self._came, 1)


def _end(died: threading.ExceptHookArgs) -> None:
    name = "unknown" if died.thread is None else died.thread.name
    # Neither the exception's text nor a line's values: they might hold a credential.
    frames = "".join(traceback.format_tb(died.exc_traceback))
    _LOG.critical(
        "the thread %s died of %s, and nobody does its work any more: the process ends with status %d\n%s",
        name,
        died.exc_type.__name__,
        DIED_STATUS,
        frames,
    )
    logging.shutdown()
    sys.stdout.flush()
    os._exit(DIED_STATUS)


class Workers(ThreadPoolExecutor):
    """A pool whose threads all run from the start: `submit` never needs one that the machine can't give any more."""

    def __init__(self, count: int, name: str, *, setting: str) -> None:
        """Starts the threads.

        Args:
            count: how many.
            name: what theirs begin with.
            setting: the setting by which an operator gets by with fewer, for the error's text.

        Raises:
            RuntimeError: the machine does not give so many.
        """
        super().__init__(count, thread_name_prefix=name)
        started = threading.Barrier(count + 1)
        try:
            # Each waits for all others, so that each takes a thread of its own.
            for _ in range(count):
                self.submit(started.wait)
            started.wait()
        except RuntimeError:
            started.abort()
            self.shutdown(wait=False)
            raise RuntimeError(
                f"the machine gives no {count} threads for {name}; raise its limit of processes (pids), or "
                f"lower {setting}"
            ) from None

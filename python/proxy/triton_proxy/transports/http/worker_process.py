"""A process that works for the proxy, on one question at a time; its death is nobody else's."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, cast

from triton_proxy.protocols.rest import frames

# How often a question that waits for its turn looks whether anybody still waits for it.
_LOOK_SECS = 0.1


class WorkerDied(Exception):  # noqa: N818 - what happened
    """The process ended before it had answered; the next question starts another.

    Attributes:
        by: the signal that ended it; None where none is known.
    """

    def __init__(self, by: int | None) -> None:
        """Says by what.

        Args:
            by: see there.
        """
        super().__init__("the process ended" if by is None else f"the process ended by {signal.Signals(by).name}")
        self.by = by


class NobodyWaits(Exception):  # noqa: N818 - what happened
    """The call that asked is over."""


class WorkerProcess:
    """The process. It starts with the first question, and anew where it has died of one."""

    def __init__(self, module: str, *, most_bytes: int | None = None, answer_secs: float | None = None) -> None:
        """Starts nothing yet.

        Args:
            module: what it runs.
            most_bytes: of an answer; one with more ends it. None for any number.
            answer_secs: longest time until an answer begins; None for any. No measure of work: a busy machine takes
                its time.
        """
        self._module = module
        self._most_bytes = most_bytes
        self._answer_secs = answer_secs
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether it works on a question."""
        return self._lock.locked()

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._closed = True
            self._end()

    def ask(
        self,
        over: Callable[[], bool],
        make: Callable[[], bytes],
        died: Callable[[WorkerDied], None] = lambda _: None,
    ) -> bytes:
        """Asks it; waits for the answer.

        Args:
            over: says whether nobody waits for the answer any more.
            make: makes the question, in its turn.
            died: hears that it died of the question, before the next has its turn.

        Raises:
            NobodyWaits: nobody waits for the answer any more.
            WorkerDied: it died of the question.
        """
        # A caller that leaves gives its memory back at once: what waits for it here must not keep what it sent.
        while not self._lock.acquire(timeout=_LOOK_SECS):
            if over():
                raise NobodyWaits
        try:
            process = self._process or self._start()
            # Standard input and output are pipes.
            frames.write(cast(BinaryIO, process.stdin), make())
            return self._answer(cast(BinaryIO, process.stdout))
        except (OSError, EOFError):
            error = WorkerDied(self._end())
            died(error)
            raise error from None
        finally:
            self._lock.release()

    def _answer(self, source: BinaryIO) -> bytes:
        if self._answer_secs is not None:
            waiting = select.poll()
            waiting.register(source, select.POLLIN)
            if not waiting.poll(self._answer_secs * 1000):
                raise EOFError
        return frames.read(source, self._most_bytes)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise EOFError
        # What decides where Python and its modules come from must be the same there; nothing else matters.
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(each for each in sys.path if each)
        self._process = subprocess.Popen(  # noqa: S603 - this program, and no word of a caller's
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,  # Ctrl-C is for the proxy, which drains.
        )
        return self._process

    def _end(self) -> int | None:
        """Ends it.

        Returns:
            The signal that it had died of before; None where that is none.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        process.communicate()
        return None if process.returncode in {0, -signal.SIGKILL} else -process.returncode

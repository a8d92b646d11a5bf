"""What a worker's supervisor asks it, over a socket that both have from the worker's start.

The supervisor sends the number of a question and a word, the worker the same number and its answer. The worker's end
closes with it, and the supervisor's with that: a worker without a supervisor ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

_LOG = logging.getLogger(__name__)
# What a worker says first, once it serves.
SERVES = b"serves"


class Answering:
    """The worker's end, in a thread of its own."""

    def __init__(self, connection: Connection, answers: Mapping[bytes, Callable[[], bytes]]) -> None:
        """Nothing is answered yet.

        Args:
            connection: to the supervisor.
            answers: by the word of the question.
        """
        self._connection = connection
        self._answers = answers
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Says that the worker serves, and answers from now on."""
        self._connection.send_bytes(SERVES)
        self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                number, _, word = self._connection.recv_bytes().partition(b" ")
                self._connection.send_bytes(number + b" " + self._answers[word]())
        except (EOFError, OSError):
            _LOG.error("the supervisor is gone; this worker drains and ends")
            os.kill(os.getpid(), signal.SIGTERM)


class Asking:
    """The supervisor's end; for one thread after the other."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is asked yet.

        Args:
            connection: to the worker.
        """
        self._connection = connection
        self._lock = threading.Lock()
        self._number = 0

    def hand(self, what: bytes) -> None:
        """Gives the worker what it has, before anything else.

        Args:
            what: as the worker reads it.
        """
        with contextlib.suppress(OSError):  # It has ended, which `serves` says.
            self._connection.send_bytes(what)

    def serves(self) -> bool:
        """Waits until the worker serves, or has ended; whether it serves."""
        try:
            return self._connection.recv_bytes() == SERVES
        except (EOFError, OSError):
            return False

    def ask(self, word: bytes, timeout_secs: float) -> bytes | None:
        """Asks the worker.

        Args:
            word: the question.
            timeout_secs: longest time for others' questions and the answer.

        Returns:
            The answer; None where none came.
        """
        deadline = time.monotonic() + timeout_secs
        if not self._lock.acquire(timeout=timeout_secs):
            return None
        try:
            self._number += 1
            self._connection.send_bytes(b"%d %s" % (self._number, word))
            while self._connection.poll(max(deadline - time.monotonic(), 0)):
                # Of an earlier question nobody waits for the answer any more.
                number, _, answer = self._connection.recv_bytes().partition(b" ")
                if int(number) == self._number:
                    return answer
            return None
        except (EOFError, OSError):
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        """Asks no more."""
        with self._lock:
            self._connection.close()

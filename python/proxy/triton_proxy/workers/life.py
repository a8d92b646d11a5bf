"""One worker's life, as its supervisor sees it: started, asked, and started again where it dies."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from triton_proxy.workers.child import COMMAND
from triton_proxy.workers.questions import Asking

_LOG = logging.getLogger(__name__)
# Before another start, where one did not come to serve; then twice as long each time.
_FIRST_PAUSE_SECS = 0.5
_LONGEST_PAUSE_SECS = 30.0


@dataclass(frozen=True)
class Handed:
    """What a worker gets at its start.

    Attributes:
        index: which one it is, from 0.
        sequence_key: see `Worker`.
        tally: descriptor of the table of principals.
        output: descriptor of the lock of standard output.
        bind: makes the sockets on which it listens, by their settings.
    """

    index: int
    sequence_key: bytes
    tally: int
    output: int
    bind: Callable[[], Mapping[str, socket.socket]]


class Life:
    """Runs one worker until it is ended, however often it dies. All of it from any thread.

    Its sockets are the supervisor's as well: connections that come while a worker is started again wait there for it.
    Where it does not come to serve they are closed, and other workers get what comes.

    Attributes:
        away: whether it does not serve.
        restarts: how often it was started again.
        failed: whether it did not come to serve at the very start, and is not started again.
        began: is set once it serves, or has ended without.
    """

    def __init__(self, handed: Handed, died: Callable[[int], None]) -> None:
        """Starts it.

        Args:
            handed: what it gets.
            died: hears that the worker has ended, before another is started; with its index.
        """
        self._handed = handed
        self._died = died
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._sockets: dict[str, socket.socket] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: Asking | None = None
        self.away = True
        self.restarts = 0
        self._status = 0
        self.failed = False
        self.began = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"worker-{handed.index}", daemon=True)
        self._thread.start()

    def ask(self, word: bytes, timeout_secs: float) -> bytes | None:
        """Asks it; see `Asking.ask`.

        Args:
            word: the question.
            timeout_secs: longest time to wait.
        """
        asking = self._asking
        return asking.ask(word, timeout_secs) if asking is not None and not self.away else None

    def end(self) -> None:
        """Has it drain, and starts no other."""
        with self._lock:
            self._ending.set()
            self._close_sockets()
            if self._process is not None:
                self._process.terminate()

    def wait(self) -> int:
        """Waits for its end; its exit status."""
        self._thread.join()
        return self._status

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECS
        while True:
            with self._lock:
                if self._ending.is_set():
                    return
                process, asking = self._start()
            served = asking.serves()
            if served:
                _LOG.info("worker %d serves, process %d", self._handed.index, process.pid)
                pause = _FIRST_PAUSE_SECS
                self.away = False
                self.began.set()
            status = process.wait()
            with self._lock:
                self._status = status
                self._process = None
            self.away = True
            asking.close()
            self.failed = not self.began.is_set()
            if self.failed or self._ending.is_set():
                self.began.set()
                return
            self.restarts += 1
            self._died(self._handed.index)
            _LOG.error("worker %d ended with status %d; another is started", self._handed.index, status)
            if not served:
                with self._lock:
                    self._close_sockets()
                self._ending.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECS)

    def _start(self) -> tuple[subprocess.Popen[bytes], Asking]:
        handed = self._handed
        self._sockets = self._sockets or dict(handed.bind())
        ours, theirs = socket.socketpair()
        descriptors = {name: listener.fileno() for name, listener in self._sockets.items()}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this program, as it was started
                [sys.executable, *sys.orig_argv[1:], COMMAND, str(theirs.fileno())],
                # What a terminal sends to all of its group, the supervisor passes on.
                process_group=0,
                pass_fds=(theirs.fileno(), handed.tally, handed.output, *descriptors.values()),
            )
        self._asking = Asking(Connection(ours.detach()))
        self._asking.hand(
            json.dumps(
                {
                    "index": handed.index,
                    "sequence_key": handed.sequence_key.hex(),
                    "tally": handed.tally,
                    "output": handed.output,
                    "sockets": descriptors,
                }
            ).encode()
        )
        return self._process, self._asking

    def _close_sockets(self) -> None:
        for listener in self._sockets.values():
            listener.close()
        self._sockets = {}

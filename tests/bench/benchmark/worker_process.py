"""The handle on a client's process."""

from __future__ import annotations

import dataclasses
import json
import select
import subprocess
import sys
from pathlib import Path

from benchmark.tally import TIMEOUT_SECS, Load, Outcome
from benchmark.triton_ways import AUTHORITY
from devstack.proxy import python_environment

_PATIENCE_SECS = 3 * TIMEOUT_SECS


class WorkerError(Exception):
    """The process ended or does not answer."""


class Worker:
    """A running `benchmark.worker`.

    Args:
        way: a key of `worker.WAYS`.
        address: HOST:PORT that it calls.
        key: the API key that it shows.
        log: file that gets what it says on standard error.
        authority: the file of the authority that the other end's certificate comes from; None for plaintext.
    """

    def __init__(self, way: str, address: str, key: str, log: Path, authority: Path | None = None) -> None:
        self._log = log
        tls = {} if authority is None else {AUTHORITY: str(authority)}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "benchmark.worker", way, address],
                env={**python_environment(), "DOMINO_USER_API_KEY": key, **tls},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C is for the process that started it all.
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def run(self, load: Load) -> Outcome:
        """Lets it play a load.

        Raises:
            WorkerError: no answer.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(dataclasses.asdict(load)) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"the client's process has ended; see {self._log}") from error
        if not select.select([self._process.stdout], [], [], load.seconds + _PATIENCE_SECS)[0]:
            raise WorkerError("the client's process does not answer")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the client's process has ended; see {self._log}")
        return Outcome(**json.loads(line))

    def stop(self) -> None:
        """Kills it; there is nothing to lose."""
        self._process.kill()
        self._process.communicate()

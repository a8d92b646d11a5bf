"""The handle on an attacker's process."""

from __future__ import annotations

import json
import select
import subprocess
import sys

from attacks.world import Target
from devstack.proxy import python_environment

_START_SECS = 30.0
_STOP_SECS = 20.0


class AttackError(Exception):
    """An attack did not begin, or broke: what was measured shows nothing."""


class Attacker:
    """A running attack, with all its connections gone when it is stopped; a context manager stops it.

    Args:
        name: of the row.
        target: what it is aimed at.
    """

    def __init__(self, name: str, target: Target) -> None:
        self._name = name
        self._stopped: dict[str, int] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "attacks.attacker", name, target.encode()],
            env=python_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the process that started it all.
            start_new_session=True,
            text=True,
        )

    def wait_begun(self) -> None:
        """Waits until the attack has begun.

        Raises:
            AttackError: it did not.
        """
        if not self._line().get("begun"):
            raise AttackError(f"{self._name} did not begin")

    def stop(self) -> dict[str, int]:
        """Ends it; returns what it counted.

        Raises:
            AttackError: it broke, so that it may have been no attack at all.
        """
        if self._stopped is None:
            self._process.terminate()
            counts = self._line()
            self._process.wait(_STOP_SECS)
            if counts.get("broken"):
                raise AttackError(f"{self._name} broke; its traceback is on standard error")
            self._stopped = counts
        return self._stopped

    def _line(self) -> dict[str, int]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _START_SECS)[0]:
            raise AttackError(f"the process of {self._name} does not answer")
        line = self._process.stdout.readline()
        if not line:
            raise AttackError(f"the process of {self._name} has ended; its traceback is on standard error")
        answer: dict[str, int] = json.loads(line)
        return answer

    def __enter__(self) -> Attacker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

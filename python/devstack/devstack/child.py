"""Processes and folders that are gone when the process that asked for them is, however that one ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

_SUPERVISOR = Path(__file__).with_name("supervisor.py")


def _supervised(
    command: Sequence[str], *, env: Mapping[str, str], log: Path | None, remove: Sequence[str], grace: float
) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", str(_SUPERVISOR), "--grace", str(grace)]
    for pattern in remove:
        words += ["--remove", pattern]
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log is not None else None
        return subprocess.Popen(  # noqa: S603  the command is the caller's own
            [*words, "--", *command],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )


class Child:
    """A running command, ended with everything it started when this process lets go of it, exits or is killed.

    Args:
        command: program and arguments.
        env: its environment, all of it.
        log: file that its standard output and error are appended to; None passes them on to standard error.
        remove: globs of what is removed after it ended.
        grace: seconds between SIGTERM and SIGKILL.

    Raises:
        OSError: the command could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path | None = None,
        remove: Sequence[str] = (),
        grace: float = 5.0,
    ) -> None:
        self._supervisor = _supervised(command, env=env, log=log, remove=remove, grace=grace)
        self._output = cast("IO[bytes]", self._supervisor.stdout)
        self._held = cast("IO[bytes]", self._supervisor.stdin)
        try:
            first = self._output.readline()
        except BaseException:
            self.stop()
            raise
        if not first:
            self._supervisor.wait()
            raise OSError(f"cannot start {command[0]}; expected an executable file. See {log or 'standard error'}")
        self.pid = int(first)

    def poll(self) -> int | None:
        """Returns the exit status, 128 + N after signal N, or None while it runs."""
        return self._supervisor.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the command to end by itself.

        Args:
            timeout: longest wait in seconds; None waits for ever.

        Returns:
            The exit status, 128 + N after signal N.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        return self._supervisor.wait(timeout)

    def kill(self) -> None:
        """Sends SIGKILL to the command and all it started, and waits until they are gone."""
        if self._supervisor.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """Sends SIGTERM, after the grace SIGKILL to all that is left, and waits until all is gone and removed."""
        self._held.close()
        self._supervisor.wait()
        self._output.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def unused_folder(prefix: str) -> Path:
    """Names a folder for temporary files that does not exist yet.

    A program that knows the name before the folder exists can remove it whenever a signal comes; `tempfile.mkdtemp`
    gives the name only after.

    Args:
        prefix: beginning of the folder's name.

    Returns:
        Its path.
    """
    return Path(tempfile.gettempdir()) / f"{prefix}{uuid.uuid4().hex}"


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Makes an empty folder that is removed at the end, also when this process is killed.

    Args:
        prefix: beginning of the folder's name.

    Yields:
        The folder.
    """
    folder = unused_folder(prefix)
    try:
        folder.mkdir(0o700)
        with Child(["sleep", "infinity"], env={"PATH": os.defpath}, remove=[str(folder)], grace=0):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Runs a command that cannot outlive the process that asked for it; `child` starts this script.

    python -I supervisor.py [--grace SECONDS] [--remove GLOB]... -- COMMAND...

When standard input ends, because the parent closed it or died in whatever way, the command gets SIGTERM and, after the
grace, all of its process group SIGKILL. Then the script removes everything that the globs match. It sits in a session
of its own, so that Ctrl-C in a terminal reaches the parent alone, which decides what to do.
Standard output carries one line, the process id of the command, and this script exits as the command did.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import glob
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_REMOVE_ATTEMPTS = 20


def _die_with_parent() -> None:
    """Covers the one death that standard input cannot tell: that of this script itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], parent: int | None, timeout: float | None) -> None:
    """Returns when the process has ended, the parent has closed its pipe, or `timeout` seconds have passed."""
    ended = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        if parent is not None:
            poller.register(parent, select.POLLIN | select.POLLHUP)
        poller.poll(None if timeout is None else timeout * 1000)
    finally:
        os.close(ended)


def _end_descendants() -> None:
    """Kills and reaps what the command left behind; as a subreaper this process has become its parent."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def _remove(patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for _ in range(_REMOVE_ATTEMPTS):
            found = glob.glob(pattern)
            for path in found:
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
            if not glob.glob(pattern):
                break
            # A process that is on its way out may still be writing into the folder.
            time.sleep(0.05)


def main() -> int:
    """Runs the command to its end or to the end of standard input.

    Returns:
        The command's exit status, 128 + N when signal N ended it.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grace", type=float, default=5.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--remove", action="append", default=[], help="what to remove at the end")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        process = subprocess.Popen(  # noqa: S603  the command is the caller's own
            arguments.command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0, preexec_fn=_die_with_parent
        )
        os.write(sys.stdout.fileno(), b"%d\n" % process.pid)
        _wait(process, sys.stdin.fileno(), None)
        if process.poll() is None:
            process.terminate()
            _wait(process, None, arguments.grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        _end_descendants()
    finally:
        _remove(arguments.remove)
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main())

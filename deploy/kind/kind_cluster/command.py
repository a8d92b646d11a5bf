"""Runs other programs; says in full what failed."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 25


class KindError(Exception):
    """Something that keeps a cluster from being made or removed; the text says what to do."""


def run(
    words: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    text: str | None = None,
    timeout: float | None = None,
) -> str:
    """Runs a program to its end.

    Args:
        words: program and arguments.
        env: variables added to this process's own.
        folder: where it runs; None is here.
        text: its standard input; None is an empty one.
        timeout: longest it may take, in seconds; None waits for ever.

    Returns:
        What it printed to standard output.

    Raises:
        KindError: it could not be started, took too long or failed; with the last lines that it printed.
    """
    shown = shlex.join(map(str, words))
    try:
        done = subprocess.run(  # noqa: S603  the words are this package's own
            [str(word) for word in words],
            env={**os.environ, **(env or {})},
            cwd=folder,
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except OSError as error:
        raise KindError(f"cannot run {words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise KindError(f"took longer than {timeout:.0f} s: {shown}") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL_LINES:])
        raise KindError(f"failed with exit status {done.returncode}: {shown}\n{tail}")
    return done.stdout


def succeeds(words: Sequence[str | Path], *, timeout: float = 30) -> bool:
    """Whether a program can be run and ends with exit status 0 within `timeout` seconds."""
    try:
        run(words, timeout=timeout)
    except KindError:
        return False
    return True

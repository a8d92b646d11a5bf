"""Policies in files, which are read anew when they change."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from mm_service.policy_yaml import MAX_BYTES, PolicyError
from mm_service.watched_file import WatchedFile

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_SECS = 1.0


class Rules(Protocol):
    """A policy of any kind."""

    @property
    def rules(self) -> Sequence[Any]:
        """Its rules."""
        ...


P = TypeVar("P", bound=Rules)


def watched_policy(
    what: str, path: str, parse: Callable[[str], P], clock: Callable[[], float] = time.monotonic
) -> WatchedFile[P]:
    """The policy in a file, which is looked at once a second at most.

    Args:
        what: the kind of policy, as log and errors shall call it.
        path: of the file.
        parse: reads a policy's text; raises PolicyError where it can't be used.
        clock: the time in seconds.

    Raises:
        PolicyError: it can't be used; the text names the file.
    """
    try:
        file = WatchedFile(
            [path],
            lambda: (_read(path),),
            lambda contents: _parsed(contents[0], parse),
            error=PolicyError,
            changed=lambda policy: _LOG.info("%s %s has changed: %d rules", what, path, len(policy.rules)),
            failed=lambda text: _LOG.error("%s %s can't be used; the one before stays in force: %s", what, path, text),
            look_every_secs=_LOOK_EVERY_SECS,
            clock=clock,
        )
    except PolicyError as error:
        raise PolicyError(f"{what} {path} can't be used:\n{error}") from None
    _LOG.info("%s %s: %d rules", what, path, len(file.current.rules))
    return file


def read_policy(path: str, parse: Callable[[str], P]) -> P:
    """Reads a policy from a file.

    Args:
        path: of the file.
        parse: reads a policy's text; raises PolicyError where it can't be used.

    Raises:
        PolicyError: it can't be read or used.
    """
    return _parsed(_read(path), parse)


def _read(path: str) -> bytes:
    try:
        # Without O_NONBLOCK, a pipe in the file's place would hold its reader up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path} can't be read ({error.strerror})") from None


def _parsed(raw: bytes, parse: Callable[[str], P]) -> P:
    try:
        return parse(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"line {line}: not UTF-8 text") from None

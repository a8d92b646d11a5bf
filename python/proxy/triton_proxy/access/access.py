"""Who may use which model: the policy file, and asking it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from domino_identity import Principal
from mm_service.watched_file import WatchedFile, WatchedFileStatistics
from triton_proxy.access.policy import Policy
from triton_proxy.access.policy_yaml import MAX_BYTES, PolicyError

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_SECS = 1.0


class Denied(Exception):  # noqa: N818 - named after the gRPC status it becomes
    """The principal may not use the model: PERMISSION_DENIED. The text is fit for the caller."""


@dataclass(frozen=True)
class AccessStatistics:
    """The policy's file.

    Attributes:
        due: whether the next check looks at it.
        policy: what became of its changes; None where there is none.
    """

    due: bool
    policy: WatchedFileStatistics | None


class Access:
    """Decides whether a principal may use a model. It never asks Triton, and so can't tell what is there."""

    def __init__(self, file: WatchedFile[Policy] | None) -> None:
        """Takes its policy from a file.

        Args:
            file: the policy, looked at only when it is used; None allows every valid principal every model.
        """
        self._file = file

    @property
    def due(self) -> bool:
        """Whether the next check looks at the file, which may take its time."""
        return self._file is not None and self._file.due

    def statistics(self) -> AccessStatistics:
        """What became of the policy's file so far."""
        return AccessStatistics(self.due, None if self._file is None else self._file.statistics())

    def check(self, principal: Principal, model: str, version: str) -> None:
        """Returns where the principal may use the model; looks at the policy's file where that is due.

        Args:
            principal: who is calling.
            model: the model's name, as the caller gave it.
            version: its version, as the caller gave it; "" leaves the choice to Triton.

        Raises:
            Denied: no rule allows it.
        """
        if self._file is not None:
            self._file.look()
            self.check_nowait(principal, model, version)

    def check_nowait(self, principal: Principal, model: str, version: str) -> None:
        """As `check`, by the policy as it was when its file was last looked at."""
        if self._file is None:
            return
        policy = self._file.current
        if not policy.allows(principal, model, version):
            raise Denied(policy.denial(principal, model, version))


def policy_file(path: str, clock: Callable[[], float] = time.monotonic) -> WatchedFile[Policy]:
    """The policy in a file, which is looked at once a second at most.

    Args:
        path: of the file.
        clock: the time in seconds.

    Raises:
        PolicyError: it can't be used; the text names the file.
    """
    try:
        file = WatchedFile(
            [path],
            lambda: (_read(path),),
            lambda contents: _parsed(*contents),
            error=PolicyError,
            changed=lambda policy: _LOG.info("access policy %s has changed: %d rules", path, len(policy.rules)),
            failed=lambda text: _LOG.error(
                "access policy %s can't be used; the one before stays in force: %s", path, text
            ),
            look_every_secs=_LOOK_EVERY_SECS,
            clock=clock,
        )
    except PolicyError as error:
        raise PolicyError(f"access policy {path} can't be used:\n{error}") from None
    _LOG.info("access policy %s: %d rules", path, len(file.current.rules))
    return file


def read_policy(path: str) -> Policy:
    """Reads a policy from a file.

    Args:
        path: of the file.

    Raises:
        PolicyError: it can't be read or used.
    """
    return _parsed(_read(path))


def _read(path: str) -> bytes:
    try:
        # Without O_NONBLOCK, a pipe in the file's place would hold its reader up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path} can't be read ({error.strerror})") from None


def _parsed(raw: bytes) -> Policy:
    try:
        return Policy.parse(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"line {line}: not UTF-8 text") from None

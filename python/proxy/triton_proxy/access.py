"""Who may use which model: the policy file, and asking it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from domino_identity import Principal
from triton_proxy.access_policy import Policy
from triton_proxy.access_yaml import MAX_BYTES, PolicyError

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_SECS = 1.0

# By what a changed file is known. A ConfigMap's file is a link to another file after each change.
_Signature = tuple[int, int, int, int, int]


class Denied(Exception):  # noqa: N818 - named after the gRPC status it becomes
    """The principal may not use the model: PERMISSION_DENIED. The text is fit for the caller."""


class Access:
    """Decides whether a principal may use a model. It never asks Triton, and so can't tell what is there."""

    def __init__(self, file: PolicyFile | None) -> None:
        """Takes its policy from a file.

        Args:
            file: the policy; None allows every valid principal every model.
        """
        self._file = file

    @property
    def due(self) -> bool:
        """Whether the next check looks at the file, which may take its time."""
        return self._file is not None and self._file.due

    def check(self, principal: Principal, model: str, version: str, *, look: bool = True) -> None:
        """Returns where the principal may use the model.

        Args:
            principal: who is calling.
            model: the model's name, as the caller gave it.
            version: its version, as the caller gave it; "" leaves the choice to Triton.
            look: whether to look at the file when that is due.

        Raises:
            Denied: no rule allows it.
        """
        if self._file is None:
            return
        policy = self._file.policy if look else self._file.standing
        if not policy.allows(principal, model, version):
            raise Denied(policy.denial(principal, model, version))


class PolicyFile:
    """A policy that follows its file: it is looked at once a second at most, and only when the policy is used.

    A new file that can't be used changes nothing, nor does the file's disappearance: the policy read last stays, and
    the log says so once.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file.

        Args:
            path: of the file.
            clock: the time in seconds.

        Raises:
            PolicyError: it can't be used; the text names the file.
        """
        self._path = path
        self._clock = clock
        self._looking = threading.Lock()
        self._next_look = clock() + _LOOK_EVERY_SECS
        self._signature = _signature(path)
        try:
            self._policy = read_policy(path)
        except PolicyError as error:
            raise PolicyError(f"access policy {path} can't be used:\n{error}") from None
        self._trouble: str | None = None
        _LOG.info("access policy %s: %d rules", path, len(self._policy.rules))

    @property
    def due(self) -> bool:
        """Whether `policy` would look at the file."""
        return self._clock() >= self._next_look and not self._looking.locked()

    @property
    def standing(self) -> Policy:
        """The policy as it was when the file was last looked at."""
        return self._policy

    @property
    def policy(self) -> Policy:
        """The policy as of a second ago at most."""
        # Whoever comes while another thread looks goes on with the policy that stands.
        if self._clock() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._next_look = self._clock() + _LOOK_EVERY_SECS
                self._look()
            finally:
                self._looking.release()
        return self._policy

    def _look(self) -> None:
        # Before reading: what is written meanwhile makes another signature.
        signature = _signature(self._path)
        if signature is not None and signature == self._signature:
            return
        self._signature = signature
        try:
            self._policy = read_policy(self._path)
        except PolicyError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _LOG.error("access policy %s can't be used; the one before stays in force: %s", self._path, error)
        else:
            self._trouble = None
            _LOG.info("access policy %s has changed: %d rules", self._path, len(self._policy.rules))


def _signature(path: str) -> _Signature | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_policy(path: str) -> Policy:
    """Reads a policy from a file.

    Args:
        path: of the file.

    Raises:
        PolicyError: it can't be read or used.
    """
    try:
        # Without O_NONBLOCK, a pipe in the file's place would hold whoever asks.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path} can't be read ({error.strerror})") from None
    try:
        return Policy.parse(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"line {line}: not UTF-8 text") from None

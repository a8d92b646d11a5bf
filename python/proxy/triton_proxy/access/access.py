"""Who may use which model: the policy file, and asking it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from domino_identity import Principal
from mm_service.policy_file import watched_policy
from mm_service.watched_file import WatchedFile, WatchedFileStatistics
from triton_proxy.access.policy import Policy


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

    def look(self) -> None:
        """Looks at the policy's file where that is due."""
        if self._file is not None:
            self._file.look()

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
    return watched_policy("access policy", path, Policy.parse, clock)

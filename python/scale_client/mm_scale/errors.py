"""What can go wrong, each with the exit status of `mm-scale`. Texts say what to do."""

from __future__ import annotations

from typing import ClassVar

from mm_client_api.html import lines


class ScaleError(Exception):
    """Base of everything that the client raises on purpose.

    Attributes:
        exit_status: of the command `mm-scale`.
    """

    exit_status: ClassVar[int] = 1

    def _repr_html_(self) -> str:
        return lines(f"{type(self).__name__}: {self}".splitlines())


class RejectedError(ScaleError):
    """The service, or Kubernetes behind it, refuses the request as it is."""


class ConflictError(ScaleError):
    """The Deployment has changed since the version that the change was for."""


class StuckError(ScaleError):
    """A rollout gets no further, for the reasons that Kubernetes gives; what was asked for still stands."""


class WaitTimeoutError(ScaleError):
    """A rollout has not come to its end in the time that was given; it goes on."""


class UsageError(ScaleError):
    """An argument or setting that can't be used; nothing was asked for."""

    exit_status = 2


class NotAuthenticatedError(ScaleError):
    """The service does not know the credential."""

    exit_status = 3


class DeniedError(ScaleError):
    """The caller may not do that."""

    exit_status = 3


class UnavailableError(ScaleError):
    """The service, or something that it needs, does not answer.

    Attributes:
        retry_after_secs: when it makes sense to ask again.
    """

    exit_status = 4

    def __init__(self, text: str, retry_after_secs: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_secs = retry_after_secs

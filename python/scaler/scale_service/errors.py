"""Why something was not done, in the statuses that every transport knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mm_service.status import Code, Status
from scale_service.cluster import ConflictError, KubernetesError
from scale_service.policy import Denied

T = TypeVar("T")


class OperationError(Exception):
    """It was not done.

    Attributes:
        status: why; its text is fit for the caller.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


def permitted(check: Callable[[], None]) -> None:
    """Asks the policy, and turns its denial into a status."""
    try:
        check()
    except Denied as error:
        raise failure(Code.PERMISSION_DENIED, str(error)) from None


def asked_kubernetes(ask: Callable[..., T], *arguments: Any) -> T:
    """Asks the API server, and turns its refusal into a status."""
    try:
        return ask(*arguments)
    except ConflictError as error:
        raise failure(Code.ABORTED, f"{error}; look at the status and ask again") from None
    except KubernetesError as error:
        if error.status in (400, 422):
            raise failure(Code.INVALID_ARGUMENT, str(error)) from None
        if error.status == 403:
            raise failure(
                Code.FAILED_PRECONDITION,
                f"{error}; the service's Role or the cluster's admission does not allow it; ask the operator",
            ) from None
        if error.status == 404:
            raise failure(Code.NOT_FOUND, str(error)) from None
        raise OperationError(Status(Code.UNAVAILABLE, str(error), retry_after_secs=5.0)) from None


def failure(code: Code, text: str) -> OperationError:
    """The error with a status of this code and text."""
    return OperationError(Status(code, text))

"""The trailing metadata beside the status that a call ends with, on gRPC whatever serves it."""

from __future__ import annotations

from mm_service.status import Status
from multimodal_contract import NOT_ACCEPTED, RETRY_AFTER_MS, STARTING


def trailing_metadata(status: Status, *, resend: bool) -> tuple[tuple[str, str], ...]:
    """Metadata by which a client library knows that, and when, it may send again what has no answer.

    Args:
        status: how the call ends.
        resend: whether what has no answer was not accepted.
    """
    if not resend:
        return ()
    if status.retry_after_secs is None:
        return (NOT_ACCEPTED,)
    hint = RETRY_AFTER_MS, str(max(1, round(status.retry_after_secs * 1000)))
    return (NOT_ACCEPTED, hint, STARTING) if status.starting else (NOT_ACCEPTED, hint)

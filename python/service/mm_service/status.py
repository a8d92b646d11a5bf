"""Why a call or an inference ends, as every transport can tell it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Code(enum.IntEnum):
    """The canonical status codes, by gRPC's names and numbers (https://grpc.io/docs/guides/status-codes)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class Status:
    """How the proxy itself ends a call.

    Attributes:
        code: the status.
        text: its details, fit for the caller; "" for OK.
        retry_after_secs: when it makes sense to try again; None where that is not known.
        starting: whether what is asked for is being started, which takes its time: it makes sense to go on trying.
    """

    code: Code
    text: str = ""
    retry_after_secs: float | None = None
    starting: bool = False


OK = Status(Code.OK)

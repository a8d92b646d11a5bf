"""HTTP's status for each of gRPC's, and the body that says why."""

from __future__ import annotations

import math

from mm_service.status import Code, Status

# Where Triton's own HTTP server has a status for it, that one (http_server.cc, HttpCodeFromError).
HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


def error_fields(status: Status) -> list[tuple[str, str]]:
    """Header fields beside an error's body."""
    fields = [("content-type", "application/json")]
    if status.code is Code.UNAUTHENTICATED:
        fields.append(("www-authenticate", "Bearer"))  # RFC 9110, 11.6.1
    if status.retry_after_secs is not None:
        fields.append(("retry-after", str(max(1, math.ceil(status.retry_after_secs)))))
    return fields

"""What gRPC makes of deadlines, trailers, and what comes instead of them.

Sources: gRPC's pages "gRPC over HTTP2" and "http-grpc-status-mapping".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import unquote

import grpc

from triton_proxy.triton.direct import frames

# What the header for a deadline has digits for, in milliseconds and in seconds.
_LONGEST_MS = LONGEST_SECS = 99_999_999
_STATUSES = {code.value[0]: code for code in grpc.StatusCode}
_RESETS = {
    frames.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    frames.CANCEL: grpc.StatusCode.CANCELLED,
    frames.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_HTTP_STATUSES = {
    b"400": grpc.StatusCode.INTERNAL,
    b"401": grpc.StatusCode.UNAUTHENTICATED,
    b"403": grpc.StatusCode.PERMISSION_DENIED,
    b"404": grpc.StatusCode.UNIMPLEMENTED,
    b"429": grpc.StatusCode.UNAVAILABLE,
    b"502": grpc.StatusCode.UNAVAILABLE,
    b"503": grpc.StatusCode.UNAVAILABLE,
    b"504": grpc.StatusCode.UNAVAILABLE,
}


def timeout(secs: float) -> bytes:
    """The value of `grpc-timeout`, for up to LONGEST_SECS."""
    # Rounded up, as grpc does: the server is not to give up before us.
    millis = max(math.ceil(secs * 1000), 1)
    return b"%dm" % millis if millis <= _LONGEST_MS else b"%dS" % (millis // 1000)


def of_trailers(fields: Mapping[bytes, bytes]) -> tuple[grpc.StatusCode, str] | None:
    """The failure that trailers state, and the server's words; None for none."""
    given = fields.get(b"grpc-status", b"")
    code = _STATUSES.get(int(given) if given.isdigit() else -1, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:
        return None
    return code, unquote(fields.get(b"grpc-message", b"").decode("ascii", "replace"))


def of_http(status: bytes) -> grpc.StatusCode:
    """What an HTTP status stands for that is not 200: no gRPC server answers so."""
    return _HTTP_STATUSES.get(status, grpc.StatusCode.UNKNOWN)


def of_reset(error: int) -> grpc.StatusCode:
    """What an error of RST_STREAM stands for."""
    return _RESETS.get(error, grpc.StatusCode.INTERNAL)

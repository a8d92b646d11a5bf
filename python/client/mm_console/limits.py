"""What every request and every answer is subject to: a bound for uploads, and headers for the browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from mm_console.problems import Problem

_App = Callable[[Any, Any, Any], Awaitable[None]]
_MIB = 1024 * 1024
# Nothing comes from elsewhere, and no script or style stands in a page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class SafeHeaders:
    """Adds the headers to each answer."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def check_size(request: Request, most_mb: int) -> None:
    """Refuse an upload before it is read.

    Args:
        request: its head says how many bytes follow.
        most_mb: most MiB of a request.

    Raises:
        Problem: it is larger, or does not say.
    """
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal():
        raise Problem(
            "The upload does not say how large it is.",
            "A Content-Length, as browsers send it.",
            "Send it from the page.",
            411,
        )
    if int(declared) > most_mb * _MIB:
        raise Problem(
            f"The upload has {int(declared) / _MIB:.1f} MiB.",
            f"At most {most_mb} MiB.",
            "Send a smaller or shorter file, or start the console with --max-upload-mb (MM_CONSOLE_MAX_UPLOAD_MB).",
            413,
        )

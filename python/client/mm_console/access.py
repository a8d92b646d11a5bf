"""Decides which callers get in: those with the key that the console printed, or those that Domino's proxy names.

A console acts with somebody's credentials, so a stranger that reaches its port must get nothing: no page, no answer.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mm_console.problems import Problem

# Domino's proxy sets it on each request to an App: the name of the person that opens it, or Anonymous.
VIEWER_HEADER = "domino-username"
_ANONYMOUS = "Anonymous"
_BYTES = 32


class Access:
    """Decides about each request.

    Attributes:
        key: opens the console once; empty where Domino names the viewers.
        form_token: has to come with whatever changes something; pages of other origins cannot read it.
    """

    def __init__(self, viewers: Sequence[str] = (), port: int = 0) -> None:
        """Make new secrets; they end with the process.

        Args:
            viewers: Domino's names of the users that may open it, as in the header; empty for the key.
            port: tells the cookies of several consoles on one machine apart.
        """
        self._viewers = frozenset(viewers) - {_ANONYMOUS}
        self.key = "" if viewers else secrets.token_urlsafe(_BYTES)
        self._session = secrets.token_urlsafe(_BYTES)
        self.form_token = secrets.token_urlsafe(_BYTES)
        self.cookie = f"mm_console_{port}"

    def welcome(self, request: Request) -> Response | None:
        """Return what answers a request that brings the key: the way on, with a cookie; None for any other.

        The cookie has no path, so that browsers send it below the console's own prefix only.
        """
        given = request.query_params.get("key", "")
        if not self.key or not _same(given, self.key):
            return None
        response = RedirectResponse("./", status_code=303)
        # Starlette takes any path for the console's; None leaves it to the browser (RFC 6265, default-path).
        path: Any = None
        response.set_cookie(self.cookie, self._session, httponly=True, samesite="lax", path=path)
        return response

    def check(self, request: Request) -> None:
        """Let a request pass.

        Raises:
            Problem: it is a stranger's.
        """
        if self.key:
            if _same(request.cookies.get(self.cookie, ""), self._session):
                return
            raise Problem(
                "This browser has not been let in.",
                "A visit with the key that the console printed when it started.",
                "Open the address that mm-client console printed, with ?key=… at its end.",
                403,
            )
        named = request.headers.getlist(VIEWER_HEADER)
        if len(named) != 1 or named[0] not in self._viewers:
            raise Problem(
                "You may not open this console.",
                "A Domino user that --viewers (MM_CONSOLE_VIEWERS) names.",
                "Ask the person that runs it, or run your own: it acts with the credentials of that person.",
                403,
            )

    def check_origin(self, request: Request) -> None:
        """Let a request pass that changes something, if a browser sent it from the console's own origin, or none did.

        Raises:
            Problem: it came from elsewhere.
        """
        if request.headers.get("sec-fetch-site") not in ("same-origin", "none") and not _own_origin(request):
            raise _foreign()

    def check_token(self, token: str) -> None:
        """Let a form pass that a page of the console sent.

        Raises:
            Problem: it is another's, or of a console that has ended.
        """
        if not _same(token, self.form_token):
            raise _foreign()


def _foreign() -> Problem:
    return Problem(
        "The request does not come from a page of this console.",
        "A form that this console has sent since it was started.",
        "Load the page again and repeat it.",
        403,
    )


def _own_origin(request: Request) -> bool:
    """Whether `Origin`, where a browser sends no Sec-Fetch-Site, is the host that was asked, or is lacking."""
    if "sec-fetch-site" in request.headers:
        return False
    origin = request.headers.get("origin")
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")} - {None}
    return origin is None or origin.partition("://")[2] in hosts


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())

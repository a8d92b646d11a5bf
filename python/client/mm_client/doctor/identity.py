"""The caller's credentials: where they are, when they end, whether the proxy takes them; and this machine's clock."""

from __future__ import annotations

import http.client
import math
import ssl
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mm_client.doctor.calls import Proxy
from mm_client.doctor.certificates import duration
from mm_client.doctor.finding import Finding, State, not_checked, ok, wrong, wrong_by
from mm_client_api import AuthenticationError, CallError, CredentialsError, EnvironmentCredentials
from mm_client_api.credentials import Metadata, time_in_token

_ENDPOINT = "$DOMINO_API_PROXY/access-token"
_RENEW = "renew it, or unset it where another place has a good one"
# As far as clocks may differ for tokens that are used until half a minute before their end.
_CLOCKS_DIFFER_SECS = 30.0
_SET_CLOCK = "a clock within 30 s of the server's: tokens and certificates end by it"


@dataclass(frozen=True)
class Found:
    """A credential of the environment.

    Attributes:
        place: where it was.
        metadata: it as it travels.
        at: when it was taken, in seconds since 1970.
    """

    place: str
    metadata: Metadata
    at: float

    @property
    def secret(self) -> str:
        """The key or token."""
        value = self.metadata[0][1]
        return value.partition(" ")[2] if self.is_token else value

    @property
    def is_token(self) -> bool:
        """Whether it is a token, and no API key."""
        return self.metadata[0][0] == "authorization"

    @property
    def ends(self) -> float:
        """When it ends, in seconds since 1970; infinity where that is not known."""
        return time_in_token(self.secret, "exp", math.inf) if self.is_token else math.inf

    @property
    def made(self) -> float:
        """When it was made; minus infinity where that is not known."""
        return time_in_token(self.secret, "iat", -math.inf) if self.is_token else -math.inf

    def __str__(self) -> str:
        if not self.is_token:
            return f"API key of {self.place}"
        left = self.ends - self.at
        if math.isinf(left):
            return f"token of {self.place}, which does not say when it ends"
        return f"token of {self.place}, which {'ends in' if left > 0 else 'ended'} {duration(left)}" + (
            "" if left > 0 else " ago"
        )


def find_credentials(environ: Mapping[str, str]) -> tuple[list[Found], Finding]:
    """Look at Domino's usual places; returns what they have, in the order of preference."""
    try:
        sources = EnvironmentCredentials(environ).sources()
    except CredentialsError as error:
        return [], _none(error)
    found, failures = [], []
    for place, source in sources:
        try:
            found.append(Found(place, tuple(source.metadata()), time.time()))
        except CredentialsError as error:
            failures.append(error)
    if not found:
        return [], _none(failures[0])
    words = "; then ".join(map(str, found)) + "".join(f"; but {error.detail}" for error in failures)
    ended = [each for each in found if each.ends <= each.at]
    if len(ended) == len(found):
        # The clock here may be wrong: the proxy has the last word.
        return found, Finding(
            State.WRONG, words, "a token that has not ended, or an API key", f"{_RENEW}: {_places(ended)}"
        )
    return found, ok(words, f"{_RENEW}: {_places(ended)}" if ended else "")


def _places(found: Sequence[Found]) -> str:
    return ", ".join(each.place for each in found)


def _none(error: CredentialsError) -> Finding:
    return wrong(
        error.detail,
        "an API key or a token in DOMINO_USER_TOKEN, $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY or "
        "Authorization",
        "in a Domino workspace they are there by themselves; elsewhere set DOMINO_USER_API_KEY to a key of Domino's "
        "account settings",
    )


def check_sign_in(proxy: Proxy, found: Sequence[Found]) -> tuple[Found | None, Finding]:
    """Ask the proxy for its smallest answer with each credential until it takes one; returns that."""
    refused: list[Found] = []
    last: AuthenticationError | None = None
    for each in found:
        try:
            proxy.note(each.metadata)
        except AuthenticationError as error:
            refused.append(each)
            last = error
        except CallError as error:
            found_wrong = wrong_by(error)
            if not error.expected:
                # No answer of gRPC's, or none that the contract has.
                found_wrong = wrong(error.detail, "the proxy, which speaks gRPC", "check the address (MM_ADDR)")
            return None, found_wrong
        else:
            words = f"the proxy takes the {'token' if each.is_token else 'API key'} of {each.place}"
            if not refused:
                return each, ok(words)
            return each, ok(f"{words}, and refuses that of {_places(refused)}", f"{_RENEW}: {_places(refused)}")
    if last is None:
        return None, not_checked("there are no credentials", blocks=True)
    return None, wrong(f"the proxy refuses what is in {_places(refused)}: {last.detail}", last.expected, last.advice)


def check_clock(url: str, context: ssl.SSLContext | None, found: Sequence[Found], timeout_secs: float) -> Finding:
    """Compare this machine's clock with the date of a server, or with when a fresh token was made.

    Args:
        url: of the proxy's REST; empty where it is not known.
        context: for https.
        found: the caller's credentials.
        timeout_secs: longest wait for the server.
    """
    reasons = []
    if url:
        try:
            ahead = _ahead_of_server(url, context, timeout_secs)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{url} does not tell the time ({_reason(error)})")
        else:
            return _by_clock(ahead, f"{url}'s")
    fresh = [each for each in found if each.place == _ENDPOINT and math.isfinite(each.made)]
    if fresh:
        return _by_clock(fresh[0].at - fresh[0].made, f"that of the token that {_ENDPOINT} made")
    early = [each for each in found if math.isfinite(each.made) and each.made - each.at > _CLOCKS_DIFFER_SECS]
    if early:
        return _by_clock(early[0].at - early[0].made, f"that by which the token of {early[0].place} was made")
    reasons.append(f"there is no token of {_ENDPOINT} that says when it was made")
    return not_checked(" and ".join(reasons), "set MM_HTTP_URL to the proxy's REST")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _ahead_of_server(url: str, context: ssl.SSLContext | None, timeout_secs: float) -> float:
    """Seconds by which the clock here is ahead of a server's."""
    address = urllib.parse.urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("expected http:// or https:// and a host")
    # http.client takes no web proxy of the environment.
    made: http.client.HTTPConnection
    if address.scheme == "https":
        made = http.client.HTTPSConnection(address.hostname, address.port, timeout=timeout_secs, context=context)
    else:
        made = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_secs)
    try:
        began = time.time()
        made.request("GET", f"{address.path.rstrip('/')}/v2/health/live")
        date = made.getresponse().getheader("date")
        here = (began + time.time()) / 2
    finally:
        made.close()
    if date is None:
        raise ValueError("it sends no date")
    # It names the second that has begun.
    return here - parsedate_to_datetime(date).timestamp() - 0.5


def _by_clock(ahead: float, of: str) -> Finding:
    if abs(ahead) <= _CLOCKS_DIFFER_SECS:
        return ok(f"within {max(1, math.ceil(abs(ahead)))} s of {of}")
    return wrong(
        f"the clock here is {duration(ahead)} {'ahead of' if ahead > 0 else 'behind'} {of}",
        _SET_CLOCK,
        "set it (NTP), or ask the operator of the other one to",
    )

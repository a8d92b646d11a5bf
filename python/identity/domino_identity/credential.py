"""Finding the one credential that a call's headers carry."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

API_KEY_HEADER = "x-domino-api-key"
TOKEN_HEADER = "authorization"  # noqa: S105 - the name of a header
# Domino's keys have 64 characters. A token of a user in hundreds of groups has 12 KiB and more.
LONGEST_BYTES = {API_KEY_HEADER: 256, TOKEN_HEADER: 16 * 1024}
_POSSIBLE = re.compile("[!-~]+")


class UnusableCredential(Exception):  # noqa: N818 - says what it is about
    """The headers carry no credential that could be asked about; the text is fit for the caller."""


class Kind(enum.Enum):
    """The two kinds of credential that Domino knows."""

    API_KEY = "api-key"
    TOKEN = "token"  # noqa: S105 - the name of a kind


@dataclass(frozen=True)
class Credential:
    """An API key or a bearer token.

    Attributes:
        kind: which of the two.
        secret: the key, or the token without its scheme; kept out of every text.
    """

    kind: Kind
    secret: str = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The HTTP header, name and value, that carries it to Domino."""
        if self.kind is Kind.API_KEY:
            return "X-Domino-Api-Key", self.secret
        return "Authorization", f"Bearer {self.secret}"


def from_headers(headers: Iterable[tuple[str, str | bytes]], *, noun: str = "header") -> Credential:
    """The call's credential; where both kinds are given, the API key, as the published clients send both.

    A bearer token that is none, but has an API key's form, is one: clients of OpenAI's API know no other header.

    Args:
        headers: names, in any case (RFC 9110, 5.1), and values; of gRPC the call's invocation metadata.
        noun: what the caller's protocol calls a header.

    Raises:
        UnusableCredential: there is none, one is repeated, or one can't be a key or token.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        # Outside ASCII, other letters become these in lower case.
        key = name.lower() if name.isascii() else name
        if key not in LONGEST_BYTES:
            continue
        if key in found:
            raise UnusableCredential(f"{noun} {key} is given more than once; send it once")
        found[key] = value if isinstance(value, str) else value.decode("latin-1")
    if API_KEY_HEADER in found:
        return Credential(Kind.API_KEY, _checked(noun, API_KEY_HEADER, found[API_KEY_HEADER].strip(" ")))
    if TOKEN_HEADER in found:
        scheme, _, token = found[TOKEN_HEADER].strip(" ").partition(" ")
        if scheme.lower() != "bearer":
            raise UnusableCredential(f"{noun} {TOKEN_HEADER} is not of the form 'Bearer <token>'")
        secret = _checked(noun, TOKEN_HEADER, token.strip(" "))
        # A JWT has dots (RFC 7519, 3), and Domino's keys have none.
        is_key = "." not in secret and len(secret) <= LONGEST_BYTES[API_KEY_HEADER]
        return Credential(Kind.API_KEY if is_key else Kind.TOKEN, secret)
    raise UnusableCredential(
        f"missing credentials: send {noun} {API_KEY_HEADER} (a Domino API key) or {TOKEN_HEADER} ('Bearer <token>')"
    )


def _checked(noun: str, key: str, value: str) -> str:
    longest = LONGEST_BYTES[key]
    if len(value) > longest:
        what = "a Domino API key" if key == API_KEY_HEADER else "a token"
        raise UnusableCredential(f"{noun} {key} holds {len(value)} bytes; expected {what} of at most {longest}")
    if not _POSSIBLE.fullmatch(value):
        raise UnusableCredential(f"{noun} {key} is empty or holds characters that no credential has")
    return value

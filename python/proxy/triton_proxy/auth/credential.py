"""Finding the one credential that a call's metadata carries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

API_KEY_HEADER = "x-domino-api-key"
TOKEN_HEADER = "authorization"  # noqa: S105 - the name of a header
# Domino's keys have 64 characters and its tokens a few KB; gRPC's own limit for all metadata is 16 KB.
_LONGEST = 16 * 1024


class UnusableCredential(Exception):  # noqa: N818 - says what it is about
    """The metadata carries no credential that could be asked about; the text is fit for the caller."""


@dataclass(frozen=True)
class Credential:
    """An API key or a bearer token, as a header for Domino.

    Attributes:
        header: the HTTP header that carries it to Domino.
        value: the header's value; kept out of every text.
    """

    header: str
    value: str = field(repr=False)


def from_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Credential:
    """The call's credential; where both kinds are given, the API key, as the published clients send both.

    Args:
        metadata: the call's invocation metadata.

    Raises:
        UnusableCredential: there is none, one is repeated, or one can't be a key or token.
    """
    found: dict[str, str] = {}
    for key, value in metadata:
        if key not in (API_KEY_HEADER, TOKEN_HEADER):
            continue
        if key in found:
            raise UnusableCredential(f"metadata {key} is given more than once; send it once")
        found[key] = value if isinstance(value, str) else value.decode("latin-1")
    if API_KEY_HEADER in found:
        return Credential("X-Domino-Api-Key", _checked(API_KEY_HEADER, found[API_KEY_HEADER].strip()))
    if TOKEN_HEADER in found:
        scheme, _, token = found[TOKEN_HEADER].strip().partition(" ")
        if scheme.lower() != "bearer":
            raise UnusableCredential(f"metadata {TOKEN_HEADER} is not of the form 'Bearer <token>'")
        return Credential("Authorization", "Bearer " + _checked(TOKEN_HEADER, token.strip()))
    raise UnusableCredential(
        f"missing credentials: send metadata {API_KEY_HEADER} (a Domino API key) or {TOKEN_HEADER} ('Bearer <token>')"
    )


def _checked(key: str, value: str) -> str:
    if not value or len(value) > _LONGEST or not all("!" <= character <= "~" for character in value):
        raise UnusableCredential(f"metadata {key} is empty, too long or holds characters that no credential has")
    return value

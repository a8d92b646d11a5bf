"""Addresses of cameras without their secrets: passwords stand before an @, tokens behind a question mark."""

from __future__ import annotations

import re

_MASK = "***"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+")


def is_address(text: str) -> bool:
    """Whether it is an address (RFC 3986: scheme, then ://) and not a path."""
    return "://" in text


def masked_address(address: str) -> str:
    """Return an address as it may be shown: its user, password, query and fragment are `***`.

    What stands before the last @ counts as user and password: people write passwords with / and @ in them unescaped.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    user, at, place = rest.rpartition("@")
    shown = re.split("[?#]", place, maxsplit=1)
    return f"{scheme}://{_MASK + at if user else ''}{shown[0]}{'?' + _MASK if len(shown) > 1 else ''}"


def masked(text: str) -> str:
    """Return a text with each address in it masked; an address ends at white space."""
    return _ADDRESS.sub(lambda found: masked_address(found.group()), text)

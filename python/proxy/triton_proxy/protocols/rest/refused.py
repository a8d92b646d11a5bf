"""A request that is not well-formed."""

from __future__ import annotations

_LONGEST = 80


class BodyRefused(Exception):  # noqa: N818 - what happens to it
    """The body does not say what is to be done. The text says what was wrong, what was expected, and what to do."""


class NotInJson(BodyRefused):
    """The answer can't be written as JSON, which the body asks for."""


def quoted(value: object) -> str:
    """A caller's value as an error shows it: bounded, and in quotes where it is a text."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object with {len(value)} members"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value if not isinstance(value, str) or len(value) <= _LONGEST else value[:_LONGEST] + "…")

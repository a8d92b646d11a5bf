"""Which field of an answer or a token names the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_LONGEST = 256


def first_name(fields: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The first of the fields that can be a name, or None.

    Args:
        fields: what was said about somebody.
        keys: names of fields, the best first.

    Returns:
        A text of at most 256 printable characters that is not blank: it can go into a log as it is.
    """
    for key in keys:
        name = fields.get(key)
        if isinstance(name, str) and len(name) <= _LONGEST and name.isprintable() and name.strip():
            return name
    return None

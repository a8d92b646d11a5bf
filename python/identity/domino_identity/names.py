"""Which field of an answer or a token names the user, and how what somebody else wrote is shown."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence

_LONGEST = 256
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 160
_SHOWN.maxtuple = _SHOWN.maxlist = 8


class UnusableName(Exception):  # noqa: N818 - says what it is about
    """A field that should name the user holds something else; the text is fit for the caller."""


def principal_name(fields: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The name in the first of the fields that is there; None where none is. A null and an empty text are not there.

    A field that is there but can't be a name ends the search: the next one may be a field that users fill themselves,
    and a user must not get another name by spoiling the first.

    Args:
        fields: what was said about somebody.
        keys: names of fields, the best first.

    Returns:
        A text of at most 256 printable characters that is not blank: it can go into a log as it is.

    Raises:
        UnusableName: see above.
    """
    for key in keys:
        name = fields.get(key)
        if name is None or name == "":
            continue
        if isinstance(name, str) and len(name) <= _LONGEST and name.isprintable() and name.strip():
            return name
        raise UnusableName(f"{key} can't be a name; expected 1 to {_LONGEST} printable characters, not all blank")
    return None


def shown(value: object) -> str:
    """A value that somebody else chose, as texts and logs show it: quoted, printable, of bounded length."""
    return _SHOWN.repr(value)

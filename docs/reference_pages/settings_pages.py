"""Settings, from the tables that the programs read them by."""

from __future__ import annotations

import re

from mm_service.settings import Setting, table
from reference_pages.pieces import code, entry, prose, words

# What no parser takes; the error says what it expects.
_IMPOSSIBLE = "\N{REPLACEMENT CHARACTER}"


def expected(row: Setting) -> str:
    """What a value has to be, in the words of its parser; "" where any text will do."""
    try:
        row.parse(_IMPOSSIBLE)
    except ValueError as error:
        # Of a file that is not there, the reason stands in brackets.
        return re.sub(r" \([^)]*\)$", "", str(error).removeprefix("expected "))
    return ""


def page(title: str, introduction: str, settings: type) -> str:
    """The page of a program's settings.

    Args:
        title: its heading.
        introduction: Markdown below it.
        settings: the dataclass of the rows.
    """
    rows = sorted(table(settings), key=lambda row: row.env)
    names = "|".join(row.env for row in rows)
    parts = [f"# {title}\n\n{introduction}\n\n"]
    for row in rows:
        default = "**required**" if row.default is None else f"default {code(row.default) or 'none'}"
        facts = [
            default,
            prose(expected(row)),
            f"needs {', '.join(map(code, row.needs))}" if row.needs else "",
            f"formerly {', '.join(map(code, row.formerly))}" if row.formerly else "",
        ]
        parts.append(entry(row.env, facts, words(f"(?:{names})", prose(row.description).replace("\\_", "_"))))
    return "".join(parts)

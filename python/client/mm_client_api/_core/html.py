"""How objects show themselves in a notebook: `_repr_html_` of IPython."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[str] = ()) -> str:
    """Return a table with lines of text above it; everything is escaped, since names and texts are the server's.

    Args:
        header: titles of the columns.
        rows: the cells.
        lines: the first is in bold.
    """
    above = "".join(
        f"<div>{'<b>' if not number else ''}{escape(line)}{'</b>' if not number else ''}</div>"
        for number, line in enumerate(lines)
    )
    titles = "".join(f"<th style='text-align:left'>{escape(title)}</th>" for title in header)
    body = "".join(
        f"<tr>{''.join(f'<td style=text-align:left>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"{above}<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"

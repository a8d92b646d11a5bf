"""How objects show themselves in a notebook: parts of `_repr_html_`, IPython's hook. All text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def lines(texts: Sequence[str]) -> str:
    """Return lines of text, the first in bold.

    Args:
        texts: of a server, perhaps; nothing in them becomes markup.
    """
    return "".join(
        f"<div><b>{escape(text)}</b></div>" if not number else f"<div>{escape(text)}</div>"
        for number, text in enumerate(texts)
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], above: Sequence[str] = ()) -> str:
    """Return a table with lines of text above it.

    Args:
        header: titles of the columns.
        rows: the cells; as `lines`.
        above: as `lines`.
    """
    titles = "".join(f"<th style='text-align:left'>{escape(title)}</th>" for title in header)
    body = "".join(
        f"<tr>{''.join(f'<td style=text-align:left>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"{lines(above)}<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"

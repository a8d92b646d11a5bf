"""Pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

# A line of a table ends a cell with it, HTML begins with the other.
_CELL = {"|": "\\|", "<": "&lt;", "\n": " "}


def code(text: str) -> str:
    """Text as code, whatever it holds."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""


def prose(text: str) -> str:
    """Text of the code as Markdown in which nothing begins a tag or ends a cell of a table."""
    # What is quoted as code stays as it is, but for the end of a cell.
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", "\\|").replace("\n", " ")
        if index % 2
        else re.sub(r"[|<\n]", lambda found: _CELL[found[0]], re.sub(r"([*_\[\]{}])", r"\\\1", part))
        for index, part in enumerate(parts)
    )


def words(name: str, text: str) -> str:
    """A sentence that names settings in capitals, with these as code."""
    return re.sub(rf"(?<![\w`]){name}(?![\w`])", lambda found: f"`{found[0]}`", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def block(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def entry(name: str, facts: Iterable[str], text: str, anchor: str = "", level: int = 3) -> str:
    """A heading of a name, which can be led to, with facts in a line and a text below.

    Args:
        name: as it is written in code.
        facts: Markdown, empty ones left out.
        text: Markdown.
        anchor: where links lead to; the name in lower case unless given.
        level: of the heading.
    """
    line = " · ".join(fact for fact in facts if fact)
    return f"{'#' * level} {code(name)} {{ #{anchor or name.lower()} }}\n\n{line}\n\n{text}\n\n"


def summary(thing: object) -> str:
    """The first sentence of a docstring."""
    return re.sub(r"\s+", " ", (inspect.getdoc(thing) or "").split("\n\n")[0])

"""Links and headings of Markdown, as a repository's viewer reads them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
# A span of code, or a link; a link's text may hold spans of code.
_INLINE = re.compile(
    r"(?P<code>(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`))|(?P<before>\]\()(?P<target>[^()\s]+)(?P<after>\))"
)
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*(?:\{\s*#(?P<anchor>[\w.-]+)\s*\})?\s*$")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")


@dataclass(frozen=True)
class Link:
    """A link of a page.

    Attributes:
        target: as it is written.
        line: number of the line, from 1.
    """

    target: str
    line: int


def external(target: str) -> bool:
    """Whether a link leads out of the repository."""
    return bool(_SCHEME.match(target))


def resolved(page: str, target: str) -> tuple[str, str]:
    """Where a link leads.

    Args:
        page: the page's path from the repository's root.
        target: of the link, a relative one.

    Returns:
        The path from the root, and the anchor or "".
    """
    path, _, anchor = target.partition("#")
    return (posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page), anchor


def _prose_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Lines with their numbers, and whether each is outside of blocks of code."""
    fence = ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        found = _FENCE.match(line)
        if fence:
            yield number, line, False
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif found:
            fence = found[1]
            yield number, line, False
        else:
            yield number, line, True


def links(text: str) -> list[Link]:
    """All links of a page; what stands in code is none."""
    found = []
    for number, line, is_prose in _prose_lines(text):
        if is_prose:
            found += [Link(each["target"], number) for each in _INLINE.finditer(line) if each["target"]]
    return found


def rewritten(text: str, target_for: Callable[[str], str]) -> str:
    """A page with other targets of its links.

    Args:
        text: of the page.
        target_for: gives the new target for one.
    """

    def replace(found: re.Match[str]) -> str:
        if found["target"] is None:
            return found[0]
        return f"{found['before']}{target_for(found['target'])}{found['after']}"

    return "".join(_INLINE.sub(replace, line) if is_prose else line for _, line, is_prose in _prose_lines(text))


def anchors(text: str) -> set[str]:
    """What a link to a part of a page may name: its headings', as GitHub makes them."""
    found: set[str] = set()
    for _, line, is_prose in _prose_lines(text):
        heading = _HEADING.match(line) if is_prose else None
        if heading:
            slug = heading["anchor"] or slugged(heading["text"])
            # A second heading of the same text gets a number.
            number = 0
            while (name := f"{slug}-{number}" if number else slug) in found:
                number += 1
            found.add(name)
    return found


def slugged(heading: str) -> str:
    """The anchor of a heading: lower case, without punctuation, a hyphen for each space."""
    text = re.sub(r"\]\([^)]*\)", "", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def title(text: str) -> str:
    """A page's first heading; "" where it has none."""
    for _, line, is_prose in _prose_lines(text):
        heading = _HEADING.match(line) if is_prose else None
        if heading:
            return heading["text"]
    return ""

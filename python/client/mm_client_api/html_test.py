from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.html import lines, table

# "\r" would be read as "\n", as HTML has it; the rest of these no text that is shown holds.
TEXT = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=20)
TAGS = {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}


class _Page(HTMLParser):
    """Reads a page back: its elements, and its texts by the element that holds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag, text = self.texts[-1]
        self.texts[-1] = (tag, text + data)

    def held(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@given(above=st.lists(TEXT, max_size=3), header=st.lists(TEXT, max_size=3), data=st.data())
def test_every_text_comes_back_as_text(above: list[str], header: list[str], data: st.DataObject) -> None:
    row = st.lists(TEXT, min_size=len(header), max_size=len(header))
    rows = data.draw(st.lists(row, max_size=3))
    page = _Page(table(header, rows, above))
    assert page.tags <= TAGS
    assert not page.open
    assert page.held("th") == header
    assert page.held("td") == [cell for row in rows for cell in row]
    assert page.held("b") == above[:1]
    assert page.held("div")[1:] == above[1:]


def test_the_first_line_is_in_bold() -> None:
    assert lines(["a <b>", "c & d"]) == "<div><b>a &lt;b&gt;</b></div><div>c &amp; d</div>"
    assert lines([]) == ""


def test_a_script_stays_text() -> None:
    shown = table(["<script>"], [["<img src=x onerror=alert(1)>"]], ['"><script>alert(1)</script>'])
    assert not re.search("<script|<img", shown)

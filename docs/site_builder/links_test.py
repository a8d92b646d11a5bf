from __future__ import annotations

import pytest

from site_builder.layout import LinkError, placed, places
from site_builder.links import Link, anchors, links, resolved, rewritten, slugged, title

PAGE = """# A page

One [link](a.md), `no [link](b.md)`, and [`code`](c.md#part), twice in [a](d.md) [line](e.md).

```sh
cat [not](f.md)
```

~~~
[not](g.md)
```
[not](h.md)
~~~
[last](https://example.com)
"""


def test_links_of_prose_are_found_and_those_in_code_are_not() -> None:
    assert links(PAGE) == [
        Link("a.md", 3), Link("c.md#part", 3), Link("d.md", 3), Link("e.md", 3), Link("https://example.com", 14),
    ]  # fmt: skip


def test_rewriting_changes_targets_and_nothing_else() -> None:
    assert rewritten(PAGE, lambda target: target) == PAGE
    changed = rewritten(PAGE, lambda target: f"x/{target}")
    assert [link.target for link in links(changed)] == [f"x/{link.target}" for link in links(PAGE)]
    assert "`no [link](b.md)`" in changed


@pytest.mark.parametrize(
    ("page", "target", "expected"),
    [
        ("README.md", "docs/tls.md", ("docs/tls.md", "")),
        ("docs/adr/0001.md", "../tls.md#when", ("docs/tls.md", "when")),
        ("docs/tls.md", "#when", ("docs/tls.md", "when")),
    ],
)
def test_a_link_is_resolved_from_its_page(page: str, target: str, expected: tuple[str, str]) -> None:
    assert resolved(page, target) == expected


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("What is reloaded, and when", "what-is-reloaded-and-when"),
        ("`mm-client` & co.", "mm-client--co"),
        ("1. The namespace", "1-the-namespace"),
    ],
)
def test_anchors_are_made_as_github_makes_them(heading: str, anchor: str) -> None:
    assert slugged(heading) == anchor


def test_anchors_of_equal_headings_are_numbered_and_given_ones_are_kept() -> None:
    text = "# A\n## b\n## b\n```\n## not\n```\n### `C` { #of-its-own }\n"
    assert anchors(text) == {"a", "b", "b-1", "of-its-own"}
    assert title(text) == "A"


def test_a_page_that_moves_keeps_its_links() -> None:
    where = places(["docs/tls.md", "docs/adr/0001.md"], ["a.ipynb"])
    assert placed("SECURITY.md", "[a](docs/tls.md#x) [b](#c)", where, "security.md") == "[a](tls.md#x) [b](#c)"
    assert placed("docs/adr/0001.md", "[a](../../SECURITY.md)", where, "adr/0001.md") == "[a](../security.md)"
    assert placed("docs/tls.md", "[a](../examples/notebooks/a.ipynb)", where, "tls.md") == "[a](notebooks/a.md)"


def test_a_link_to_a_table_of_the_code_leads_to_its_page() -> None:
    source = "../python/proxy/triton_proxy/settings.py"
    assert placed("docs/tls.md", f"[a]({source})", places([], []), "tls.md") == "[a](reference/proxy-settings.md)"


def test_a_link_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(
        LinkError, match=r"docs/tls\.md has a link to gone\.md, and the documentation has no docs/gone\.md"
    ):
        placed("docs/tls.md", "[a](gone.md)", places([], []), "tls.md")

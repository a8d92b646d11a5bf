"""The built documentation has all that the code has, and every link of the repository's pages leads somewhere."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from mm_service.settings import table
from reference_pages.commands_page import COMMANDS, subcommands
from reference_pages.errors_page import RAISED
from scale_service.settings import Settings as ScalerSettings
from site_builder.links import anchors, external, links, resolved
from triton_proxy.protocols.multimodal.reasons import Reason
from triton_proxy.protocols.rest.routes import ROUTES
from triton_proxy.settings import Settings as ProxySettings
from triton_proxy.telemetry.metrics_table import METRICS

SITE = Path("docs/site")
ROOT = Path()
PAGES = sorted(
    path
    for folder in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/*.md", "proto/*.md", "python/*/*.md")
    for path in ROOT.glob(folder)
)
# What a page loads by itself; a link that a person follows is none of it.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?P<src>[^\"]+)\"|<link\b[^>]*\bhref=\"(?P<href>[^\"]+)\""
)


@cache
def text_of(page: str) -> str:
    return (SITE / page).read_text(encoding="utf-8")


def ids_of(page: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', text_of(page)))


def test_every_setting_is_in_the_reference() -> None:
    for page, settings in (("proxy", ProxySettings), ("scaler", ScalerSettings)):
        wanted = {row.env.lower() for row in table(settings)}
        assert wanted
        assert wanted <= ids_of(f"reference/{page}-settings.html")


def test_every_metric_is_in_the_reference() -> None:
    assert {metric.name for metric in METRICS} <= ids_of("reference/metrics.html")


def test_every_command_is_in_the_reference() -> None:
    titles = [[command.name, *(f"{command.name} {words}" for words in subcommands(command))] for command in COMMANDS]
    wanted = {title.replace(" ", "-") for group in titles for title in group}
    assert {"mm-client-infer", "mm-publish-rollback", "mm-scale-resources-set", "triton_proxy-check-policy"} <= wanted
    assert wanted <= ids_of("reference/commands.html")


def test_every_route_and_every_reason_is_in_the_reference() -> None:
    routes = text_of("reference/rest.html")
    assert all(f"<code>{route.name}</code>" in routes for route in ROUTES)
    errors = text_of("reference/errors.html")
    assert all(f"<code>{reason.name}</code>" in errors for reason in Reason)


def test_every_status_of_a_raised_exception_has_a_section() -> None:
    assert {status.lower() for status in RAISED.values()} <= ids_of("reference/errors.html")


def test_pages_load_nothing_from_elsewhere() -> None:
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        loaded = [found["src"] or found["href"] for found in _LOADED.finditer(page.read_text(encoding="utf-8"))]
        assert loaded
        assert [target for target in loaded if external(target) or target.startswith("//")] == [], page


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in links(text):
        if external(link.target):
            continue
        where = f"{page}:{link.line} leads to {link.target}"
        target, anchor = resolved(page.as_posix(), link.target)
        assert (ROOT / target).exists(), f"{where}, which is not there, or not in the data of //docs:docs_test"
        if anchor:
            assert anchor in anchors((ROOT / target).read_text(encoding="utf-8")), (
                f"{where}, and there is no such heading"
            )

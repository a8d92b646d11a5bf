"""The page of models: which there are, what they take and give, and code that calls them."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from mm_client.catalogue import CatalogueEntry, read_catalogue
from mm_client_api import ModelStatus
from mm_console.console import Console
from mm_console.kinds import kinds_of
from mm_console.problems import Problem
from mm_console.snippets import Snippet, snippets_for


@dataclass(frozen=True)
class Row:
    """One version of a model, as the page shows it."""

    status: ModelStatus
    entry: CatalogueEntry
    kinds: list[str]


def models(console: Console, request: Request) -> Response:
    """List the models; `words` in the query narrows it down."""
    words = request.query_params.get("words", "").strip()
    entries, _ = read_catalogue(console.client, [f"*{word}*" for word in words.split()])
    rows = [Row(each.status, each, kinds_of(each.description) if each.description else []) for each in entries]
    return console.pages.page("models.html", {"here": "models", "rows": rows, "words": words})


def model(console: Console, request: Request) -> Response:
    """Show one version of a model."""
    name, version = (request.query_params.get(key, "") for key in ("name", "version"))
    entries, _ = read_catalogue(console.client, [_literal(name)])
    found = [each for each in entries if version in ("", each.status.version)]
    if not found:
        raise Problem(
            f"There is no model {name!r} of version {version or 'any'}, or you may not use it.",
            "A model of the list.",
            "Choose one of the page Models.",
            404,
        )
    entry = next((each for each in found[::-1] if each.status.ready), found[-1])
    snippets: list[Snippet] = []
    if entry.description is not None:
        snippets = snippets_for(entry.description, console.settings.addr, console.settings.http_url)
    context = {
        "here": "models",
        "entry": entry,
        "kinds": kinds_of(entry.description) if entry.description else [],
        "snippets": snippets,
    }
    return console.pages.page("model.html", context)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)

"""The routes of REST, from the tables that serve them."""

from __future__ import annotations

from reference_pages.pieces import code, prose, table
from scale_service import openapi as scaler
from triton_proxy.protocols.rest.routes import ROUTES

_INTRODUCTION = """# REST routes

`GET /openapi.json` has all of it for programs, the proxy's `GET /docs` for people. Every route wants a credential,
where nothing else is said.

## The proxy

On port 8080: `HTTP_LISTEN_ADDR`.

"""


def page() -> str:
    """Routes of the proxy and of the scale service."""
    proxy = ((code(route.name), prose(route.summary + (" No credential." if route.public else ""))) for route in ROUTES)
    scale = (
        (code(f"{method.upper()} {path}"), prose(operation.get("summary", "")))
        for path, operations in scaler.document()["paths"].items()
        for method, operation in operations.items()
    )
    return (
        _INTRODUCTION
        + table(("route", "what it does"), proxy)
        + "\n## The scale service\n\nOn port 8000: [Scaling](../scaling.md).\n\n"
        + table(("route", "what it does"), scale)
    )

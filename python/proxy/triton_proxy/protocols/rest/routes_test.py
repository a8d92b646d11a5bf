"""Which path leads where."""

from __future__ import annotations

import pytest

from triton_proxy.protocols.rest.infer_request import Target
from triton_proxy.protocols.rest.openapi import document, page
from triton_proxy.protocols.rest.routes import ROUTES, Action, find


@pytest.mark.parametrize(
    ("method", "path", "action", "target"),
    [
        ("GET", ("v2",), Action.SERVER_METADATA, Target("", "")),
        ("HEAD", ("v2", "health", "live"), Action.LIVE, Target("", "")),
        ("GET", ("v2", "models", "stats"), Action.STATISTICS, Target("", "")),
        ("GET", ("v2", "models", "m"), Action.MODEL_METADATA, Target("m", "")),
        ("GET", ("v2", "models", "a/b"), Action.MODEL_METADATA, Target("a/b", "")),
        ("POST", ("v2", "models", "m", "infer"), Action.INFER, Target("m", "")),
        ("POST", ("v2", "models", "m", "versions", "12", "infer"), Action.INFER, Target("m", "12")),
        ("POST", ("v2", "models", "infer", "versions", "1", "generate_stream"), Action.GENERATE_STREAM, None),
    ],
)
def test_a_path_leads_to_its_route(method: str, path: tuple[str, ...], action: Action, target: Target | None) -> None:
    found = find(method, path)
    assert found is not None
    assert found.route is not None
    assert found.route.action is action
    assert target is None or found.target == target


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("v2", "models"),
        ("v2", "models", ""),
        ("v2", "models", "m", "load"),
        ("v2", "models", "m", "versions", "x", "infer"),
        ("v2", "models", "m", "versions", "1" * 19, "infer"),
        ("v2", "models", "m", "infer", ""),
        ("V2",),
        ("v2", "repository", "models", "m", "load"),
        ("v2", "systemsharedmemory", "status"),
        ("{model}",),
    ],
)
def test_any_other_path_leads_nowhere(path: tuple[str, ...]) -> None:
    assert find("GET", path) is None
    assert find("POST", path) is None


def test_a_path_of_another_method_says_which() -> None:
    found = find("DELETE", ("v2", "models", "m", "infer"))
    assert found is not None
    assert (found.route, found.allowed) == (None, ("POST",))


def test_only_health_is_public() -> None:
    assert {route.template for route in ROUTES if route.public} == {"/v2/health/live", "/v2/health/ready"}


def test_the_document_has_every_route_and_every_reference_leads_somewhere() -> None:
    described = document()
    listed = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert listed == {(route.method, route.template) for route in ROUTES}
    for methods in described["paths"].values():
        for operation in methods.values():
            for reference in _references(operation):
                assert reference.removeprefix("#/components/schemas/") in described["components"]["schemas"]


def test_the_page_fetches_nothing() -> None:
    shown = page()
    assert all(f"<code>{route.template}</code>" in shown for route in ROUTES)
    assert not any(word in shown for word in ("src=", "href=", "http://", "https://", "@import", "<script"))


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [each for inner in value.values() for each in _references(inner)]
    return [each for inner in value for each in _references(inner)] if isinstance(value, list) else []

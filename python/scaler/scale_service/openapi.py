"""The REST API in OpenAPI 3.1, made of the table of routes."""

from __future__ import annotations

from typing import Any

from scale_service.rest_requests import PROGRESS_PATH, ROUTES, Route

_REASON = {
    "reason": {"type": ["string", "null"], "maxLength": 500, "description": "Why, for audit log and Event."},
    "resource_version": {
        "type": ["string", "null"],
        "description": "The Deployment must still have this one; otherwise 409.",
    },
    "dry_run": {"type": ["boolean", "null"], "description": "Do all but the change itself."},
}
_QUANTITIES = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        name: {"type": ["string", "number", "null"], "description": f"{words}; null leaves it as it is."}
        for name, words in (("cpu", "Cores, such as 500m"), ("memory", "Bytes, such as 32Gi"), ("gpu", "GPUs"))
    },
}
_BODIES = {
    "Scale": {
        "type": "object",
        "required": ["replicas"],
        "additionalProperties": False,
        "properties": {"replicas": {"type": "integer", "minimum": 0, "maximum": 9999}, **_REASON},
    },
    "Resources": {
        "type": "object",
        "required": ["resources"],
        "additionalProperties": False,
        "properties": {
            "container_name": {"type": ["string", "null"], "description": "The main one where it is left out."},
            "resources": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"requests": _QUANTITIES, "limits": _QUANTITIES},
            },
            **_REASON,
        },
    },
    "Change": {"type": "object", "additionalProperties": False, "properties": _REASON},
    "Error": {
        "type": "object",
        "required": ["error", "code"],
        "properties": {"error": {"type": "string"}, "code": {"type": "string", "description": "As gRPC names it."}},
    },
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "container_name": {"type": "string"},
    "pod": {"type": "string"},
    "tail_lines": {"type": "integer", "minimum": 1, "maximum": 5000, "default": 200},
    "since_seconds": {"type": "integer", "minimum": 1, "maximum": 86400},
    "timestamps": {"type": "boolean", "default": False},
}


def document() -> dict[str, Any]:
    """The description of all routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    paths[PROGRESS_PATH] = {
        "get": {
            "summary": "Follows a rollout: a line of JSON for each change, until done or stuck.",
            "parameters": [_what()],
            "responses": {"200": {"description": "Lines.", "content": {"application/x-ndjson": {}}}, **_errors()},
        }
    }
    paths["/healthz"] = {
        "get": {
            "summary": "Whether the service runs.",
            "security": [],
            "responses": {"200": {"description": "It does."}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Scale service", "version": "1"},
        "security": [{"apiKey": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": _BODIES,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Domino-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": route.summary}
    parameters = [_what()] if "{what}" in route.path else []
    parameters += [{"name": name, "in": "query", "schema": _PARAMETERS[name]} for name in route.query]
    if route.body:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same change under the same key is made once within ten minutes.",
                "schema": {"type": "string", "maxLength": 255},
            }
        )
        operation["requestBody"] = {
            "required": route.body != "Change",
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.body}"}}},
        }
    answer = {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {**operation, "parameters": parameters, "responses": {"200": answer, **_errors()}}


def _what() -> dict[str, Any]:
    return {
        "name": "what",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": ["inference-server", "proxy"]},
    }


def _errors() -> dict[str, Any]:
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"default": {"description": "It was not done.", "content": schema}}

"""The OpenAPI 3.1 document of all routes, and the page that shows it to people, both made from the table of routes."""

from __future__ import annotations

import html
import json
from typing import Any

from multimodal_contract.dtypes import TABLE
from triton_proxy.protocols.rest import openai_schemas
from triton_proxy.protocols.rest.infer import RestMessage
from triton_proxy.protocols.rest.infer_request import Target
from triton_proxy.protocols.rest.reply import JSON, Reply, Writer
from triton_proxy.protocols.rest.routes import ROUTES, Action, Route

_OBJECT = {"type": "object"}
_PARAMETERS = {
    "type": "object",
    "additionalProperties": {"type": ["boolean", "number", "string"]},
    "description": "Triton's request parameters.",
}
_DATATYPE = {"type": "string", "enum": [dtype.name for dtype in TABLE]}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_DATA = {"type": "array", "description": "Elements in row-major order, flat or nested."}
_NAMED = {"name": {"type": "string"}}
_MODEL_ANSWER = {"model_name": {"type": "string"}, "model_version": {"type": "string"}}
_SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "inputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape"],
                    "properties": {
                        **_NAMED,
                        "datatype": _DATATYPE,
                        "shape": _SHAPE,
                        "data": _DATA,
                        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
                    },
                },
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        **_NAMED,
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "binary_data": {"type": "boolean"},
                                "classification": {"type": "integer"},
                            },
                        },
                    },
                },
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": {"type": "string"},
            **_MODEL_ANSWER,
            "parameters": _OBJECT,
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape"],
                    "properties": {
                        **_NAMED,
                        "datatype": {"type": "string"},
                        "shape": _SHAPE,
                        "data": _DATA,
                        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
                    },
                },
            },
        },
    },
    "GenerateRequest": {
        "type": "object",
        "properties": {"id": {"type": "string"}, "parameters": _PARAMETERS},
        "description": "The model's inputs by name, each one value or a flat list; other members are parameters.",
    },
    "GenerateResponse": {
        "type": "object",
        "required": ["model_name", "model_version"],
        "properties": _MODEL_ANSWER,
        "description": "The model's outputs by name.",
    },
    "ServerMetadata": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            **_NAMED,
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "ModelMetadata": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            **_NAMED,
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": _OBJECT},
            "outputs": {"type": "array", "items": _OBJECT},
        },
    },
    "Live": {"type": "object", "required": ["live"], "properties": {"live": {"const": True}}},
    "Ready": {"type": "object", "required": ["ready"], "properties": {"ready": {"const": True}}},
    "Statistics": {
        "type": "object",
        "required": ["model_stats"],
        "properties": {"model_stats": {"type": "array", "items": _OBJECT}},
    },
    "Index": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                **_NAMED,
                "version": {"type": "string"},
                "state": {"type": "string"},
                "reason": {"type": "string"},
            },
        },
    },
    "Object": _OBJECT,
    **openai_schemas.SCHEMAS,
}
_REQUESTS = {
    Action.INFER: "InferRequest",
    Action.GENERATE: "GenerateRequest",
    Action.GENERATE_STREAM: "GenerateRequest",
    **openai_schemas.REQUESTS,
}
_ANSWERS = {
    Action.LIVE: "Live",
    Action.READY: "Ready",
    Action.SERVER_METADATA: "ServerMetadata",
    Action.MODEL_METADATA: "ModelMetadata",
    Action.MODEL_READY: "Object",
    Action.MODEL_CONFIG: "Object",
    Action.STATISTICS: "Statistics",
    Action.INFER: "InferResponse",
    Action.GENERATE: "GenerateResponse",
    Action.REPOSITORY_INDEX: "Index",
    Action.OPENAPI: "Object",
    **openai_schemas.ANSWERS,
}
_STREAMED = {Action.COMPLETIONS, Action.CHAT_COMPLETIONS}
_EVENTS = 'data: {"OUTPUT0": 1.5, "model_name": "m", "model_version": "1"}\n\n'
_FAILURES = {
    "400": "The request is wrong; the text says how.",
    "401": "The credentials are missing or not valid.",
    "403": "The access policy does not allow it.",
    "404": "Triton has no such model or version.",
    "408": "The body came too slowly.",
    "409": "Another Triton has taken over: begin the sequence anew.",
    "413": "The body is over MAX_MESSAGE_MB.",
    "415": "The Content-Encoding is not read here.",
    "429": "A limit of the caller's is reached; Retry-After says when to try again.",
    "500": "The model failed.",
    "501": "The model or the request needs what is not served.",
    "503": "Proxy, Triton or Domino can't answer now; try again.",
    "504": "Triton took longer than the request may.",
}


def document() -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Triton behind the proxy: REST v2, and OpenAI's API",
            "version": "2",
            "description": "KServe's open inference protocol as Triton speaks it, with the binary-data, generate and"
            " statistics extensions; and, below /v1, OpenAI's API for models of texts. Send a Domino API key or a"
            " bearer token with each request.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Domino-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"apiKey": []}, {"bearer": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": route.summary, "responses": {"200": _answer(route)}}
    if route.public:
        operation["security"] = []
        if route.action is Action.READY:
            operation["responses"]["503"] = _failure("Proxy or Triton does not serve.", "Error")
    else:
        form = "OpenAiError" if route.template.startswith("/v1/") else "Error"
        operation["responses"] |= {status: _failure(text, form) for status, text in _FAILURES.items()}
    names = [name for name in ("model", "version") if f"{{{name}}}" in route.template]
    if names:
        operation["parameters"] = [_path_parameter(name) for name in names]
    if route.action in _REQUESTS:
        content: dict[str, Any] = {"application/json": {"schema": _schema(_REQUESTS[route.action])}}
        if route.action is Action.INFER:
            content["application/octet-stream"] = {}
            operation.setdefault("parameters", []).append(
                {
                    "name": "Inference-Header-Content-Length",
                    "in": "header",
                    "description": "Bytes of JSON before the tensors' binary data; 0 where the body is the one input.",
                    "schema": {"type": "integer", "minimum": 0},
                }
            )
        # A tensor without elements is a body without bytes.
        operation["requestBody"] = {"required": route.action is not Action.INFER, "content": content}
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    pattern = {"pattern": "^[0-9]{1,18}$"} if name == "version" else {"minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", **pattern}}


def _answer(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.action in _ANSWERS:
        answer["content"] = {"application/json": {"schema": _schema(_ANSWERS[route.action])}}
        if route.action is Action.INFER:
            answer["content"]["application/octet-stream"] = {}
        if route.action in _STREAMED:
            answer["content"]["text/event-stream"] = {"example": openai_schemas.EVENTS}
    elif route.action is Action.GENERATE_STREAM:
        answer["content"] = {"text/event-stream": {"example": _EVENTS}}
    elif route.action is Action.DOCS:
        answer["content"] = {"text/html": {"schema": {"type": "string"}}}
    return answer


def _failure(text: str, form: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _schema(form)}}}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
code,pre{{font-family:monospace;background:#f3f3f3}}pre{{padding:.5rem;overflow:auto}}
summary{{cursor:pointer;padding:.3rem 0}}b{{display:inline-block;min-width:3.5rem}}</style></head>
<body><h1>{title}</h1><p>{description}</p><p>The document for programs: <code>/openapi.json</code></p>
{operations}<h2>Schemas</h2>{schemas}</body></html>
"""


def page() -> str:
    """The document as a page. It needs nothing else: no script, no font, no picture."""
    described = document()
    operations = [
        f"<details><summary><b>{method.upper()}</b> <code>{html.escape(path)}</code> "
        f"{html.escape(operation['summary'])}</summary><pre>{_pretty(operation)}</pre></details>"
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [
        f"<details><summary><code>{html.escape(name)}</code></summary><pre>{_pretty(schema)}</pre></details>"
        for name, schema in described["components"]["schemas"].items()
    ]
    return _PAGE.format(
        title=html.escape(described["info"]["title"]),
        description=html.escape(described["info"]["description"]),
        operations="\n".join(operations),
        schemas="\n".join(schemas),
    )


def _pretty(value: Any) -> str:
    return html.escape(json.dumps(value, indent=1, ensure_ascii=False))


class FixedProtocol:
    """Answers what is the same for everybody, whatever the body holds."""

    def __init__(self, target: Target, writer: Writer, content_type: str, body: bytes) -> None:
        """Nothing was read.

        Args:
            target: no model.
            writer: of the answer.
            content_type: of the answer.
            body: of the answer.
        """
        self._target, self._writer, self._content_type, self._body = target, writer, content_type, body

    def read(self, raw: bytes) -> RestMessage:
        """Reads the body, whatever it holds."""
        return _Fixed(self._target, len(raw), self._writer, self._content_type, self._body)


class _Fixed(RestMessage):
    def __init__(self, target: Target, size: int, writer: Writer, content_type: str, body: bytes) -> None:
        super().__init__(target, size, writer, None)
        self._content_type, self._body = content_type, body

    def reply(self) -> Reply:
        """The answer."""
        fields = [JSON if self._content_type == JSON[1] else ("content-type", self._content_type)]
        # What a browser is to do with it: show it, and fetch nothing.
        fields.append(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"))
        return self._writer.all_of_it(fields, [self._body])

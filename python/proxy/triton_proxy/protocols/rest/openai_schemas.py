"""What the OpenAPI document says of OpenAI's routes: their bodies, by OpenAI's own reference."""

from __future__ import annotations

from typing import Any

from triton_proxy.protocols.rest.routes import Action

_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_COUNT = {"type": "integer", "minimum": 0}
_STREAMED = {
    "stream": {"type": ["boolean", "null"]},
    "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": "boolean"}}},
}
_SAMPLING = {
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
    "seed": {"type": ["integer", "null"]},
    "stop": {"type": ["string", "array", "null"], "items": _TEXT, "maxItems": 16},
    "n": {"const": 1},
    "response_format": {
        "type": ["object", "null"],
        "required": ["type"],
        "properties": {
            "type": {"enum": ["text", "json_object", "json_schema"]},
            "json_schema": {
                "type": "object",
                "required": ["schema"],
                "properties": {"name": _TEXT, "schema": {"type": "object"}},
            },
        },
    },
    "max_tokens": {"type": ["integer", "null"], "minimum": 1},
}
_USAGE = {
    "type": "object",
    "description": "Numbers of tokens, where the model counts them.",
    "required": ["prompt_tokens", "total_tokens"],
    "properties": {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
}
_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT},
}


_TOOL_CALL = {
    "type": "object",
    "description": "Of models whose configuration says in what form they write calls.",
    "required": ["id", "type", "function"],
    "properties": {
        "id": _TEXT,
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {"name": _TEXT, "arguments": _TEXT},
        },
    },
}


def _completed(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    choice = {
        "type": "object",
        "required": ["index", "finish_reason", *said],
        "properties": {
            "index": {"const": 0},
            "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
            "logprobs": {"type": ["object", "null"]},
            **said,
        },
    }
    return {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices"],
        "properties": {
            "id": _TEXT,
            "object": {"const": kind},
            "created": _COUNT,
            "model": _TEXT,
            "choices": {"type": "array", "items": choice, "minItems": 1, "maxItems": 1},
            "usage": _USAGE,
        },
    }


EVENTS = 'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}]}\n\ndata: [DONE]\n\n'
SCHEMAS: dict[str, Any] = {
    "OpenAiError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "Models": {
        "description": "All models that you may use, or the one that the path names.",
        "anyOf": [
            {
                "type": "object",
                "required": ["object", "data"],
                "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
            },
            _MODEL,
        ],
    },
    "CompletionRequest": {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": _NAME,
            "prompt": {"type": ["string", "array"], "items": _TEXT, "minItems": 1, "maxItems": 1},
            "echo": {"type": ["boolean", "null"]},
            "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
            **_SAMPLING,
            **_STREAMED,
        },
        "description": "Other members go to a model that has an input of that name, or vLLM's sampling_parameters.",
    },
    "ChatRequest": {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": _NAME,
            "messages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["role"],
                    "properties": {
                        "role": {"enum": ["developer", "system", "user", "assistant", "tool"]},
                        "content": {
                            "type": ["string", "array", "null"],
                            "description": "A text, or parts of type text and image_url; the latter with a data: URL.",
                            "items": {"type": "object"},
                        },
                    },
                },
            },
            "tools": {"type": ["array", "null"], "items": {"type": "object"}},
            "tool_choice": {"enum": ["auto", "none", None]},
            "parallel_tool_calls": {"type": ["boolean", "null"]},
            "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1},
            "logprobs": {"type": ["boolean", "null"]},
            "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
            "chat_template_kwargs": {"type": ["object", "null"]},
            **_SAMPLING,
            **_STREAMED,
        },
        "description": "Other members go to a model that has an input of that name, or vLLM's sampling_parameters.",
    },
    "EmbeddingsRequest": {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": _NAME,
            "input": {"type": ["string", "array"], "items": _TEXT, "minItems": 1, "maxItems": 2048},
            "encoding_format": {"enum": ["float", "base64", None]},
            "dimensions": {"type": ["integer", "null"], "minimum": 1},
        },
    },
    "Completion": _completed("text_completion", {"text": _TEXT}),
    "Chat": _completed(
        "chat.completion",
        {
            "message": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"const": "assistant"},
                    "content": {"type": ["string", "null"]},
                    "tool_calls": {"type": "array", "items": _TOOL_CALL},
                },
            }
        },
    ),
    "Embeddings": {
        "type": "object",
        "required": ["object", "model", "data"],
        "properties": {
            "object": {"const": "list"},
            "model": _TEXT,
            "usage": _USAGE,
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["object", "index", "embedding"],
                    "properties": {
                        "object": {"const": "embedding"},
                        "index": _COUNT,
                        "embedding": {"type": ["array", "string"], "items": {"type": "number"}},
                    },
                },
            },
        },
    },
}
REQUESTS = {
    Action.COMPLETIONS: "CompletionRequest",
    Action.CHAT_COMPLETIONS: "ChatRequest",
    Action.EMBEDDINGS: "EmbeddingsRequest",
}
ANSWERS = {
    Action.OPENAI_MODELS: "Models",
    Action.COMPLETIONS: "Completion",
    Action.CHAT_COMPLETIONS: "Chat",
    Action.EMBEDDINGS: "Embeddings",
}

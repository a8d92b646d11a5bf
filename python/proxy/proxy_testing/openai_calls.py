"""Requests of OpenAI's API to a proxy that runs, with a stand-in for Triton behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from proxy_testing.http1 import Peer, Response
from proxy_testing.in_process import Served
from proxy_testing.text_models import VLLM_INPUTS, VLLM_OUTPUTS, describe, given

KEY = {"Authorization": "Bearer ann"}
HELLO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hä?"}]
# What `prompts` makes of it without a template.
JOINED = "system: Be kind.\n\nuser: Hä?\n\nassistant:"
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<assistant>{% endif %}{{ eos_token }}"
)


def answers(proxy: Served, asked: list[Any], *said: bytes) -> None:
    """Has Triton's model, decoupled, answer so."""

    def infer_stream(request: Any, context: Any) -> Iterator[bytes]:
        asked.append(given(request))
        yield from said

    proxy.triton.infer_stream = infer_stream


def answers_once(proxy: Served, asked: list[Any], said: Any) -> None:
    """Has Triton's model, which is not decoupled, answer so."""

    def infer(request: Any, context: Any) -> bytes:
        asked.append(given(request))
        return bytes(said.SerializeToString())

    proxy.triton.infer = infer


def vllm(proxy: Served, **parameters: Any) -> str:
    """The name of a model as Triton's vLLM backend describes it."""
    return describe(proxy.triton, VLLM_INPUTS, VLLM_OUTPUTS, decoupled=True, **parameters)


def post(proxy: Served, path: str, body: object, **fields: str) -> Response:
    """The answer to a body, with KEY or other header fields."""
    port = proxy.server.http_port
    assert port is not None  # noqa: S101 - a test's
    with Peer(port) as peer:
        peer.request("POST", path, json.dumps(body).encode(), **(fields or KEY))
        return peer.response()


def chat(proxy: Served, model: str, **members: Any) -> Response:
    """The answer to a chat that says HELLO."""
    return post(proxy, "/v1/chat/completions", {"model": model, "messages": HELLO, **members})


def completion(proxy: Served, model: str, **members: Any) -> Response:
    """The answer to a text that begins with "Once"."""
    return post(proxy, "/v1/completions", {"model": model, "prompt": "Once", **members})


def ok(response: Response) -> Any:
    """The JSON of an answer that is one."""
    assert response.status == 200, response.body  # noqa: S101
    return json.loads(response.body)


def error(response: Response, status: int) -> Any:
    """The error of a refusal with that status."""
    assert response.status == status, response.body  # noqa: S101
    assert response.fields["content-type"] == "application/json"  # noqa: S101
    return json.loads(response.body)["error"]

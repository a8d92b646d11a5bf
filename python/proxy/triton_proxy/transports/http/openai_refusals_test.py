"""What OpenAI's API of a proxy refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from proxy_testing.http1 import Peer
from proxy_testing.in_process import Served, served
from proxy_testing.openai_calls import (
    HELLO,
    KEY,
    TEMPLATE,
    answers,
    chat,
    error,
    ok,
    post,
    vllm,
)
from proxy_testing.text_models import describe, events, streamed
from proxy_testing.triton import UNKNOWN


@pytest.fixture(scope="module")
def proxy() -> Iterator[Served]:
    with served(MAX_MESSAGE_MB="1", TRITON_CANCEL_DELAY_SECS="0.2") as running:
        yield running


@pytest.fixture
def asked(proxy: Served) -> Iterator[list[Any]]:
    """The inputs of each request that Triton gets."""
    usual = proxy.triton.infer, proxy.triton.infer_stream
    yield []
    proxy.triton.infer, proxy.triton.infer_stream = usual


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ raise_exception('system comes first') }}", "does not take these messages: system comes first"),
        ("{% for %}", "made no prompt of the messages: TemplateSyntaxError: "),
        ("{{ messages.__class__.__mro__ }}", "made no prompt of the messages: SecurityError: "),
        ("{{ messages[9].content.x }}", "made no prompt of the messages: UndefinedError: "),
        ("{{ 'a' * 10**10 }}", "made no prompt of the messages: it takes more memory than there is for it"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "it takes too long"),
    ],
)
def test_a_template_that_makes_no_prompt_is_said_to(proxy: Served, asked: list[Any], template: str, text: str) -> None:
    broken = vllm(proxy, chat_template=template)
    refused = error(chat(proxy, broken), 400)
    assert text in refused["message"]
    assert f"the chat template of model '{broken}'" in refused["message"]
    assert (refused["type"], refused["param"], refused["code"]) == ("invalid_request_error", "messages", None)
    # Nor does it stand in the way of another's.
    sound = vllm(proxy, chat_template=TEMPLATE)
    answers(proxy, asked, streamed(text_output="x", final=True))
    ok(chat(proxy, sound))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("[", "it is no JSON object"),
        ('{"inputs": {"prompt": "NOPE"}}', "inputs.prompt is 'NOPE', which the model lacks"),
        ('{"outputs": {"words": "text_output"}}', "outputs is an object with 1 members; expected names of outputs for"),
        ('{"response_format": "json"}', "response_format is 'json'; expected structured_outputs or guided_decoding"),
        ('{"default_max_tokens": 0}', "default_max_tokens is 0; expected an integer from 1"),
    ],
)
def test_a_configuration_that_says_what_cannot_be_is_the_publishers_to_change(
    proxy: Served, settings: str, text: str
) -> None:
    refused = error(chat(proxy, vllm(proxy, openai=settings)), 400)
    assert text in refused["message"]
    assert refused["message"].endswith("its publisher has to change it")


def test_a_form_of_tool_calls_that_is_not_known_is_the_publishers_to_change(proxy: Served) -> None:
    refused = error(chat(proxy, vllm(proxy, tool_call_format="own")), 400)
    assert "for its configuration's parameter tool_call_format: 'own'; expected hermes" in refused["message"]


def test_a_form_of_the_answer_that_the_model_can_not_be_told_is_refused(proxy: Served) -> None:
    refused = error(chat(proxy, vllm(proxy), response_format={"type": "json_object"}), 400)
    assert "has neither the inputs guided_decoding_guide_type and guided_decoding_guide for it" in refused["message"]
    assert refused["param"] == "response_format"


REFUSED: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("chat/completions", {"n": 2}, "n", "n is 2, which is not served; ask again for another answer"),
    ("completions", {"best_of": 3}, "best_of", "best_of is 3, which is not served"),
    ("completions", {"prompt": ["a", "b"]}, "prompt", "prompt is a list of 2; expected one text"),
    ("completions", {"prompt": [1, 2]}, "prompt", "prompt is a list of 2; expected one text"),
    ("chat/completions", {"messages": []}, "messages", "messages is empty"),
    ("chat/completions", {"messages": [{"role": "god", "content": ""}]}, "messages[0].role", "'god'; expected one of"),
    ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content", "messages[0].content is null"),
    ("chat/completions", {"temperature": 3}, "temperature", "temperature is 3; expected a number from 0 to 2"),
    ("chat/completions", {"max_tokens": 0}, "max_tokens", "max_tokens is 0; expected an integer from 1"),
    ("chat/completions", {"stop": [1]}, "stop", "stop is 1; expected a text, or a list"),
    ("chat/completions", {"stream_options": {}}, "stream_options", "stream_options come without stream: true"),
    ("chat/completions", {"tool_choice": "required"}, "tool_choice", "tool_choice is 'required', which is not served"),
    ("chat/completions", {"tools": [{}]}, "tools[0]", "expected a function with a name"),
    (
        "chat/completions",
        {"response_format": {"type": "xml"}},
        "response_format.type",
        "response_format.type is 'xml'; expected one of text, json_object, json_schema",
    ),
    (
        "chat/completions",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "response_format.json_schema.schema is null; expected a JSON Schema",
    ),
    (
        "chat/completions",
        {"response_format": {"type": "json_object", "schema": {}}},
        "response_format.schema",
        "'response_format.schema' is not served; leave it out, or send type",
    ),
    (
        "chat/completions",
        {"stream": True, "stream_options": {"usage": True}},
        "stream_options.usage",
        "'stream_options.usage' is not served; leave it out, or send include_usage",
    ),
    (
        "chat/completions",
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "messages[0].tool_calls[0]",
        "messages[0].tool_calls[0] is an object with 1 members; expected a function with a name and arguments",
    ),
    ("chat/completions", {"reasoning_effort": "low"}, "reasoning_effort", "send it in chat_template_kwargs"),
    ("chat/completions", {"web_search_options": {}}, "web_search_options", "nothing is searched here"),
    ("chat/completions", {"parallel_tool_calls": 1}, "parallel_tool_calls", "parallel_tool_calls is 1; expected true"),
    ("chat/completions", {"model": None}, "model", "model is missing; send the name of one that /v1/models lists"),
    ("embeddings", {"input": [[1, 2]]}, "input[0]", "input[0] is a list of 2; expected a text"),
    ("embeddings", {"input": "x", "encoding_format": "int8"}, "encoding_format", "expected float or base64"),
]


@pytest.mark.parametrize(("route", "members", "param", "text"), REFUSED, ids=[f"{r} {m}" for r, m, _, _ in REFUSED])
def test_what_is_not_served_is_refused_in_words(
    proxy: Served, route: str, members: dict[str, Any], param: str, text: str
) -> None:
    body = {"model": "m", "messages": HELLO} if "chat" in route else {"model": "m", "prompt": "x"}
    refused = error(post(proxy, f"/v1/{route}", (body if route != "embeddings" else {"model": "m"}) | members), 400)
    assert text in refused["message"]
    assert (refused["type"], refused["param"], refused["code"]) == ("invalid_request_error", param, None)


def test_tools_need_a_template(proxy: Served) -> None:
    refused = error(chat(proxy, vllm(proxy), tools=[{"type": "function", "function": {"name": "f"}}]), 400)
    assert refused["message"].startswith("tools are described to a model by its chat template")


@pytest.mark.parametrize(
    ("route", "what"), [("completions", "generates no text"), ("embeddings", "makes no embeddings")]
)
def test_a_model_of_another_kind_is_said_to_lack_what_it_lacks(proxy: Served, route: str, what: str) -> None:
    model = describe(proxy.triton, {"images": ("FP32", [3, 640, 640])}, {"output0": "FP32"})
    refused = error(post(proxy, f"/v1/{route}", {"model": model, "prompt": "x", "input": "x"} | _only(route)), 400)
    assert refused["message"].startswith(
        f"model '{model}' {what}: it lacks an input of BYTES named text_input or prompt and an output"
    )
    assert refused["message"].endswith(f"/v2/models/{model}/infer takes its tensors")
    assert refused["param"] == "model"


def _only(route: str) -> dict[str, Any]:
    return {"input": None} if route == "completions" else {"prompt": None}


def test_errors_have_openais_form_wherever_they_come_from(proxy: Served, asked: list[Any]) -> None:
    port = proxy.server.http_port
    assert port is not None
    refused = error(post(proxy, "/v1/chat/completions", {}, Authorization="Bearer s3cret-of-nobody"), 401)
    assert (refused["type"], refused["code"]) == ("authentication_error", "invalid_api_key")
    assert "s3cret" not in refused["message"]

    def unknown(request: Any, context: Any) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.model_name}' is not found")
        return b""

    proxy.triton.infer = unknown
    refused = error(chat(proxy, UNKNOWN), 404)
    assert refused["message"] == f"Request for unknown model: '{UNKNOWN}' is not found"
    assert (refused["type"], refused["param"], refused["code"]) == ("not_found_error", "model", "model_not_found")
    assert error(post(proxy, "/v1/audio", {}), 404)["message"].startswith("no route POST /v1/audio")
    assert error(post(proxy, "/v1/models", {}), 405)["type"] == "invalid_request_error"
    with Peer(port) as peer:
        peer.request("POST", "/v1/completions", b"{", **KEY)
        assert "failed to parse the request JSON" in error(peer.response(), 400)["message"]
    with Peer(port) as peer:
        peer.request("POST", "/v1/completions", **KEY, Content_Length=str(2 << 20))
        assert "MAX_MESSAGE_MB=1" in error(peer.response(), 413)["message"]
    model = vllm(proxy)

    def fails(request: Any, context: Any) -> Iterator[bytes]:
        context.abort(grpc.StatusCode.UNAVAILABLE, "the model is out of memory")
        yield b""

    proxy.triton.infer_stream = fails
    for stream in (False, True):
        refused = error(chat(proxy, model, stream=stream), 503)
        assert (refused["message"], refused["type"]) == ("the model is out of memory", "server_error")


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails_on_its_way_is_not_taken_for_one_that_ended(
    proxy: Served, asked: list[Any], *, stream: bool
) -> None:
    model = vllm(proxy)
    answers(proxy, asked, streamed(text_output="Wel"), streamed(error="out of memory"), streamed(final=True))
    response = chat(proxy, model, stream=stream)
    if stream:
        *_, last = events(response.body)
        assert last["error"] == {"message": "out of memory", "type": "server_error", "param": None, "code": None}
        assert b"[DONE]" not in response.body
    else:
        assert error(response, 500)["message"] == "out of memory"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"text_output": [0.5]}, "'text_output' is FP32; expected a text of BYTES"),
        ({"text_output": "x", "num_input_tokens": "y"}, "'num_input_tokens' is BYTES; expected a number of tokens"),
    ],
)
def test_outputs_that_are_not_what_they_have_to_be_are_said_to(
    proxy: Served, asked: list[Any], said: dict[str, Any], text: str
) -> None:
    model = vllm(proxy)
    answers(proxy, asked, streamed(**said, final=True))
    assert text in error(chat(proxy, model), 400)["message"]


def test_json_of_many_values_is_refused(proxy: Served) -> None:
    assert "more than 50000 values" in error(chat(proxy, "m", x=[0] * 50_001), 400)["message"]
    deep: object = 0
    for _ in range(101):
        deep = [deep]
    assert "more than 100 deep" in error(chat(proxy, "m", x=deep), 400)["message"]

"""Calls of tools as objects, and forms of answers, of a proxy that runs, with a stand-in for Triton behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_testing.in_process import Served, served
from proxy_testing.openai_calls import TEMPLATE, answers, answers_once, chat, completion, ok, vllm
from proxy_testing.text_models import answer, describe, events, streamed

TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]
CALL = '<tool_call>\n{"name": "clock", "arguments": {"zone": "Zürich"}}\n</tool_call>'
FUNCTION = {"name": "clock", "arguments": '{"zone": "Zürich"}'}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}


@pytest.fixture(scope="module")
def proxy() -> Iterator[Served]:
    with served(TRITON_CANCEL_DELAY_SECS="0.2") as running:
        yield running


@pytest.fixture
def asked(proxy: Served) -> Iterator[list[Any]]:
    """The inputs of each request that Triton gets."""
    usual = proxy.triton.infer, proxy.triton.infer_stream
    yield []
    proxy.triton.infer, proxy.triton.infer_stream = usual


@pytest.fixture
def caller(proxy: Served) -> str:
    """A model that writes calls as Hermes does."""
    return vllm(proxy, chat_template=TEMPLATE, tool_call_format="hermes")


def test_a_call_of_a_tool_is_an_object(proxy: Served, asked: list[Any], caller: str) -> None:
    answers(proxy, asked, streamed(text_output="I look.\n" + CALL + CALL, finish_reason="stop", final=True))
    (choice,) = ok(chat(proxy, caller, tools=TOOLS))["choices"]
    calls = choice["message"].pop("tool_calls")
    assert choice["message"] == {"role": "assistant", "content": "I look.\n", "refusal": None}
    assert choice["finish_reason"] == "tool_calls"
    assert [(each["type"], each["function"]) for each in calls] == [("function", FUNCTION)] * 2
    assert len({each["id"] for each in calls}) == 2
    (choice,) = ok(chat(proxy, caller, tools=TOOLS, parallel_tool_calls=False))["choices"]
    assert len(choice["message"]["tool_calls"]) == 1
    answers(proxy, asked, streamed(text_output=CALL, finish_reason="length", final=True))
    (choice,) = ok(chat(proxy, caller, tools=TOOLS))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "length")


def test_a_streamed_call_comes_when_it_is_complete(proxy: Served, asked: list[Any], caller: str) -> None:
    text = "Well. " + CALL
    answers(proxy, asked, *(streamed(text_output=each) for each in text), streamed(final=True))
    *chunks, done = events(chat(proxy, caller, tools=TOOLS, stream=True).body)
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert "".join(each.get("content", "") for each in deltas) == "Well. "
    *_, called, end = deltas
    ((call,),) = [each.pop("tool_calls") for each in deltas if "tool_calls" in each]
    assert (call.pop("id")[:5], call) == ("call_", {"index": 0, "type": "function", "function": FUNCTION})
    assert (called, end, done) == ({}, {}, "[DONE]")
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("members", [{}, {"tools": TOOLS, "tool_choice": "none"}])
def test_without_tools_a_call_is_text(proxy: Served, asked: list[Any], caller: str, members: dict[str, Any]) -> None:
    answers(proxy, asked, streamed(text_output=CALL, final=True))
    (choice,) = ok(chat(proxy, caller, **members))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")
    assert "tool_calls" not in choice["message"]


def test_of_a_model_that_does_not_say_how_it_calls_a_call_is_text(proxy: Served, asked: list[Any]) -> None:
    answers(proxy, asked, streamed(text_output=CALL, final=True))
    (choice,) = ok(chat(proxy, vllm(proxy, chat_template=TEMPLATE), tools=TOOLS))["choices"]
    assert choice["message"]["content"] == CALL


@pytest.mark.parametrize("name", ["structured_outputs", "guided_decoding"])
def test_the_form_of_an_answer_is_one_of_vllms_sampling_parameters(proxy: Served, asked: list[Any], name: str) -> None:
    model = vllm(proxy, openai=json.dumps({"response_format": name}))
    answers(proxy, asked, streamed(text_output="{}", final=True))
    ok(chat(proxy, model, response_format=FORMAT))
    ok(completion(proxy, model, response_format={"type": "json_object"}))
    ok(chat(proxy, model, response_format={"type": "text"}))
    sampled = [json.loads(each["sampling_parameters"]) for each in asked]
    assert [json.loads(each.get(name, "null")) for each in sampled] == [{"json": SCHEMA}, {"json_object": True}, None]


def test_the_form_of_an_answer_is_two_inputs_of_tensorrt_llm(proxy: Served, asked: list[Any]) -> None:
    names = ("text_input", "guided_decoding_guide_type", "guided_decoding_guide")
    inputs = {name: ("BYTES", [1]) for name in names}
    model = describe(proxy.triton, inputs, {"text_output": "BYTES"})
    answers_once(proxy, asked, answer(text_output="{}"))
    ok(completion(proxy, model, response_format=FORMAT))
    ok(completion(proxy, model, response_format={"type": "json_object"}))
    ok(completion(proxy, model, guided_decoding_guide_type="regex", guided_decoding_guide="[0-9]+"))
    told = [{name: value for name, value in each.items() if name != "text_input"} for each in asked]
    assert told == [
        {"guided_decoding_guide_type": "json_schema", "guided_decoding_guide": json.dumps(SCHEMA)},
        {"guided_decoding_guide_type": "json"},
        {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "[0-9]+"},
    ]

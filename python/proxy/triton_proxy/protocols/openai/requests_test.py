"""Bodies of completions, chats and embeddings, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.protocols.openai.completions import TextProtocol
from triton_proxy.protocols.openai.embeddings import EmbeddingsProtocol
from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.openai.messages import joined, read_messages
from triton_proxy.protocols.openai.reply import OpenAiWriter
from triton_proxy.protocols.openai.requests import read_chat
from triton_proxy.protocols.openai.templates import render
from triton_proxy.protocols.rest.infer import RestMessage
from triton_proxy.protocols.rest.json_work import JsonHere

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_ROLES = st.sampled_from(["developer", "system", "user", "assistant", "tool", "god"])
_PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "audio"])}, optional={"text": _JSON, "image_url": _JSON}
)
_MESSAGES = st.fixed_dictionaries(
    {"role": _ROLES | _JSON},
    optional={
        "content": st.text(max_size=8) | st.lists(_PARTS, max_size=2) | _JSON,
        "tool_calls": _JSON,
        "name": _JSON,
    },
)
_NAMES = (
    "prompt", "input", "stream", "stream_options", "stop", "n", "temperature", "max_tokens", "max_completion_tokens",
    "logprobs", "top_logprobs", "tools", "tool_choice", "logit_bias", "echo", "dimensions", "encoding_format", "other",
    "seed", "chat_template_kwargs", "response_format",
)  # fmt: skip
_BODIES = st.fixed_dictionaries(
    {},
    optional={"model": st.just("m") | _JSON, "messages": st.lists(_MESSAGES, max_size=3) | _JSON}
    | dict.fromkeys(_NAMES, _JSON),
)
_INPUTS = {
    "text_input": "BYTES", "sampling_parameters": "BYTES", "stream": "BOOL", "image": "BYTES", "other": "INT32",
    "embedding_request": "BYTES", "temperature": "FP32", "max_tokens": "INT32", "stop_words": "BYTES",
}  # fmt: skip


def signature(*inputs: str) -> Signature:
    specs = {name: TensorSpec(name, _INPUTS[name], (-1,), optional=True) for name in inputs}
    parameters = {"chat_template": "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}"}
    outputs = ("text_output",)
    return Signature(
        "m", specs, outputs, 0, True, False, ("1",), text_outputs=frozenset(outputs), parameters=parameters
    )


@given(
    kind=st.sampled_from(["chat", "completion", "embeddings"]),
    body=_BODIES.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=20),
    inputs=st.sets(st.sampled_from(sorted(_INPUTS))),
)
def test_any_body_asks_for_an_inference_or_is_refused_in_words(kind: str, body: bytes, inputs: set[str]) -> None:
    writer = OpenAiWriter()
    message: RestMessage
    if kind == "embeddings":
        message = EmbeddingsProtocol(writer, JsonHere()).read(body)
    else:
        message = TextProtocol(writer, JsonHere(), render, chat=kind == "chat").read(body)
    if message.fit is not None:
        message.fit(signature(*inputs))
    if message.inferable:
        assert message.request.model == message.info.model == "m"
        assert {each.name for each in message.request.inputs} <= inputs
    else:
        status = message.reply().status
        assert status is not None
        assert json.loads(writer.error(400, status.text))["error"]["message"] == status.text


@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=8)}
        ),
        min_size=1,
    )
)
def test_without_a_template_every_message_is_a_paragraph(messages: list[dict[str, Any]]) -> None:
    read = read_messages(Members({"messages": messages})).messages
    said = "".join(f"{each['role']}: {each['content']}\n\n" for each in messages)
    assert joined(read) == said + "assistant:"


def test_parts_of_text_are_lines_and_an_assistant_may_only_call_tools() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    given_messages = [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "tool_calls": calls, "content": None},
        {"role": "tool", "tool_call_id": "1", "content": "4", "reasoning_content": "2 + 2"},
    ]
    assert read_messages(Members({"messages": given_messages})).messages == [
        {"role": "system", "content": "a\nb"},
        {"role": "assistant", "tool_calls": calls, "content": ""},
        {"role": "tool", "tool_call_id": "1", "content": "4", "reasoning_content": "2 + 2"},
    ]


def test_members_without_effect_are_taken_and_null_is_nothing() -> None:
    nothing = dict.fromkeys(("n", "stop", "temperature", "stream", "stream_options", "tools", "top_k"))
    harmless = {"user": "u", "metadata": {}, "store": True, "n": 1, "response_format": {"type": "text"}}
    messages = [{"role": "user", "content": "x"}]
    request = read_chat(Members({"model": "m", "messages": messages, **nothing, **harmless}))
    assert (request.sampling.others, request.sampling.values, request.stream) == ({}, {}, False)


@pytest.mark.parametrize("value", [True, 1.0, 2, "1"])
def test_a_member_that_is_not_served_has_no_other_value(value: object) -> None:
    with pytest.raises(RequestRefused, match=r"^n is .*, which is not served; ask again$"):
        Members({"n": value}).unserved("n", "ask again", 1)

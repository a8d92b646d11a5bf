"""Whatever a model answers, its caller gets an answer, or hears why not."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.protocols.openai.completions import TextProtocol
from triton_proxy.protocols.openai.embeddings import EmbeddingsProtocol
from triton_proxy.protocols.openai.reply import OpenAiWriter
from triton_proxy.protocols.openai.templates import render
from triton_proxy.protocols.rest.json_work import JsonHere

_NAMES = ("text_output", "num_input_tokens", "num_output_tokens", "finish_reason", "logprobs", "embedding")


def _text(raw: bytes) -> OutputTensor:
    return OutputTensor("BYTES", (1,), struct.pack("<I", len(raw)) + raw)


_OUTPUTS = (
    st.builds(
        OutputTensor,
        st.sampled_from(["BYTES", "UINT32", "INT64", "FP32", "FP16", "FP64", "BOOL", "BF16", "OTHER"]),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
        st.binary(max_size=24),
    )
    | st.builds(_text, st.binary(max_size=12) | st.sampled_from([b"null", b"[{}]", b'[{"1": {}}]', b"[0.5]", b"stop"]))
    | st.integers(0, 9).map(lambda count: OutputTensor("UINT32", (1,), struct.pack("<I", count)))
)
_ANSWERS = st.lists(
    st.builds(
        Answer, st.just("1"), st.none() | st.dictionaries(st.sampled_from(_NAMES), _OUTPUTS), final=st.just(False)
    ),
    max_size=3,
)
_INPUTS = ("prompt", "sampling_parameters", "return_logprobs")
_TYPES = {"return_logprobs": "BOOL"}


def signature() -> Signature:
    specs = {name: TensorSpec(name, _TYPES.get(name, "BYTES"), (1,), optional=name != "prompt") for name in _INPUTS}
    return Signature("m", specs, _NAMES, 0, True, False, ("1",), text_outputs=frozenset({"text_output"}))


@given(
    kind=st.sampled_from(["chat", "completion", "embeddings"]),
    stream=st.booleans(),
    answers=_ANSWERS,
    last=st.none() | st.dictionaries(st.sampled_from(_NAMES), _OUTPUTS),
)
def test_any_answers_are_put_together_or_said_to_be_wrong(
    kind: str, answers: list[Answer], last: dict[str, OutputTensor] | None, *, stream: bool
) -> None:
    writer = OpenAiWriter()
    body: dict[str, Any] = {"model": "m", "stream": stream, "stop": "s", "logprobs": 1}
    if kind == "embeddings":
        message = EmbeddingsProtocol(writer, JsonHere()).read(b'{"model": "m", "input": "x"}')
    elif kind == "chat":
        body |= {"messages": [{"role": "user", "content": "x"}], "logprobs": True}
        message = TextProtocol(writer, JsonHere(), render, chat=True).read(json.dumps(body).encode())
    else:
        body["prompt"] = "x"
        message = TextProtocol(writer, JsonHere(), render, chat=False).read(json.dumps(body).encode())
    assert message.fit is not None
    message.fit(signature())
    assert message.inferable
    reply = None
    for answer in [*answers, Answer("1", last)]:
        reply = message.answered(answer)
        if reply is not None and (reply.status is not None or message.satisfied):
            break
    # Silence is no end.
    assert reply is not None
    if reply.status is not None:
        assert reply.status.text
    elif stream and kind != "embeddings":
        ended = b"".join(reply.parts)
        assert ended.endswith(b"data: [DONE]\n\n") or b'{"error":' in ended
    else:
        assert json.loads(b"".join(reply.parts))["object"] in {"list", "chat.completion", "text_completion"}

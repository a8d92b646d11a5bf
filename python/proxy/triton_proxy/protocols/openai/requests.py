"""The bodies of completions and chats, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.openai.messages import Conversation, read_messages, read_tools
from triton_proxy.protocols.openai.sampling import Sampling, read_sampling

_LONGEST_MODEL = 255


@dataclass(frozen=True)
class TextRequest:
    """What is asked for.

    Attributes:
        model: the model's name.
        stream: whether each piece of the answer is to come as an event of its own.
        include_usage: whether the last event is to say how many tokens there were.
        sampling: how the model is to choose its words.
        prompt: what it is to go on with; "" of a chat.
        echo: whether the answer begins with the prompt.
        conversation: of a chat; None of a completion.
        tools: of a chat: definitions of what the model may call.
        parallel_tool_calls: of a chat: whether the model may call more than one of them in its answer.
        template_words: of a chat: what the template may name besides.
    """

    model: str
    stream: bool
    include_usage: bool
    sampling: Sampling
    prompt: str = ""
    echo: bool = False
    conversation: Conversation | None = None
    tools: Sequence[Any] = ()
    parallel_tool_calls: bool = True
    template_words: Mapping[str, Any] | None = None


def read_model(body: Members) -> str:
    """Takes the name of the model.

    Raises:
        RequestRefused: there is none.
    """
    model = body.required("model", "the name of one that /v1/models lists")
    if not isinstance(model, str) or not 0 < len(model) <= _LONGEST_MODEL:
        raise body.refuse("model", model, f"a name of at most {_LONGEST_MODEL} characters")
    return model


def read_completion(body: Members) -> TextRequest:
    """Reads a body of /v1/completions.

    Raises:
        RequestRefused: it is not well-formed, or asks for what is not served.
    """
    model = read_model(body)
    prompt = body.required("prompt", "a text")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str):
        raise body.refuse("prompt", prompt, "one text; send a request for each, and texts instead of tokens")
    echo = body.flag("echo")
    stream, include_usage = _streaming(body)
    sampling = read_sampling(body, chat=False)
    return TextRequest(model, stream, include_usage, sampling, prompt=prompt, echo=echo)


def read_chat(body: Members) -> TextRequest:
    """Reads a body of /v1/chat/completions.

    Raises:
        RequestRefused: it is not well-formed, or asks for what is not served.
    """
    model = read_model(body)
    conversation = read_messages(body)
    tools = read_tools(body)
    parallel = body.flag("parallel_tool_calls", default=True)
    words = body.object("chat_template_kwargs")
    stream, include_usage = _streaming(body)
    sampling = read_sampling(body, chat=True)
    return TextRequest(
        model,
        stream,
        include_usage,
        sampling,
        conversation=conversation,
        tools=tools,
        parallel_tool_calls=parallel,
        template_words=None if words is None else words.rest(),
    )


def _streaming(body: Members) -> tuple[bool, bool]:
    stream = body.flag("stream")
    options = body.object("stream_options")
    if options is None:
        return stream, False
    if not stream:
        raise RequestRefused("stream_options come without stream: true; send both or neither", "stream_options")
    include_usage = options.flag("include_usage")
    options.flag("include_obfuscation")
    options.end("include_usage")
    return stream, include_usage

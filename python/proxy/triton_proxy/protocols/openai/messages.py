"""The messages of a chat: checked, with their pictures apart, as templates and the default form take them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.rest.refused import quoted

_MOST_MESSAGES = 4096
_MOST_PARTS = 256
_MOST_TOOLS = 256
# Templates know it by the older name.
_ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,64};base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Conversation:
    """The messages of a request.

    Attributes:
        messages: each with `role` and `content`, and what else templates read. The content is a text, or, where the
            message has a picture, a list of parts: {"type": "text", "text": …} and {"type": "image"}.
        images: the pictures in order, each as base64 of a file.
    """

    messages: Sequence[dict[str, Any]]
    images: Sequence[str]


def read_messages(body: Members) -> Conversation:
    """Takes the messages of a chat.

    Raises:
        RequestRefused: they are not well-formed.
    """
    given = body.list("messages", _MOST_MESSAGES)
    if not given:
        raise RequestRefused("messages is empty; send at least one message with a role and content", "messages")
    images: list[str] = []
    messages = [_message(each, f"messages[{index}]", images) for index, each in enumerate(given)]
    return Conversation(messages, images)


def read_tools(body: Members) -> Sequence[Any]:
    """Takes the definitions of tools, which are the template's to describe to the model.

    Raises:
        RequestRefused: they are not well-formed, or a call of one is to be forced, which no template can.
    """
    tools = body.list("tools", _MOST_TOOLS) or []
    for index, each in enumerate(tools):
        function = each.get("function") if isinstance(each, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            param = f"tools[{index}]"
            raise RequestRefused(f"{param} is {quoted(each)}; expected a function with a name", param)
    chosen = body.take("tool_choice", "auto")
    if chosen not in ("auto", "none"):
        raise RequestRefused(
            f"tool_choice is {quoted(chosen)}, which is not served: the model decides; send auto, none or nothing",
            "tool_choice",
        )
    return tools if chosen == "auto" else []


def _message(given: Any, where: str, images: list[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RequestRefused(f"{where} is {quoted(given)}; expected an object with role and content", where)
    members = Members(given, f"{where}.")
    role = members.required("role", f"one of {', '.join(_ROLES)}")
    if not isinstance(role, str) or role not in _ROLES:
        raise members.refuse("role", role, f"one of {', '.join(_ROLES)}")
    made: dict[str, Any] = {"role": _ROLES[role]}
    calls = members.list("tool_calls", _MOST_TOOLS)
    if calls is not None:
        made["tool_calls"] = [_call(each, f"{where}.tool_calls[{index}]") for index, each in enumerate(calls)]
    for name in ("name", "tool_call_id"):
        text = members.text(name)
        if text is not None:
            made[name] = text
    # An assistant that only calls tools has said nothing.
    content = members.take("content", "" if calls else None)
    if isinstance(content, str):
        made["content"] = content
    elif isinstance(content, list) and len(content) <= _MOST_PARTS:
        parts = [_part(part, f"{where}.content[{index}]", images) for index, part in enumerate(content)]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        made["content"] = "\n".join(texts) if len(texts) == len(parts) else parts
    else:
        raise members.refuse("content", content, f"a text, or a list of at most {_MOST_PARTS} parts")
    # What else templates read, such as `reasoning_content`.
    return members.rest() | made


def _call(given: Any, where: str) -> dict[str, Any]:
    """A call that an assistant made."""
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RequestRefused(f"{where} is {quoted(given)}; expected a function with a name and arguments", where)
    return dict(given)


def _part(given: Any, where: str, images: list[str]) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, dict) else None
    members = Members(given if isinstance(given, dict) else {}, f"{where}.")
    if kind == "text":
        text = members.required("text", "a text")
        if not isinstance(text, str):
            raise members.refuse("text", text, "a text")
        return {"type": "text", "text": text}
    if kind == "image_url":
        described = members.object("image_url")
        images.append(_image(None if described is None else described.take("url"), f"{where}.image_url.url"))
        return {"type": "image"}
    raise RequestRefused(f"{where} has the type {quoted(kind)}; expected a part of type text or image_url", where)


def _image(url: Any, where: str) -> str:
    if not isinstance(url, str):
        raise RequestRefused(f"{where} is {quoted(url)}; expected data:image/png;base64,…", where)
    found = _DATA_URL.match(url)
    if found is None:
        raise RequestRefused(
            f"{where} begins {quoted(url[:16])}: nothing is fetched from an address that a caller names; send the"
            " picture itself as data:image/png;base64,…",
            where,
        )
    data = url[found.end() :]
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefused(f"{where} is no base64 behind data:…;base64,; encode the file's bytes", where) from None
    return data


def joined(messages: Sequence[dict[str, Any]]) -> str:
    """Messages as one text, for a model without a template.

    One line `role: content` for each, with an empty line between two, and `assistant:` at the end.
    """
    said = [f"{message['role']}: {text_of(message)}" for message in messages]
    return "\n\n".join([*said, "assistant:"])


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, without its pictures."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")

"""Chat templates: Jinja that comes with a model, whose author is not trusted with the proxy.

It is rendered in a sandbox, and that in a process of its own (`template_main`), which the kernel holds to its bounds.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn, Protocol

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

# A template of a large model has some 10 KiB.
LONGEST_TEMPLATE = 256 << 10
# What a prompt may have: more than the context of any model.
LONGEST_TEXT = 8 << 20
_LONGEST_REASON = 500
_COMPILED = 32


class TemplateRefused(Exception):  # noqa: N818 - what happened
    """A template made no text.

    Attributes:
        of_messages: whether the template itself says that it can't take the messages.
    """

    def __init__(self, text: str, *, of_messages: bool = False) -> None:
        """Says why.

        Args:
            text: why.
            of_messages: see there.
        """
        super().__init__(text)
        self.of_messages = of_messages


class Render(Protocol):
    """Renders templates."""

    def __call__(self, template: str, words: Mapping[str, Any]) -> str:
        """The text of a template.

        Args:
            template: its source.
            words: what it may name, of what JSON has.

        Raises:
            TemplateRefused: there is none.
        """


class _Said(Exception):  # noqa: N818 - what a template did
    """A template called `raise_exception`."""


def render(template: str, words: Mapping[str, Any]) -> str:
    """The text of a template, as `transformers` renders it; see `Render`. Bounded in size, but not in time."""
    if len(template) > LONGEST_TEMPLATE:
        raise TemplateRefused(f"it has {len(template)} characters; {LONGEST_TEMPLATE} are read at most")
    parts: list[str] = []
    size = 0
    try:
        for part in _compiled(template).generate(**{**words, "messages": _with_arguments(words.get("messages"))}):
            parts.append(part)
            size += len(part)
            if size > LONGEST_TEXT:
                raise TemplateRefused(f"it makes more than {LONGEST_TEXT} characters of the messages")
    except TemplateRefused:
        raise
    except _Said as said:
        raise TemplateRefused(str(said)[:_LONGEST_REASON], of_messages=True) from None
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a template's code raises
        raise TemplateRefused(f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}") from None
    return "".join(parts)


def _with_arguments(messages: Any) -> Any:
    """Messages in which arguments of calls are objects: templates write these as JSON themselves."""
    return [
        {**each, "tool_calls": [_as_object(call) for call in each["tool_calls"]]} if "tool_calls" in each else each
        for each in messages or ()
    ]


def _as_object(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except (TypeError, ValueError, RecursionError):
        # An object already, or what a model has written wrong.
        return call
    return {**call, "function": {**function, "arguments": arguments}}


@lru_cache(_COMPILED)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


@lru_cache(1)
def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], keep_trailing_newline=False
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = _now
    return made


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(text: object) -> NoReturn:
    raise _Said(str(text))


def _now(form: str) -> str:
    return datetime.datetime.now(tz=datetime.UTC).strftime(form)

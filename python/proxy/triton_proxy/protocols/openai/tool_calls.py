"""Calls of tools in a model's text, as objects.

The format is that of Hermes and Qwen: `<tool_call>`, an object in JSON with `name` and `arguments`, `</tool_call>`, any
number of times (https://github.com/NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

HERMES = "hermes"
FORMATS = (HERMES,)
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
# What JSON's structure is made of: a text is passed over as one.
_STRUCTURE = re.compile(r'["\\{}]')
# Arguments that a model writes. What is longer is text.
_LONGEST_CALL = 256 << 10


@dataclass(frozen=True)
class ToolCall:
    """One call.

    Attributes:
        index: how many came before it.
        name: of the tool.
        arguments: an object, in JSON.
    """

    index: int
    name: str
    arguments: str

    def described(self) -> dict[str, Any]:
        """As OpenAI's API has it, with an id of its own."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


class ToolCallText:
    """A model's text as it comes, in pieces that end anywhere, with calls apart.

    What names no tool of the request, or is no such object, is text as any other.

    Attributes:
        called: how many calls have come.
        stopped: whether nothing more is read, since only one call was asked for.
    """

    def __init__(self, names: Collection[str], *, single: bool = False) -> None:
        """Nothing has come.

        Args:
            names: of the tools that may be called.
            single: whether one call ends the text.
        """
        self.called = 0
        self.stopped = False
        self._names = frozenset(names)
        self._single = single
        # Text that may yet become a tag.
        self._held = ""
        self._call: _Object | None = None
        # Whether a call has just come: the tag that ends it, and lines' ends, are no text.
        self._closing = self._gap = False

    def feed(self, text: str) -> list[str | ToolCall]:
        """Takes the next piece.

        Returns:
            Text and calls that are settled, in order; no text is empty.
        """
        said: list[str | ToolCall] = []
        while text and not self.stopped:
            text = self._after_open(text, said) if self._call else self._before_open(text, said)
        return said

    def end(self) -> list[str | ToolCall]:
        """What was held back: nothing follows."""
        if self.stopped:
            return []
        held, self._held = self._held, ""
        if self._call is not None:
            held, self._call = _OPEN + self._call.text, None
        return [held] if held else []

    def _before_open(self, text: str, said: list[str | ToolCall]) -> str:
        text = self._held + text
        self._held = ""
        if self._gap:
            text = text.lstrip()
            if self._closing and text:
                if len(text) < len(_CLOSE) and _CLOSE.startswith(text):
                    self._held = text
                    return ""
                self._closing = False
                text = text.removeprefix(_CLOSE).lstrip()
            if not text:
                return ""
            self._gap = False
        before, tag, after = text.partition(_OPEN)
        if tag:
            self._call = _Object()
        else:
            kept = next(size for size in range(len(_OPEN) - 1, -1, -1) if before.endswith(_OPEN[:size]))
            before, self._held = before[: len(before) - kept], before[len(before) - kept :]
        if before:
            said.append(before)
        return after

    def _after_open(self, text: str, said: list[str | ToolCall]) -> str:
        call = self._call
        assert call is not None  # noqa: S101 - what the caller has made sure of
        after = call.feed(text)
        if after is None:
            return ""
        self._call = None
        read = call.read()
        if read is None or read[0] not in self._names:
            said.append(_OPEN + call.text)
            return after
        said.append(ToolCall(self.called, *read))
        self.called += 1
        self._closing = self._gap = True
        self.stopped = self._single
        return after


class _Object:
    """An object in JSON as it comes.

    Attributes:
        text: what has come of it.
    """

    def __init__(self) -> None:
        self.text = ""
        self._at = self._depth = 0
        self._quoted = False

    def feed(self, text: str) -> str | None:
        """Takes the next piece.

        Returns:
            What follows the object, or what can't be one; None while it is neither.
        """
        before = len(self.text)
        self.text += text
        if not self._depth and not self.text.isspace() and self.text.lstrip()[:1] != "{":
            return self._end(before)
        while found := _STRUCTURE.search(self.text, self._at):
            self._at = found.end()
            sign = found.group()
            if sign == '"':
                self._quoted = not self._quoted
            elif sign == "\\":
                # The next is no sign, and may be still to come.
                self._at += 1
            elif not self._quoted:
                self._depth += 1 if sign == "{" else -1
                if self._depth <= 0:
                    return self._end(self._at)
        self._at = max(self._at, len(self.text))
        return self._end(len(self.text)) if len(self.text) > _LONGEST_CALL else None

    def _end(self, at: int) -> str:
        self.text, after = self.text[:at], self.text[at:]
        return after

    def read(self) -> tuple[str, str] | None:
        """Name and arguments; None where it is no call."""
        try:
            made = json.loads(self.text, parse_constant=_refuse)
            if not isinstance(made, dict) or not isinstance(made.get("name"), str):
                return None
            if not isinstance(made.get("arguments"), dict):
                return None
            # A number beyond every float would be written as no JSON, and half a character as no UTF-8.
            arguments = json.dumps(made["arguments"], ensure_ascii=False, allow_nan=False)
            arguments.encode()
            return made["name"], arguments
        except (ValueError, RecursionError):
            return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)

"""Calls of tools in a model's text: found wherever the text is cut, and nothing else taken for one."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.protocols.openai.tool_calls import ToolCall, ToolCallText

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
# What could be taken for the end of a call, within one.
_ARGUMENTS = st.dictionaries(
    st.text(max_size=4), _JSON | st.sampled_from(["</tool_call>", "<tool_call>{", '\\"}', "}}", '{"']), max_size=3
)
_PIECES = st.sampled_from(
    ["<tool_call>", "</tool_call>", "<tool", '{"name": "clock"', "{", "}", '"', "\\", "\n", "a < b"]
)


def parts(text: str, cuts: list[int], *, single: bool = False) -> tuple[str, list[ToolCall]]:
    found = ToolCallText({"clock", "sum"}, single=single)
    said: list[str | ToolCall] = []
    places = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    for begin, end in itertools.pairwise(places):
        said += found.feed(text[begin:end])
    said += found.end()
    assert "" not in said
    calls = [each for each in said if isinstance(each, ToolCall)]
    assert found.called == len(calls)
    return "".join(each for each in said if isinstance(each, str)), calls


def call(name: str, arguments: dict[str, Any]) -> str:
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>\n"


@given(
    said=st.text(max_size=9).filter(lambda text: "<" not in text),
    calls=st.lists(st.tuples(st.sampled_from(["clock", "sum"]), _ARGUMENTS), max_size=3),
    cuts=st.lists(st.integers(0, 999), max_size=20),
)
def test_calls_come_as_they_were_written_wherever_the_text_is_cut(
    said: str, calls: list[tuple[str, dict[str, Any]]], cuts: list[int]
) -> None:
    text, found = parts(said + "".join(call(*each) for each in calls), cuts)
    assert text == said
    assert [(each.name, json.loads(each.arguments)) for each in found] == calls
    assert [each.index for each in found] == list(range(len(calls)))


@given(text=st.lists(_PIECES | st.text(max_size=3), max_size=12).map("".join), cuts=st.lists(st.integers(0, 99)))
def test_where_a_text_is_cut_changes_nothing(text: str, cuts: list[int]) -> None:
    once, calls = parts(text, [])
    assert parts(text, cuts) == (once, calls)
    if not calls:
        assert once == text


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "clock", "arguments": {}',
        '<tool_call>{"name": "nothing", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "clock"}</tool_call>',
        '<tool_call>{"name": "clock", "arguments": "{}"}</tool_call>',
        '<tool_call>{"name": ["clock"], "arguments": {}}</tool_call>',
        '<tool_call>{"name": "clock", "arguments": {"x": NaN}}</tool_call>',
        '<tool_call>{"name": "clock", "arguments": {"x": 1e999}}</tool_call>',
        '<tool_call>{"name": "clock", "arguments": {"x": "\\ud800"}}</tool_call>',
        '<tool_call>[{"name": "clock", "arguments": {}}]</tool_call>',
        "<tool_call>" + "{" * 5000 + "}" * 5000,
        '<tool_call>{"' + "x" * (300 << 10),
        "<tool_call",
        "<tool_call>",
    ],
)
def test_what_is_no_call_of_a_tool_stays_text(text: str) -> None:
    assert parts(text, []) == (text, [])
    assert parts(text + "!", [len(text)]) == (text + "!", [])


def test_a_call_may_lack_its_last_tag_and_text_may_follow() -> None:
    assert parts('<tool_call>{"name": "clock", "arguments": {}}', [])[1] == [ToolCall(0, "clock", "{}")]
    text, calls = parts(call("sum", {"a": 1}) + " Done.", [5])
    assert (text, calls) == ("Done.", [ToolCall(0, "sum", '{"a": 1}')])


def test_nothing_follows_where_one_call_was_asked_for() -> None:
    text, calls = parts("I look." + call("clock", {}) + call("sum", {}) + "x", [3, 30], single=True)
    assert (text, calls) == ("I look.", [ToolCall(0, "clock", "{}")])

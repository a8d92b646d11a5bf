"""Chat templates as models bring them, in their sandbox."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.protocols.openai.templates import LONGEST_TEMPLATE, TemplateRefused, render

MESSAGES = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Yes?"}]
# In the manner of Llama's, Qwen's and Mistral's, as `transformers` renders them.
CHATML = """
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
{%- else %}
    {%- set system = 'You help.' %}
{%- endif %}
{{- '<|im_start|>system\\n' + system + '<|im_end|>\\n' }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def test_a_usual_template_is_rendered_as_transformers_does() -> None:
    assert render(CHATML, {"messages": MESSAGES, "add_generation_prompt": True}) == (
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_block_leaves_no_line_behind() -> None:
    template = "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}\n"
    assert render(template, {"messages": MESSAGES}) == "user\nassistant\n"


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_values_are_written_as_json_and_nothing_is_escaped(value: Any) -> None:
    assert render("{{ tools | tojson }}", {"tools": value}) == json.dumps(value, ensure_ascii=False)
    assert render("{{ tools | tojson(indent=2) }}", {"tools": value}) == json.dumps(value, ensure_ascii=False, indent=2)


def test_what_a_template_says_of_the_messages_is_told_apart() -> None:
    with pytest.raises(TemplateRefused, match=r"^roles must alternate$") as refused:
        render("{{ raise_exception('roles must alternate') }}", {"messages": MESSAGES})
    assert refused.value.of_messages


def test_arguments_of_calls_are_objects_for_a_template() -> None:
    def rendered(arguments: object) -> str:
        call = {"id": "1", "function": {"name": "f", "arguments": arguments}}
        messages = [*MESSAGES, {"role": "assistant", "content": "", "tool_calls": [call]}]
        template = "{% for call in messages[2].tool_calls %}{{ call.function.arguments | tojson }}{% endfor %}"
        return render(template, {"messages": messages})

    assert rendered('{"x": "ä"}') == rendered({"x": "ä"}) == '{"x": "ä"}'
    assert rendered("") == "{}"
    # What a model has written wrong, it gets back as it was.
    assert rendered('{"x":') == '"{\\"x\\":"'
    assert rendered("[" * 100_000) == '"' + "[" * 100_000 + '"'


# Ways out of Jinja's sandbox that were known once, and what is in reach of what a template is given.
ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.append.__globals__ }}",
    "{{ raise_exception.__globals__['json'] }}",
    "{{ strftime_now.__globals__['datetime'] }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ ((''|attr('__class__'))|attr('__mro__'))[0] }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ ('{0.__class__.__mro__}'|attr('format'))('') }}",
    "{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(role='x') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends '/etc/passwd' %}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_stays_within_what_it_is_given(template: str) -> None:
    with pytest.raises(TemplateRefused) as refused:
        render(template, {"messages": [dict(each) for each in MESSAGES]})
    assert not refused.value.of_messages


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("x" * (LONGEST_TEMPLATE + 1), f"it has {LONGEST_TEMPLATE + 1} characters"),
        ("{% for i in range(200) %}{{ big }}{% endfor %}", "it makes more than 8388608 characters of the messages"),
        ("{% for i in range(10**9) %}{% endfor %}", "OverflowError: Range too big"),
    ],
)
def test_its_size_and_what_it_makes_have_bounds(template: str, text: str) -> None:
    with pytest.raises(TemplateRefused, match=f"^{text}"):
        render(template, {"big": "x" * 100_000})


@given(template=st.text("{}%-# '\"abcmessages.|[]()+*~\n", max_size=60))
def test_any_template_makes_a_text_or_is_refused(template: str) -> None:
    with contextlib.suppress(TemplateRefused):
        assert isinstance(render(template, {"messages": MESSAGES}), str)

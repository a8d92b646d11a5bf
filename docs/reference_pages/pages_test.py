from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from mm_service import parse
from mm_service.line_sink import LineSink
from mm_service.settings import setting, table
from mm_service.status import OK
from reference_pages import logs_page, settings_pages
from reference_pages.chart_page import Value, accepts, values
from reference_pages.commands_page import CommandError, help_of
from reference_pages.pieces import code, prose
from scale_service.audit import Audit, Entry


@dataclass(frozen=True)
class Few:
    a_size: int = setting("8", parse.integer(1, 9), "How large; see B_FILE.", ("B_FILE",))
    b_file: str = setting("", parse.optional(parse.file), "A file.", formerly=("B_PATH",))
    c_name: str = setting(None, str, "A name | of <it>.")


def test_a_setting_has_its_default_what_it_takes_and_what_it_needs() -> None:
    assert settings_pages.page("T", "I.", Few) == (
        "# T\n\nI.\n\n"
        "### `A_SIZE` { #a_size }\n\ndefault `8` · a whole number from 1 to 9 · needs `B_FILE`\n\n"
        "How large; see `B_FILE`.\n\n"
        "### `B_FILE` { #b_file }\n\ndefault none · a file that can be read · formerly `B_PATH`\n\nA file.\n\n"
        "### `C_NAME` { #c_name }\n\n**required**\n\nA name \\| of &lt;it>.\n\n"
    )


def test_what_a_parser_takes_is_in_its_own_words() -> None:
    assert [settings_pages.expected(row) for row in table(Few)] == [
        "a whole number from 1 to 9",
        "a file that can be read",
        "",
    ]


def test_values_have_the_comment_above_them_and_the_default_as_it_is_written() -> None:
    text = '# Of no key.\n\n# Of a,\n# in two lines.\na: 1\nb:\n  # Of c.\n  c: {d: 2}\n  e:\n    - 1\n  f: ""\n'
    assert list(values(text)) == [
        Value("a", "1", "Of a, in two lines."),
        Value("b.c", "{d: 2}", "Of c."),
        Value("b.e", "", ""),
        Value("b.f", '""', ""),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("n", "integer from 1 to 9"),
        ("one", 'one of `"a"`, `"b"`'),
        ("many", "list of string"),
        ("deep.n", "integer or null"),
    ],
)
def test_what_the_schema_takes_is_in_words(path: str, expected: str) -> None:
    schema = {
        "$defs": {"small": {"type": "integer", "minimum": 1, "maximum": 9}},
        "properties": {
            "n": {"$ref": "#/$defs/small"},
            "one": {"enum": ["a", "b"]},
            "many": {"type": "array", "items": {"type": "string"}},
            "deep": {"properties": {"n": {"oneOf": [{"type": "integer"}, {"type": "null"}]}}},
        },
    }
    assert accepts(schema, path) == expected


def test_every_field_of_a_line_of_the_scale_services_audit_log_is_described() -> None:
    read, write = os.pipe()
    with open(read, encoding="utf-8") as lines:
        audit = Audit(LineSink("audit", write))
        audit.write(Entry("ann", "token", "peer", "scale", "proxy", {}, "", dry_run=False), OK, "", 0.0)
        line = lines.readline()
        audit.close()
    page = logs_page.page(Path())
    assert [name for name in json.loads(line) if f"| `{name}` |" not in page] == []


def test_a_command_that_fails_is_no_help() -> None:
    with pytest.raises(CommandError, match="--help ended with 2"):
        help_of(lambda _: 2, ())


def test_code_and_prose_stand_for_themselves() -> None:
    assert code("a`b") == "``a`b``"
    assert prose("a_b {c} `d_e | f` <g> | *h*") == r"a\_b \{c\} `d_e \| f` &lt;g> \| \*h\*"

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_service.policy_yaml import MAX_BYTES, PolicyError
from triton_proxy.access.policy import READER

GOOD = "rules:\n  - models: [a]\n    allow: {admins: true}\n"


def test_lines_of_everything() -> None:
    document, lines = READER.read(GOOD)
    assert document == {"rules": [{"models": ["a"], "allow": {"admins": True}}]}
    assert lines == {
        (): 1,
        ("rules",): 1,
        ("rules", 0): 2,
        ("rules", 0, "models"): 2,
        ("rules", 0, "models", 0): 2,
        ("rules", 0, "allow"): 3,
        ("rules", 0, "allow", "admins"): 3,
    }


def rule(models: str = "[a]", allow: str = "{admins: true}", more: str = "") -> str:
    return f"rules:\n  - models: {models}\n    allow: {allow}\n{more}"


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", "the policy is empty; expected rules"),
        ("# nothing\n", "the policy is empty"),
        ("null", "line 1: the document is null; expected a mapping with the one key rules"),
        ("[]", "line 1: the document is []; expected a mapping"),
        ("{}", "line 1: the document: rules is missing"),
        ("rules:", "line 1: rules is null; expected a list of at least one rule"),
        ("rules: []", "line 1: rules is []; expected a list of at least one rule"),
        ("\nrules: [3]", 'line 2: rules[0]: YAML takes "3" for int; put texts in quotes'),
        ("rules: [a]", "line 1: rules[0] is a; expected a rule, which is a mapping with models and allow"),
        (rule(more="rule: 2"), 'line 4: rule: YAML takes "2" for int'),
        (rule(more="rule: x"), "line 4: the document: unknown key rule; expected one of rules"),
        (rule(more="    user: x"), "line 4: rules[0]: unknown key user; expected one of description, models, versions"),
        ("rules: [{models: [a]}]", "line 1: rules[0]: allow is missing"),
        ("rules: [{allow: {admins: true}}]", "line 1: rules[0]: models is missing"),
        (rule(models="[]"), "line 2: rules[0].models is []; expected a list of at least one model name or glob"),
        (rule(models="a"), "line 2: rules[0].models is a; expected a list"),
        (rule(models="[a, '']"), 'line 2: rules[0].models[1] is ""; expected a model name'),
        (rule(models="[1]"), 'line 2: rules[0].models[0]: YAML takes "1" for int; put texts in quotes'),
        (rule(models="[1.5]"), "for float; put texts in quotes"),
        (rule(models="[2026-01-01]"), "for timestamp; put texts in quotes"),
        (rule(models="[no]"), "line 2: rules[0].models[0] is false; expected a model name"),
        (rule(models="['a?']"), 'rules[0].models[0] is "a?"; expected a model name, or a glob with * as the only'),
        (rule(models='["a\\nb"]'), "rules[0].models[0] is"),
        (rule(models='["a\\n"]'), "rules[0].models[0] is"),
        (rule(models="[a/b]"), "rules[0].models[0] is"),
        (rule(models=f"[{'m' * 256}]"), "rules[0].models[0] is"),
        (rule(more="    versions: [1]"), 'line 4: rules[0].versions[0]: YAML takes "1" for int; put texts in quotes'),
        (rule(more="    versions: [v1]"), "line 4: rules[0].versions[0] is v1; expected a version or a glob"),
        (rule(more="    versions: []"), "line 4: rules[0].versions is []; expected a list"),
        (rule(more="    description: |\n      a\n"), "line 4: rules[0].description is"),
        (rule(allow="{}"), "line 3: rules[0].allow is a mapping; expected a mapping with at least one of users"),
        (rule(allow="all"), "line 3: rules[0].allow is all; expected a mapping"),
        (rule(allow="{users: []}"), "rules[0].allow.users is []; expected a list of at least one user name"),
        (rule(allow="{users: ['a*']}"), "a user's whole name, without wildcards"),
        (rule(allow="{users: [null]}"), "rules[0].allow.users[0] is null; expected a user's whole name"),
        (rule(allow="{groups: [ml]}"), "rules[0].allow.groups[0] is ml; expected a group's full path"),
        (rule(allow="{groups: [/a//b]}"), "rules[0].allow.groups[0] is"),
        (rule(allow="{groups: [/a/]}"), "rules[0].allow.groups[0] is"),
        (rule(allow="{groups: [/]}"), "rules[0].allow.groups[0] is"),
        (rule(allow="{groups: [/a**]}"), "rules[0].allow.groups[0] is"),
        (rule(allow="{groups: [/a/***]}"), "rules[0].allow.groups[0] is"),
        (rule(allow="{admins: false}"), "rules[0].allow.admins is false; expected true, or the key left out"),
        (rule(allow="{authenticated: 'true'}"), "rules[0].allow.authenticated is"),
        (rule(allow="{admins: true, admins: true}"), "line 3: rules[0].allow.admins stands twice, first on line 3"),
        (GOOD + GOOD, "line 4: rules stands twice, first on line 1; keep one"),
        (rule(allow="{true: true}"), "line 3: rules[0].allow: true is no key; keys are texts"),
        (rule(allow="{[a]: true}"), "line 3: rules[0].allow: this is no key"),
        (rule(allow="{<<: {admins: true}}"), 'line 3: rules[0].allow: "<<" is no key'),
        (rule(models="&m [a]"), "line 2: anchors (&) and aliases (*) are not allowed here"),
        ("rules: *r", "line 1: anchors (&) and aliases (*) are not allowed here"),
        (rule(models="[*]"), "line 2, column 15: not YAML: "),
        (rule(models="[*]"), 'put a text that begins with * or & in quotes, such as "*"'),
        (rule(models="[!!python/object/apply:os.getpid []]"), "python/object/apply:os.getpid"),
        (rule(models="[!secret x]"), 'YAML takes x for "!secret"'),
        (rule(allow="{admins: !!bool maybe}"), "YAML takes maybe for bool"),
        (rule(models="[!!binary YQ==]"), "for binary"),
        ("rules: [", "line 1, column 9: not YAML"),
        ("rules: [a: }", "not YAML"),
        (GOOD + "---\n" + GOOD, "line 4, column 1: not YAML: but found another document"),
        ("a\n\x00", "line 2: not YAML: the character"),
        ("[" * 100, "line 1: nested more than 8 deep"),
        ("x" * (MAX_BYTES + 1), "the policy is larger than 256 KiB"),
        ("ä" * (MAX_BYTES // 2 + 1), "the policy is larger than 256 KiB"),
    ],
)
def test_mistakes_are_told(text: str, reported: str) -> None:
    with pytest.raises(PolicyError) as caught:
        READER.read(text)
    assert reported in str(caught.value)
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


def test_all_mistakes_at_once_by_line_and_bounded() -> None:
    bad = "\n".join(f"  - {{models: [], allow: {{}}, key{index}: x}}" for index in range(8))
    with pytest.raises(PolicyError) as caught:
        READER.read("rules:\n" + bad)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("line 2: ")
    assert lines[3].startswith("line 3: ")
    assert lines[-1] == "and 14 more"


def test_an_alias_bomb_costs_nothing() -> None:
    bomb = "a: &a [x,x]\n" + "\n".join(f"{c}: &{c} [*{p},*{p}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    begin = time.thread_time()
    with pytest.raises(PolicyError, match="line 1: anchors"):
        READER.read(bomb)
    assert time.thread_time() - begin < 1


def test_deep_nesting_costs_nothing() -> None:
    begin = time.thread_time()
    with pytest.raises(PolicyError, match="nested more than"):
        READER.read("[" * (MAX_BYTES - 1))
    assert time.thread_time() - begin < 1


@given(st.text(st.sampled_from("rules:modlaw \n-[]{}&*!'\"#|>%@`,?\t0\x00\ud800ä"), max_size=60))
def test_any_text_is_read_or_told(text: str) -> None:
    try:
        document, _ = READER.read(text)
    except PolicyError:
        return
    assert document["rules"]

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_identity import Principal
from triton_proxy.access.policy import Policy

ANN = Principal("ann", admin=False)
ROOT = Principal("root", admin=True)
ML = Principal("mel", admin=False, groups=("/roles/Practitioner", "/organizations/acme/ml"))


def policy(*rules: dict[str, object]) -> Policy:
    return Policy.parse(json.dumps({"rules": rules}))


def rule(models: object = ("a",), versions: object = ("*",), **allow: object) -> dict[str, object]:
    return {"models": models, "versions": versions, "allow": allow or {"authenticated": True}}


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        ({"users": ["ann"]}, {ANN}),
        ({"users": ["Ann", "an", "ann "]}, set()),
        ({"admins": True}, {ROOT}),
        ({"authenticated": True}, {ANN, ROOT, ML}),
        ({"groups": ["/organizations/acme/ml"]}, {ML}),
        ({"groups": ["/organizations/*/ml"]}, {ML}),
        ({"groups": ["/organizations/*"]}, set()),
        ({"groups": ["/organizations/acme/ML"]}, set()),
        ({"groups": ["/**"], "users": ["root"]}, {ML, ROOT}),
    ],
)
def test_whom(allow: dict[str, object], allowed: set[Principal]) -> None:
    asked = policy(rule(**allow))
    assert {principal for principal in (ANN, ROOT, ML) if asked.allows(principal, "a", "1")} == allowed


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        (["yolo"], "yolo", True),
        (["yolo"], "YOLO", False),
        (["yolo"], "yolo2", False),
        (["x", "yolo*"], "yolo2", True),
        (["*"], "anything ü", True),
        (["*"], "", False),
        (["*"], "m" * 255, True),
        (["*"], "m" * 256, False),
        # Triton would read `secret`.
        (["*-open"], "secret\0-open", False),
        (["*"], "a\nb", False),
    ],
)
def test_models(models: list[str], model: str, allowed: bool) -> None:
    assert policy(rule(models)).allows(ANN, model, "1") is allowed


@pytest.mark.parametrize(
    ("versions", "version", "allowed"),
    [
        (["1"], "1", True),
        (["1"], "2", False),
        (["1"], "", False),
        (["2*"], "213", True),
        (["*"], "", True),
        (["*"], "7", True),
        (["**"], "", False),
        (["*2"], "12", True),
        # For Triton these are 1.
        (["*2"], "1x2", False),
        (["*2"], "1\x002", False),
        (["*2"], "1 2", False),
        (["1*"], "1x", False),
        (["*1"], "01", False),
        (["*1"], "+1", False),
        (["*1"], "-1", False),
        (["*1"], "1" * 19, False),
        (["1"], "¹", False),
        (["1*"], "1٣", False),
        (["*"], "1x", True),
    ],
)
def test_versions(versions: list[str], version: str, allowed: bool) -> None:
    assert policy(rule(versions=versions)).allows(ANN, "a", version) is allowed


def test_versions_left_out_are_all() -> None:
    assert policy({"models": ["a"], "allow": {"admins": True}}).allows(ROOT, "a", "")


def test_models_and_versions_of_different_rules_do_not_mix() -> None:
    asked = policy(rule(["a"], ["1"]), rule(["b"], ["2"]))
    assert asked.allows(ANN, "a", "1")
    assert not asked.allows(ANN, "a", "2")
    assert not asked.allows(ANN, "b", "1")


NAMES = st.sampled_from(["a", "ab", "b", "a*", "*"])
PLAIN = st.sampled_from(["a", "ab", "b", "", "1x", "a\0"])
GROUPS = st.sampled_from(["/g", "/g/h", "/g/*", "/**"])
RULES = st.builds(
    rule,
    st.lists(NAMES, min_size=1, max_size=2),
    st.lists(st.sampled_from(["1", "2", "*", "1*"]), min_size=1, max_size=2),
    users=st.lists(st.sampled_from(["ann", "bob"]), min_size=1, max_size=2),
    groups=st.lists(GROUPS, min_size=1, max_size=2),
)
PRINCIPALS = st.builds(
    Principal,
    st.sampled_from(["ann", "cat"]),
    st.booleans(),
    st.lists(st.sampled_from(["/g", "/g/h", "/x"]), max_size=2).map(tuple),
)
VERSIONS = st.sampled_from(["", "1", "2", "12", "01"])


@settings(deadline=None)  # The machine may be busy, and reading YAML is no race.
@given(st.lists(RULES, min_size=1, max_size=4), PRINCIPALS, PLAIN, VERSIONS)
def test_explanations_agree_with_decisions(
    rules: list[dict[str, object]], principal: Principal, model: str, version: str
) -> None:
    asked = policy(*rules)
    verdicts = asked.explain(principal, model, version)
    assert asked.allows(principal, model, version) is any(verdict.allows for verdict in verdicts)
    assert asked.allows(principal, model, version) is any(
        policy(one).allows(principal, model, version) for one in rules
    )
    assert all(verdict.reason for verdict in verdicts)


@settings(deadline=None)  # The machine may be busy, and reading YAML is no race.
@given(st.lists(RULES, min_size=1, max_size=4), RULES, PRINCIPALS, PLAIN, VERSIONS)
def test_a_further_rule_takes_nothing_away(
    rules: list[dict[str, object]], more: dict[str, object], principal: Principal, model: str, version: str
) -> None:
    if policy(*rules).allows(principal, model, version):
        assert policy(more, *rules).allows(principal, model, version)


@settings(deadline=None)  # The machine may be busy, and reading YAML is no race.
@given(st.lists(RULES, min_size=1, max_size=4), PRINCIPALS, VERSIONS)
def test_a_denial_does_not_tell_which_names_the_rules_have(
    rules: list[dict[str, object]], principal: Principal, version: str
) -> None:
    rules = [{**one, "models": [name for name in models(one) if name != "b"] or ["x"]} for one in rules]
    unknown = policy(*rules).denial(principal, "b", version)
    known = policy(*rules, rule(["b"], users=["zoe"], groups=["/z"], admins=True)).denial(principal, "b", version)
    assert known == unknown


def models(one: dict[str, object]) -> list[str]:
    found = one["models"]
    assert isinstance(found, list)
    return found


def test_denials_name_what_is_needed() -> None:
    asked = policy(
        rule(["vision-*"], groups=["/organizations/acme/vision", "/b"], admins=True, users=["zoe"]),
        rule(["*"], ["9"], groups=["/c"]),
        rule(["vision-faces"], groups=["/d"]),
    )
    assert asked.denial(ML, "vision-faces", "1") == (
        "mel may not use model 'vision-faces' version '1': the access policy does not allow it; "
        "needed: membership in a group matching /organizations/acme/vision or /b, "
        "or being an administrator of Domino, or a rule that allows it to mel, from the proxy's operator"
    )
    assert asked.denial(ANN, "text", "") == (
        "ann may not use model 'text' in Triton's version: the access policy does not allow it; "
        "needed: a rule that allows it to ann, from the proxy's operator; "
        "this credential brings no groups, which only a token verified by the proxy does"
    )


MANY_GROUPS = policy(rule(["*"], groups=[f"/{'g' * 500}{index}" for index in range(50)]))


@given(st.text(), st.text(), st.text())
def test_denials_are_short_and_on_one_line(user: str, model: str, version: str) -> None:
    text = MANY_GROUPS.denial(Principal(user, admin=False), model * 100, version * 100)
    assert len(text) < 3000
    assert text.isprintable() or not user.isprintable()

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_identity import Principal, Role
from mm_service.policy_yaml import PolicyError
from scale_service.policy import Denied, Policy, Verb
from scale_service.quantities import amount, checked

ANN = Principal("ann", admin=False)
PAGE = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text()


def rule(more: str = "", verbs: str = "[view]", allow: str = "{users: [ann]}") -> str:
    return f"rules:\n  - allow: {allow}\n    deployments: [inference-server]\n    verbs: {verbs}\n{more}"


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (rule(verbs="[scale]"), "line 2: rules[0]: replicas is missing"),
        (rule(verbs="[view, resources]"), "line 2: rules[0]: resources is missing"),
        (rule(verbs="[delete]"), "line 4: rules[0].verbs[0] is delete; expected view, logs, scale, resources or"),
        (rule(verbs="[]"), "line 4: rules[0].verbs is []; expected a list of at least one verb"),
        (rule("    replicas: {max: 4}\n"), 'YAML takes "4" for int; put texts in quotes'),
        (rule("    replicas: {max: '-1'}\n"), "expected a whole number from 0 to 9999 in quotes"),
        (rule("    replicas: {min: '1'}\n"), "line 5: rules[0].replicas: max is missing"),
        (rule("    replicas: {min: '3', max: '2'}\n"), "line 2: replicas of rules[0] has a min above its max"),
        (rule("    resources: {cpu: {min: '1', max: 999m}}\n"), "cpu of rules[0] has a min above its max"),
        (rule("    resources: {}\n"), "expected a mapping with at least one of cpu, memory and gpu"),
        (rule("    resources: {disk: {max: 1Gi}}\n"), "unknown key disk; expected one of cpu, memory, gpu"),
        (rule("    resources: {cpu: {max: lots}}\n"), "expected a quantity as Kubernetes writes it"),
        (rule(allow="{client_roles: [admin]}"), "expected a mapping with client and role, such as {client: triton"),
        (rule(allow="{client_roles: [{client: a}]}"), "rules[0].allow.client_roles[0]: role is missing"),
        (rule(allow="{realm_roles: ['a*']}"), "expected a name in Keycloak, without wildcards"),
        (rule(allow="{}"), "expected a mapping with at least one of users, groups, realm_roles"),
        ("rules:\n  - {allow: {users: [a]}, verbs: [view], deployments: [etcd]}", "expected inference-server or proxy"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, reported: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text)
    assert reported in str(caught.value)


def test_all_values_of_a_change_have_to_be_one_rules() -> None:
    policy = Policy.parse(
        rule("    resources: {cpu: {max: '4'}, memory: {max: 8Gi}}\n", verbs="[resources]")
        + "  - allow: {users: [ann]}\n    deployments: [inference-server]\n    verbs: [resources]\n"
        + "    resources: {cpu: {max: '8'}}\n"
    )
    policy.check_resources(ANN, "inference-server", [("cpu", "4"), ("memory", "8Gi")])
    policy.check_resources(ANN, "inference-server", [("cpu", "8")])
    with pytest.raises(Denied, match="may not set cpu of inference-server to 8 together with the other values"):
        policy.check_resources(ANN, "inference-server", [("cpu", "8"), ("memory", "8Gi")])
    with pytest.raises(Denied, match="the scale policy does not allow it to change gpu"):
        policy.check_resources(ANN, "inference-server", [("cpu", "4"), ("gpu", "1")])


BOUNDS = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)


@given(st.lists(BOUNDS, min_size=1, max_size=3), st.integers(0, 12), st.sampled_from(["ann", "ben"]))
def test_replicas_are_allowed_within_the_bounds_of_a_rule_and_nowhere_else(
    bounds: list[list[int]], wanted: int, name: str
) -> None:
    text = "rules:\n" + "".join(
        f"  - {{allow: {{users: [ann]}}, deployments: [proxy], verbs: [scale],"
        f" replicas: {{min: '{low}', max: '{high}'}}}}\n"
        for low, high in bounds
    )
    policy, principal = Policy.parse(text), Principal(name, admin=True)
    expected = name == "ann" and any(low <= wanted <= high for low, high in bounds)
    try:
        policy.check_replicas(principal, "proxy", wanted)
    except Denied:
        assert not expected
    else:
        assert expected
    assert policy.verbs(principal, "proxy") == (["scale"] if name == "ann" else [])
    with pytest.raises(Denied):
        policy.check(principal, "inference-server", Verb.SCALE)


@pytest.mark.parametrize(
    ("text", "worth"),
    [("1", "1"), ("500m", "0.5"), ("0.1", "0.1"), ("2Gi", "2147483648"), ("2G", "2000000000"), ("1k", "1000")],
)
def test_quantities_are_worth_what_kubernetes_takes_them_for(text: str, worth: str) -> None:
    assert amount(text) == Decimal(worth)


@given(st.text(max_size=8) | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.integers()))
def test_what_passes_as_a_quantity_is_one(value: object) -> None:
    for resource in ("cpu", "memory", "gpu"):
        try:
            text = checked(resource, value)
        except ValueError:
            continue
        assert amount(text) >= 0
        assert text == str(value)


def test_the_example_of_the_documentation_is_a_policy_that_does_what_it_says() -> None:
    policy = Policy.parse(PAGE.split("```yaml\n")[1].split("```")[0])
    admin = Principal("kim", admin=False, roles=(Role("triton-inference-server", "admin"),))
    policy.check_replicas(admin, "proxy", 0)
    policy.check_resources(admin, "inference-server", [("memory", "64Gi"), ("gpu", "2")])
    member = Principal("mel", admin=False, groups=("/organizations/acme/vision",))
    assert [policy.verbs(member, what) for what in ("inference-server", "proxy")] == [["view", "scale"], []]
    with pytest.raises(Denied, match="to 0 replicas: the scale policy allows 1 to 2"):
        policy.check_replicas(member, "inference-server", 0)

from __future__ import annotations

import pytest

from domino_identity import Principal, Role
from domino_identity.allow import Allow

ANN = Principal("ann", admin=False)
MEMBER = Principal("mel", admin=False, groups=("/organizations/acme/ml",))
REALM = Principal("rob", admin=False, roles=(Role(None, "scaler"),))
CLIENT = Principal("cleo", admin=False, roles=(Role("triton-inference-server", "admin"),))
ROOT = Principal("root", admin=True)


@pytest.mark.parametrize(
    ("entry", "admitted", "by", "words"),
    [
        ({"users": ["ann"]}, ANN, "user ann", "user ann"),
        (
            {"groups": ["/organizations/*/ml"]},
            MEMBER,
            "group /organizations/acme/ml (by /organizations/*/ml)",
            "group /organizations/*/ml",
        ),
        ({"realm_roles": ["scaler"]}, REALM, "the realm's role scaler", "the realm's role scaler"),
        (
            {"client_roles": [{"client": "triton-inference-server", "role": "admin"}]},
            CLIENT,
            "role admin of client triton-inference-server",
            "role admin of client triton-inference-server",
        ),
        ({"admins": True}, ROOT, "administrators", "administrators"),
    ],
)
def test_each_kind_admits_its_own_and_no_other(
    entry: dict[str, object], admitted: Principal, by: str, words: str
) -> None:
    allow = Allow.of(entry)
    assert str(allow) == words
    assert [allow.admits(each) for each in (ANN, MEMBER, REALM, CLIENT, ROOT)] == [
        by if each is admitted else None for each in (ANN, MEMBER, REALM, CLIENT, ROOT)
    ]


def test_every_authenticated_principal_is_admitted_where_the_rule_says_so() -> None:
    assert Allow.of({"authenticated": True}).admits(ANN) == "every authenticated principal"


def test_nobody_is_admitted_by_an_empty_entry() -> None:
    assert [Allow.of({}).admits(each) for each in (ANN, MEMBER, REALM, CLIENT, ROOT)] == [None] * 5


@pytest.mark.parametrize(
    "role", [Role(None, "c/admin"), Role("c", "c/admin"), Role("C", "admin"), Role("c", "Admin"), Role("", "admin")]
)
def test_a_role_of_a_client_is_no_other_role_that_reads_like_it(role: Role) -> None:
    allow = Allow.of({"client_roles": [{"client": "c", "role": "admin"}]})
    assert allow.admits(Principal("eve", admin=False, roles=(role,))) is None

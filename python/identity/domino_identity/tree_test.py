from __future__ import annotations

import itertools

import pytest

from domino_identity import Credential, IdentityUnavailable, Kind, NotAuthenticated, NotMine, Principal
from domino_identity.tree import AnyOf, Deny

KEY = Credential(Kind.API_KEY, "k")


class Says:
    def __init__(self, outcome: Principal | Exception) -> None:
        self.outcome = outcome
        self.deadlines: list[float] = []

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.deadlines.append(deadline)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def outcome_of(*authenticators: Says) -> str:
    try:
        return AnyOf(authenticators).authenticate(KEY, 7.0).name
    except (NotAuthenticated, IdentityUnavailable) as error:
        return str(error)


OUTCOMES: dict[str, Principal | Exception] = {
    "ann": Principal("ann", admin=False),
    "no": NotAuthenticated("no"),
    "down": IdentityUnavailable("down"),
    "not mine": NotMine(),
}
NOBODYS = "this proxy does not accept credentials of the kind api-key"


@pytest.mark.parametrize("names", list(itertools.product(OUTCOMES, repeat=3)), ids=" then ".join)
def test_who_can_decide_first_decides(names: tuple[str, ...]) -> None:
    tree = [Says(OUTCOMES[name]) for name in names]
    deciding = next((number for number, name in enumerate(names) if name in ("ann", "no")), None)
    if deciding is not None:
        assert outcome_of(*tree) == names[deciding]
    else:
        assert outcome_of(*tree) == ("down" if "down" in names else NOBODYS)
    # Nobody is asked after a decision.
    asked = len(tree) if deciding is None else deciding + 1
    assert [one.deadlines for one in tree] == [[7.0]] * asked + [[]] * (3 - asked)


def test_nobody_to_ask_lets_nobody_in() -> None:
    assert outcome_of() == NOBODYS


@pytest.mark.parametrize("kind", Kind)
def test_deny_says_what_to_do(kind: Kind) -> None:
    with pytest.raises(NotAuthenticated, match="let nobody in; the operator sets DOMINO_HOST or KEYCLOAK_ISSUER"):
        Deny().authenticate(Credential(kind, "k"), 7.0)

from __future__ import annotations

import pytest

from triton_proxy.auth import Credential, CutShort, IdentityUnavailable, Kind, NotAuthenticated, Principal
from triton_proxy.auth.breaker import Breaker

KEY = Credential(Kind.API_KEY, "k")
ANN = Principal("ann", admin=False)


class Case:
    """A breaker before a Domino that a test rules, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes = 0.0
        self.answer: Principal | Exception = IdentityUnavailable("down")
        self.calls = 0
        self.breaker = Breaker(self, clock=lambda: self.now)

    def authenticate(self, credential: Credential, deadline: float) -> Principal:
        self.calls += 1
        self.now += self.takes
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def ask(self) -> str:
        try:
            return self.breaker.authenticate(KEY, 0).name
        except (NotAuthenticated, IdentityUnavailable) as error:
            return str(error)


def test_after_five_failures_nobody_is_asked() -> None:
    case = Case()
    assert [case.ask() for _ in range(6)] == ["down"] * 5 + [
        "Domino has not answered for a while; try again in some seconds"
    ]
    assert case.calls == 5


@pytest.mark.parametrize("answer", [ANN, NotAuthenticated("no")])
def test_any_decision_between_failures_counts_as_an_answer(answer: Principal | Exception) -> None:
    case = Case()
    for _ in range(4):
        for _ in range(4):
            case.ask()
        case.answer = answer
        case.ask()
        case.answer = IdentityUnavailable("down")
    assert case.calls == 20


def test_one_probe_at_a_time_closes_or_opens_it() -> None:
    case = Case()
    for _ in range(5):
        case.ask()
    case.now += 3.9  # Jitter makes it 4 to 6 s.
    assert case.ask().startswith("Domino has not answered")
    case.now += 2.2
    assert (case.ask(), case.calls) == ("down", 6)
    assert (case.ask()[:6], case.calls) == ("Domino", 6)
    case.now += 6.1
    case.answer = ANN
    assert (case.ask(), case.calls) == ("ann", 7)
    assert (case.ask(), case.calls) == ("ann", 8)


def test_while_the_probe_is_under_way_all_others_are_refused() -> None:
    case = Case()
    for _ in range(5):
        case.ask()
    case.now += 6.1
    meanwhile: list[str] = []

    class Probe:
        def authenticate(self, credential: Credential, deadline: float) -> Principal:
            meanwhile.append(case.ask())
            return ANN

    case.breaker._inner = Probe()
    assert case.ask() == "ann"
    assert meanwhile == ["Domino has not answered for a while; try again in some seconds"]


def test_callers_in_a_hurry_shut_nobody_out() -> None:
    case = Case()
    case.answer = CutShort("no time")
    case.takes = 0.9
    for _ in range(50):
        case.ask()
    case.answer = ANN
    assert case.ask() == "ann"


def test_callers_who_waited_long_enough_count() -> None:
    case = Case()
    case.answer = CutShort("no time")
    case.takes = 1.0
    for _ in range(9):
        case.ask()
    assert case.calls == 5


def test_a_bug_during_the_probe_leaves_it_open_for_a_while_only() -> None:
    case = Case()
    for _ in range(5):
        case.ask()
    case.now += 6.1
    case.answer = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        case.ask()
    case.answer = ANN
    assert case.ask().startswith("Domino has not answered")
    case.now += 6.1
    assert case.ask() == "ann"

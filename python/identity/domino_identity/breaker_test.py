from __future__ import annotations

import threading

import pytest

from domino_identity import Credential, CutShort, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.breaker import Breaker, CircuitStatistics

KEY = Credential(Kind.API_KEY, "k")
ANN = Principal("ann", admin=False)
OPEN = "Domino has not answered for a while; try again in some seconds"


class Case:
    """A breaker before a Domino that a test rules, on a clock that a test moves.

    Attributes:
        answer: what Domino says about a credential.
        takes: seconds until it does.
        alive: whether it answers a question without a credential.
        calls: questions about a credential so far; `checks` those without one.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.takes = 0.0
        self.answer: Principal | Exception = IdentityUnavailable("down")
        self.alive = False
        self.calls = self.checks = 0
        self.breaker = Breaker(self, self.answers, clock=lambda: self.now)

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.calls += 1
        self.now += self.takes
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def answers(self) -> bool:
        self.checks += 1
        return self.alive

    def ask(self, *, known: bool) -> str:
        try:
            return self.breaker.authenticate(KEY, 0, known=known).name
        except (NotAuthenticated, IdentityUnavailable) as error:
            return str(error)


every_caller = pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])


@every_caller
def test_after_five_failures_nobody_is_asked(known: bool) -> None:
    case = Case()
    assert [case.ask(known=known) for _ in range(6)] == ["down"] * 5 + [OPEN]
    assert (case.calls, case.checks) == (5, 0 if known else 1)


@every_caller
def test_it_says_how_both_circuits_stand(known: bool) -> None:
    case = Case()
    for _ in range(4):
        case.ask(known=known)
    closed = CircuitStatistics(failures=0, open=False, opened=0, refused=0)
    assert standing(case, known=known) == (CircuitStatistics(failures=4, open=False, opened=0, refused=0), closed)
    for _ in range(3):
        case.ask(known=known)
    assert standing(case, known=known) == (CircuitStatistics(failures=5, open=True, opened=1, refused=2), closed)
    case.now += 10
    case.ask(known=known)  # The probe.
    assert standing(case, known=known) == (CircuitStatistics(failures=6, open=True, opened=2, refused=2), closed)
    case.now += 10
    case.answer = ANN
    case.ask(known=known)
    assert standing(case, known=known) == (CircuitStatistics(failures=0, open=False, opened=2, refused=2), closed)


def standing(case: Case, *, known: bool) -> tuple[CircuitStatistics, CircuitStatistics]:
    """The circuit that is asked about, and the other."""
    statistics = case.breaker.statistics()
    both = statistics.known, statistics.strangers
    return both if known else both[::-1]


@every_caller
def test_a_refusal_says_when_to_try_again(known: bool) -> None:
    case = Case()
    for _ in range(5):
        case.ask(known=known)
    case.now += 1
    with pytest.raises(IdentityUnavailable) as caught:
        case.breaker.authenticate(KEY, 0, known=known)
    assert caught.value.retry_after_secs is not None
    assert 3 <= caught.value.retry_after_secs <= 5  # Jitter makes it 4 to 6 s in all.


@every_caller
@pytest.mark.parametrize("answer", [ANN, NotAuthenticated("no")])
def test_any_decision_between_failures_counts_as_an_answer(answer: Principal | Exception, known: bool) -> None:
    case = Case()
    for _ in range(4):
        for _ in range(4):
            case.ask(known=known)
        case.answer = answer
        case.ask(known=known)
        case.answer = IdentityUnavailable("down")
    assert case.calls == 20


@pytest.mark.parametrize("alive", [False, True])
def test_no_failure_of_a_stranger_shuts_a_known_caller_out(alive: bool) -> None:
    case = Case()
    case.alive = alive
    for _ in range(50):
        case.ask(known=False)
    case.answer = ANN
    assert case.ask(known=True) == "ann"


def test_no_decision_about_a_stranger_hides_from_known_callers_that_domino_is_dead() -> None:
    """A gateway before it may go on refusing garbage by itself."""
    case = Case()
    for _ in range(5):
        case.answer = IdentityUnavailable("down")
        case.ask(known=True)
        case.answer = NotAuthenticated("no")
        case.ask(known=False)
    assert (case.ask(known=True), case.ask(known=False)) == (OPEN, "no")


def test_strangers_whose_credentials_domino_chokes_on_shut_no_other_stranger_out() -> None:
    case = Case()
    case.alive = True
    for _ in range(50):
        assert case.ask(known=False) == "down"
    case.answer = ANN
    assert case.ask(known=False) == "ann"
    assert case.checks == 10


def test_a_dead_domino_is_found_out_where_only_strangers_ask() -> None:
    case = Case()
    for _ in range(50):
        case.ask(known=False)
    assert (case.calls, case.checks) == (5, 1)


def test_it_opens_for_known_callers_by_their_own_failures_alone() -> None:
    case = Case()
    case.alive = True
    assert [case.ask(known=True) for _ in range(6)][-1] == OPEN
    # And strangers find out for themselves.
    assert case.ask(known=False) == "down"
    assert case.checks == 0


@every_caller
def test_one_probe_at_a_time_closes_or_opens_it(known: bool) -> None:
    case = Case()
    for _ in range(5):
        case.ask(known=known)
    case.now += 3.9  # Jitter makes it 4 to 6 s.
    assert case.ask(known=known) == OPEN
    case.now += 2.2
    assert (case.ask(known=known), case.calls) == ("down", 6)
    assert (case.ask(known=known), case.calls) == (OPEN, 6)
    case.now += 6.1
    case.answer = ANN
    assert (case.ask(known=known), case.calls) == ("ann", 7)
    assert (case.ask(known=known), case.calls) == ("ann", 8)


def test_a_probe_with_a_credential_that_domino_chokes_on_closes_it() -> None:
    case = Case()
    for _ in range(5):
        case.ask(known=False)
    case.now += 6.1
    case.alive = True
    assert case.ask(known=False) == "down"
    case.answer = ANN
    assert case.ask(known=False) == "ann"


@every_caller
def test_while_the_probe_is_under_way_all_others_are_refused(known: bool) -> None:
    meanwhile: list[str] = []

    class Reentered(Case):
        def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
            if self.answer is ANN:
                meanwhile.append(self.ask(known=known))
            return super().authenticate(credential, deadline, known=known)

    case = Reentered()
    for _ in range(5):
        case.ask(known=known)
    case.now += 6.1
    case.answer = ANN
    assert case.ask(known=known) == "ann"
    assert meanwhile == [OPEN]


def test_while_domino_is_asked_without_a_credential_nobody_asks_that_again() -> None:
    case = Case()
    asked, may_answer = threading.Event(), threading.Event()

    def answers() -> bool:
        case.checks += 1
        asked.set()
        assert may_answer.wait(30)
        return True

    case.breaker = Breaker(case, answers, clock=lambda: case.now)
    for _ in range(4):
        case.ask(known=False)
    fifth = threading.Thread(target=case.ask, kwargs={"known": False})
    fifth.start()
    assert asked.wait(30)
    assert [case.ask(known=False) for _ in range(10)] == ["down"] * 10
    may_answer.set()
    fifth.join()
    assert case.checks == 1


@every_caller
def test_callers_in_a_hurry_shut_nobody_out(known: bool) -> None:
    case = Case()
    case.answer = CutShort("no time")
    case.takes = 0.9
    for _ in range(50):
        case.ask(known=known)
    case.answer = ANN
    assert case.ask(known=known) == "ann"


@every_caller
def test_callers_that_waited_long_enough_count(known: bool) -> None:
    case = Case()
    case.answer = CutShort("no time")
    case.takes = 1.0
    for _ in range(9):
        case.ask(known=known)
    assert case.calls == 5


@every_caller
def test_a_bug_during_the_probe_leaves_it_open_for_a_while_only(known: bool) -> None:
    case = Case()
    for _ in range(5):
        case.ask(known=known)
    case.now += 6.1
    case.answer = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        case.ask(known=known)
    case.answer = ANN
    assert case.ask(known=known) == OPEN
    case.now += 6.1
    assert case.ask(known=known) == "ann"

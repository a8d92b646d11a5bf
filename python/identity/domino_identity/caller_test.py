from __future__ import annotations

import threading
import time

import pytest

from domino_identity import Credential, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.caller import Caller
from domino_identity.decisions import Decisions


class Case:
    def __init__(self) -> None:
        self.now = 0.0
        self.answer: Principal | Exception = Principal("ann", admin=False)
        self.calls = 0
        decisions = Decisions(self, positive_secs=60, clock=lambda: self.now)
        credential = Credential(Kind.API_KEY, "k3y")
        self.caller = Caller(decisions, credential, decisions.decide(credential, soon()), clock=lambda: self.now)

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def soon() -> float:
    return time.monotonic() + 30


def test_while_the_decision_stands_nobody_is_asked() -> None:
    case = Case()
    case.now = 59.9
    case.caller.confirm(soon())
    assert (case.caller.lapsed, case.calls) == (False, 1)
    assert (case.caller.principal.name, case.caller.kind) == ("ann", Kind.API_KEY)


def test_a_lapsed_decision_is_taken_again_with_what_it_says_now() -> None:
    case = Case()
    case.now = 60
    assert case.caller.lapsed
    case.answer = Principal("ann", admin=True)
    case.caller.confirm(soon())
    assert (case.caller.lapsed, case.caller.principal.admin, case.calls) == (False, True, 2)


@pytest.mark.parametrize("answer", [NotAuthenticated("revoked"), IdentityUnavailable("down")])
def test_what_is_not_confirmed_stays_lapsed(answer: Exception) -> None:
    case = Case()
    case.now = 60
    case.answer = answer
    for _ in range(2):
        with pytest.raises(type(answer), match=str(answer)):
            case.caller.confirm(soon())
        assert case.caller.lapsed


def test_somebody_else_is_not_who_began() -> None:
    case = Case()
    case.now = 60
    case.answer = Principal("bob", admin=True)
    for _ in range(2):
        with pytest.raises(NotAuthenticated, match="belongs to somebody else by now; begin a new stream"):
            case.caller.confirm(soon())
        assert case.caller.principal.name == "ann"


def test_many_threads_of_one_stream_ask_once() -> None:
    case = Case()
    case.now = 60
    threads = [threading.Thread(target=case.caller.confirm, args=[soon()]) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert case.calls == 2


def test_its_text_holds_no_credential() -> None:
    assert "k3y" not in repr(Case().caller) + str(Case().caller)

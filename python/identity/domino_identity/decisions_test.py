"""What is remembered about credentials, for how long, and that it is not the credentials."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Iterable

import pytest

from domino_identity import Credential, CutShort, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.decisions import Decisions, Outcome, Source

ANN = Principal("ann", admin=False)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Domino:
    """Answers as it is told to, and counts."""

    def __init__(self) -> None:
        self.answer: Principal | Exception = ANN
        self.calls = 0
        self.known: list[bool] = []

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.calls += 1
        self.known.append(known)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Case:
    def __init__(self, *, positive_secs: float = 60, stale_secs: float = 0, entries: int = 100) -> None:
        self.clock = Clock()
        self.domino = Domino()
        self.decisions = Decisions(
            self.domino,
            positive_secs=positive_secs,
            stale_secs=stale_secs,
            entries=entries,
            clock=self.clock,
            wall_clock=self.clock,
        )

    def ask(self, key: str = "k", kind: Kind = Kind.API_KEY) -> str:
        try:
            return self.decisions.decide(Credential(kind, key), time.monotonic() + 30).principal.name
        except (NotAuthenticated, IdentityUnavailable) as error:
            return type(error).__name__


def test_a_yes_stands_for_its_time() -> None:
    case = Case(positive_secs=60)
    assert case.ask() == "ann"
    case.domino.answer = NotAuthenticated("revoked")
    case.clock.now += 59.9
    assert (case.ask(), case.domino.calls) == ("ann", 1)
    case.clock.now += 0.1
    assert (case.ask(), case.domino.calls) == ("NotAuthenticated", 2)


def test_what_is_remembered_is_recalled_without_asking() -> None:
    case = Case(positive_secs=60)
    credential = Credential(Kind.API_KEY, "k")
    assert case.decisions.recall(credential) is None
    case.ask()
    recalled = case.decisions.recall(credential)
    assert recalled is not None
    assert (recalled.principal, recalled.valid_until) == (ANN, case.clock.now + 60)
    assert case.decisions.recall(Credential(Kind.TOKEN, "k")) is None
    case.clock.now += 60
    assert case.decisions.recall(credential) is None
    case.domino.answer = NotAuthenticated("revoked")
    case.ask()
    with pytest.raises(NotAuthenticated, match="revoked"):
        case.decisions.recall(credential)
    assert case.domino.calls == 2


def test_a_no_stands_for_five_seconds_and_keeps_its_reason() -> None:
    case = Case()
    case.domino.answer = NotAuthenticated("expired")
    for _ in range(2):
        with pytest.raises(NotAuthenticated, match="expired"):
            case.decisions.decide(Credential(Kind.API_KEY, "k"), time.monotonic() + 30)
    case.domino.answer = ANN
    case.clock.now += 4.9
    assert (case.ask(), case.domino.calls) == ("NotAuthenticated", 1)
    case.clock.now += 0.1
    assert (case.ask(), case.domino.calls) == ("ann", 2)


def test_a_shorter_time_for_a_yes_is_one_for_a_no_too() -> None:
    case = Case(positive_secs=1)
    case.domino.answer = NotAuthenticated("no")
    case.ask()
    case.clock.now += 1
    case.ask()
    assert case.domino.calls == 2


def test_that_nobody_can_say_is_not_remembered() -> None:
    case = Case()
    case.domino.answer = IdentityUnavailable("down")
    assert case.ask() == "IdentityUnavailable"
    case.domino.answer = ANN
    assert case.ask() == "ann"


@pytest.mark.parametrize("stale_secs", [0, 600])
@pytest.mark.parametrize(("left", "stands"), [(300, 60), (60, 60), (7, 7), (0, 0), (-5, 0)])
def test_no_yes_stands_past_the_tokens_end(left: float, stands: float, stale_secs: float) -> None:
    case = Case(positive_secs=60, stale_secs=stale_secs)
    case.domino.answer = Principal("ann", admin=False, expires_at=case.clock.now + left)
    decision = case.decisions.decide(Credential(Kind.TOKEN, "t"), time.monotonic() + 30)
    assert decision.valid_until == case.clock.now + stands
    case.domino.answer = IdentityUnavailable("down")
    case.clock.now += max(left, 0)
    assert case.ask("t", Kind.TOKEN) == "IdentityUnavailable" if left <= 60 or stale_secs == 0 else "ann"


def test_a_key_is_no_token() -> None:
    case = Case()
    assert case.ask("same", Kind.API_KEY) == "ann"
    case.domino.answer = NotAuthenticated("no")
    assert case.ask("same", Kind.TOKEN) == "NotAuthenticated"


def test_the_yes_unused_for_longest_goes_first() -> None:
    case = Case(entries=3)
    for key in ("a", "b", "c", "a", "d"):
        case.ask(key)
    calls = case.domino.calls
    assert calls == 4
    for key in ("a", "c", "d"):
        case.ask(key)
    assert case.domino.calls == calls
    case.ask("b")
    assert case.domino.calls == calls + 1


def test_unknown_keys_push_no_known_one_out() -> None:
    case = Case(entries=3)
    case.ask("known")
    case.domino.answer = NotAuthenticated("no")
    for number in range(50):
        case.ask(f"unknown-{number}")
    assert case.ask("known") == "ann"
    now = case.decisions.statistics()
    assert (now.remembered_yes, now.remembered_no, now.evicted) == (1, 3, 47)
    assert (now.asking, now.waiting, now.refused, now.stale_answers) == (0, 0, 0, 0)


def test_decisions_are_counted_by_kind_source_and_outcome() -> None:
    case = Case()
    for _ in range(3):
        case.ask("good")
    assert case.decisions.recall(Credential(Kind.API_KEY, "good")) is not None
    assert case.decisions.recall(Credential(Kind.API_KEY, "never seen")) is None
    case.domino.answer = NotAuthenticated("no")
    for _ in range(2):
        case.ask("bad", Kind.TOKEN)
    case.domino.answer = IdentityUnavailable("down")
    for _ in range(2):
        case.ask("other")
    assert case.decisions.statistics().decided == {
        (Kind.API_KEY, Source.ASKED, Outcome.YES): 1,
        (Kind.API_KEY, Source.MEMORY, Outcome.YES): 3,
        (Kind.TOKEN, Source.ASKED, Outcome.NO): 1,
        (Kind.TOKEN, Source.MEMORY, Outcome.NO): 1,
        (Kind.API_KEY, Source.ASKED, Outcome.UNDECIDED): 2,
    }


def test_a_credential_is_known_from_the_first_yes_to_the_next_no() -> None:
    case = Case(positive_secs=60)
    for answer in (ANN, IdentityUnavailable("down"), NotAuthenticated("no"), IdentityUnavailable("down"), ANN, ANN):
        case.domino.answer = answer
        case.ask()
        case.clock.now += 60
    case.ask("another")
    assert case.domino.known == [False, True, True, False, False, True, False]


def test_a_refusal_passes_on_when_to_try_again() -> None:
    case = Case()
    case.domino.answer = IdentityUnavailable("down", 4.5)
    with pytest.raises(IdentityUnavailable) as caught:
        case.decisions.decide(Credential(Kind.API_KEY, "k"), time.monotonic() + 30)
    assert caught.value.retry_after_secs == 4.5


def test_stale_is_off_by_default() -> None:
    case = Case()
    case.ask()
    case.clock.now += 60
    case.domino.answer = IdentityUnavailable("down")
    assert case.ask() == "IdentityUnavailable"
    assert case.decisions.statistics().stale_answers == 0


def test_stale_is_for_who_was_known_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    case = Case(stale_secs=100)
    case.ask("ann's")
    case.domino.answer = IdentityUnavailable("down")
    assert case.ask("other") == "IdentityUnavailable"
    case.clock.now += 60
    assert (case.ask("ann's"), case.decisions.statistics().stale_answers) == ("ann", 1)
    assert "ann is let in by an earlier decision" in caplog.text
    assert "ann's" not in caplog.text
    # Not each packet waits for a Domino that is away, but every five seconds somebody asks.
    calls = case.domino.calls
    case.clock.now += 4
    assert (case.ask("ann's"), case.domino.calls, case.decisions.statistics().stale_answers) == ("ann", calls, 1)
    case.clock.now += 1
    assert (case.ask("ann's"), case.domino.calls, case.decisions.statistics().stale_answers) == ("ann", calls + 1, 2)
    case.clock.now += 95
    assert case.ask("ann's") == "IdentityUnavailable"


def test_after_a_no_nothing_is_stale() -> None:
    case = Case(stale_secs=1000)
    case.ask()
    case.clock.now += 60
    case.domino.answer = NotAuthenticated("revoked")
    assert case.ask() == "NotAuthenticated"
    case.domino.answer = IdentityUnavailable("down")
    case.clock.now += 5
    assert case.ask() == "IdentityUnavailable"


def test_a_hurry_makes_nothing_stale() -> None:
    case = Case(stale_secs=1000)
    case.ask()
    case.clock.now += 60
    case.domino.answer = CutShort("no time")
    assert case.ask() == "CutShort"


def reachable(thing: object) -> Iterable[object]:
    """All that garbage collection would keep for its sake, short of modules and what all objects share."""
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type(threading) | type):
            continue
        seen.add(id(one))
        yield one
        if getattr(one, "__module__", None) != "builtins" and not callable(one):
            waiting += gc.get_referents(one)


@pytest.mark.parametrize("outcome", [ANN, NotAuthenticated("no"), IdentityUnavailable("down")])
def test_no_credential_is_kept(outcome: Principal | Exception, caplog: pytest.LogCaptureFixture) -> None:
    secret = "the-" + "s3cret-" * 3 + str(time.time())

    class Asked(Domino):
        def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
            asked = credential.secret
            try:
                raise ValueError(f"quotes {asked}")
            except ValueError:
                # As a real one would: the first error stays behind as this one's context.
                return super().authenticate(credential, deadline)

    asked = Asked()
    asked.answer = outcome
    decisions = Decisions(asked, positive_secs=60)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            with contextlib.suppress(NotAuthenticated, IdentityUnavailable):
                decisions.decide(Credential(Kind.API_KEY, secret), time.monotonic() + 30)
    assert secret not in caplog.text + repr(decisions)
    # The test's own exception has a traceback by now.
    asked.answer = ANN
    found = [thing for thing in reachable(decisions) if secret in (repr(thing) if not callable(thing) else "")]
    assert found == []

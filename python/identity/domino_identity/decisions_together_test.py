"""Many callers at once: which of them asks, waits for the answer to another, or is refused since there are too many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import pytest

from domino_identity import Credential, CutShort, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.decisions import Decisions, Standing

ANN = Principal("ann", admin=False)
KNOWN = ("ann",)
TIMEOUT = 30
# What `decisions` allows, as operators see it in Domino's log and callers in refusals.
QUESTIONS, STRANGERS = 32, 64
FULL = "the proxy is finding out about as many unknown callers as it does at once; try again in a second"
Behaviour = Callable[[Credential, float], Principal]


class Gate:
    """An authenticator that lets a test decide when it answers."""

    def __init__(self, answer: Behaviour) -> None:
        self.answer = answer
        self.calls = 0
        self.asked = threading.Event()
        self.open = threading.Event()

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.calls += 1
        self.asked.set()
        assert self.open.wait(30)
        return self.answer(credential, deadline)


class Slow:
    """An authenticator before which each question stands until the test lets it go; it knows ann's credential.

    Attributes:
        secrets: what was asked about.
        may_answer: until it is set, strangers' questions are not answered.
    """

    def __init__(self) -> None:
        self.secrets: list[str] = []
        self.may_answer = threading.Event()

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        self.secrets.append(credential.secret)
        if credential.secret in KNOWN:
            return ANN
        assert self.may_answer.wait(TIMEOUT)
        raise NotAuthenticated("no")


def await_that(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def decide(decisions: Decisions, secret: str, kind: Kind = Kind.API_KEY, *, secs: float = 1e6) -> str:
    try:
        return decisions.decide(Credential(kind, secret), time.monotonic() + secs).principal.name
    except (NotAuthenticated, IdentityUnavailable) as error:
        return str(error)


class Flood:
    """Strangers that are being asked about, each in a thread; at its end all have their answers.

    Attributes:
        outcomes: the name or the refusal that each of them got.
    """

    def __init__(self, decisions: Decisions, slow: Slow, secrets: Iterable[str], kind: Kind = Kind.API_KEY) -> None:
        self.outcomes: list[str] = []
        self._slow = slow
        self._threads = [
            threading.Thread(target=lambda one=one: self.outcomes.append(decide(decisions, one, kind)))
            for one in secrets
        ]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._slow.may_answer.set()
        for thread in self._threads:
            thread.join()


def together(decisions: Decisions, deadlines: Iterable[float]) -> tuple[list[threading.Thread], list[str]]:
    outcomes: list[str] = []

    def ask(deadline: float) -> None:
        try:
            outcomes.append(decisions.decide(Credential(Kind.API_KEY, "k"), deadline).principal.name)
        except (NotAuthenticated, IdentityUnavailable) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=ask, args=[deadline]) for deadline in deadlines]
    for thread in threads:
        thread.start()
    return threads, outcomes


def refuse(credential: Credential, deadline: float) -> Principal:
    raise NotAuthenticated("no")


def be_away(credential: Credential, deadline: float) -> Principal:
    raise IdentityUnavailable("down")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(lambda *_: ANN, "ann"), (refuse, "NotAuthenticated"), (be_away, "IdentityUnavailable")],
)
def test_a_thousand_at_once_of_a_known_caller_ask_once(answer: Behaviour, outcome: str) -> None:
    now = 1000.0
    gate = Gate(lambda *_: ANN)
    gate.open.set()
    decisions = Decisions(gate, positive_secs=60, clock=lambda: now)
    assert decide(decisions, "k") == "ann"
    now += 60
    gate.open.clear()
    gate.answer = answer
    threads, outcomes = together(decisions, [now + 60] * 1000)
    await_that(lambda: decisions.statistics().waiting == 999)
    assert (decisions.statistics().asking, decisions.statistics().refused) == (1, 0)
    gate.open.set()
    for thread in threads:
        thread.join()
    assert outcomes == [outcome] * 1000
    assert gate.calls == 2
    assert (decisions.statistics().asking, decisions.statistics().waiting) == (0, 0)


def test_one_with_an_early_deadline_fails_nobody_else() -> None:
    def answer(credential: Credential, deadline: float) -> Principal:
        if deadline - time.monotonic() < 100:
            raise CutShort("no time")
        return ANN

    gate = Gate(answer)
    decisions = Decisions(gate, positive_secs=60)
    first, first_outcome = together(decisions, [time.monotonic() + 50])
    assert gate.asked.wait(30)
    others, outcomes = together(decisions, [time.monotonic() + 200] * 20)
    gate.open.set()
    for thread in [*first, *others]:
        thread.join()
    assert first_outcome == ["CutShort"]
    assert outcomes == ["ann"] * 20
    assert gate.calls == 2


def test_who_waits_for_anothers_question_waits_no_longer_than_told() -> None:
    gate = Gate(lambda *_: ANN)
    decisions = Decisions(gate, positive_secs=60)
    first, _ = together(decisions, [time.monotonic() + 60])
    assert gate.asked.wait(30)
    second, outcome = together(decisions, [time.monotonic() + 0.05])
    second[0].join()
    assert outcome == ["CutShort"]
    gate.open.set()
    first[0].join()


def test_a_bug_in_one_question_hangs_nobody() -> None:
    def answer(credential: Credential, deadline: float) -> Principal:
        if gate.calls == 1:
            raise RuntimeError("bug")
        return ANN

    gate = Gate(answer)
    gate.open.set()
    decisions = Decisions(gate, positive_secs=60)
    with pytest.raises(RuntimeError):
        decisions.decide(Credential(Kind.API_KEY, "k"), time.monotonic() + 30)
    assert decisions.decide(Credential(Kind.API_KEY, "k"), time.monotonic() + 30).principal is ANN


@pytest.mark.parametrize("same", [False, True], ids=["each with another key", "all with one key"])
def test_so_many_strangers_are_asked_about_and_so_many_wait(same: bool) -> None:
    slow = Slow()
    decisions = Decisions(slow, positive_secs=60)
    asking = 1 if same else QUESTIONS
    with Flood(decisions, slow, ["x" if same else f"x{number}" for number in range(STRANGERS)]) as flood:
        await_that(lambda: decisions.statistics().waiting == STRANGERS - asking)
        await_that(lambda: len(slow.secrets) == asking)
        assert (decisions.statistics().asking, decisions.statistics().refused) == (asking, 0)
        for number in range(5):
            with pytest.raises(IdentityUnavailable, match=FULL) as caught:
                decisions.decide(Credential(Kind.API_KEY, f"y{number}"), time.monotonic() + TIMEOUT)
            assert caught.value.retry_after_secs == 1
        assert decisions.statistics().refused == 5
        # A caller that would wait for a turn is told at once, without a thread to wait in.
        stranger = Credential(Kind.API_KEY, "s3cret-one-more")
        assert decisions.standing(stranger) is Standing.REFUSED
        with pytest.raises(IdentityUnavailable, match="about as many unknown callers as it does at once"):
            decisions.recall(stranger)
        assert decisions.statistics().refused == 6
        assert len(slow.secrets) == asking
    assert flood.outcomes == ["no"] * STRANGERS
    assert sorted(slow.secrets) == (["x"] if same else sorted(f"x{number}" for number in range(STRANGERS)))
    assert decide(decisions, "y0") == "no"
    assert (decisions.statistics().asking, decisions.statistics().waiting) == (0, 0)


@pytest.mark.parametrize(("calls", "places"), [(1, 1), (3, 1), (40, 10), (256, 64), (10_000, 64)])
def test_of_few_calls_strangers_of_a_kind_get_a_quarter(calls: int, places: int) -> None:
    slow = Slow()
    decisions = Decisions(slow, positive_secs=60, calls=calls)
    with Flood(decisions, slow, [f"x{number}" for number in range(places)]):
        await_that(lambda: decisions.statistics().asking + decisions.statistics().waiting == places)
        assert decide(decisions, "y") == FULL


@pytest.mark.parametrize("kind", Kind)
def test_a_known_caller_is_confirmed_however_many_strangers_there_are(kind: Kind) -> None:
    now = 1000.0
    slow = Slow()
    decisions = Decisions(slow, positive_secs=60, clock=lambda: now)
    assert decide(decisions, "ann", kind) == "ann"
    with Flood(decisions, slow, [f"x{number}" for number in range(STRANGERS)], kind):
        await_that(lambda: decisions.statistics().waiting == STRANGERS - QUESTIONS)
        for _ in range(10):
            now += 60
            assert decide(decisions, "ann", kind) == "ann"
        assert decide(decisions, "y", kind) == FULL
    assert slow.secrets.count("ann") == 11


def test_strangers_with_keys_take_no_place_of_strangers_with_tokens() -> None:
    slow = Slow()
    decisions = Decisions(slow, positive_secs=60)
    with Flood(decisions, slow, [f"x{number}" for number in range(STRANGERS)]):
        await_that(lambda: decisions.statistics().waiting == STRANGERS - QUESTIONS)
        assert decide(decisions, "ann", Kind.TOKEN) == "ann"
        assert decide(decisions, "ann") == FULL


def test_a_stranger_that_waits_for_its_turn_waits_no_longer_than_it_has() -> None:
    slow = Slow()
    decisions = Decisions(slow, positive_secs=60)
    with Flood(decisions, slow, [f"x{number}" for number in range(QUESTIONS)]):
        await_that(lambda: len(slow.secrets) == QUESTIONS)
        assert decide(decisions, "y", secs=0.05) == (
            "the proxy did not get to ask who is calling within the call's deadline; allow more time"
        )
        assert (decisions.statistics().waiting, decisions.statistics().refused) == (0, 0)
    assert "y" not in slow.secrets


def test_known_callers_are_asked_about_so_many_at_once_and_all_get_their_answer() -> None:
    count, now = 4 * QUESTIONS, 1000.0
    gate = Gate(lambda *_: ANN)
    gate.open.set()
    decisions = Decisions(gate, positive_secs=60, clock=lambda: now)
    assert [decide(decisions, str(number)) for number in range(count)] == ["ann"] * count
    now += 60
    gate.open.clear()
    outcomes: list[str] = []
    threads = [
        threading.Thread(target=lambda one=str(number): outcomes.append(decide(decisions, one)))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    await_that(lambda: decisions.statistics().waiting == count - QUESTIONS)
    await_that(lambda: gate.calls == count + QUESTIONS)
    gate.open.set()
    for thread in threads:
        thread.join()
    assert outcomes == ["ann"] * count

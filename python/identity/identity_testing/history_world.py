"""A world in which a history happens to all of `auth` but its sockets, and in which each answer is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from domino_identity import Authenticator, Credential, IdentityUnavailable, NotAuthenticated
from domino_identity.breaker import Breaker
from domino_identity.caller import Caller
from domino_identity.decisions import Decision, Decisions
from domino_identity.domino import DominoPrincipal
from domino_identity.http import NoAnswer
from domino_identity.tree import AnyOf
from identity_testing.history import (
    ANSWERS,
    BACKEND_DEAD,
    BEGINS_AT,
    CALLS,
    KNOWN,
    NAMED,
    NO_ANSWERS,
    NOES,
    STRANGERS,
    TOKEN,
    TOKEN_ENDS_AT,
    WALL_CLOCK,
    Event,
    History,
)

_TIMEOUT_SECS = 5.0
_MANY = 10


class Build(Protocol):
    """Puts the authenticators together over a world."""

    def __call__(self, world: World, asked: History) -> Decisions:
        """The decisions of a proxy with nothing remembered."""


def build(
    world: World, asked: History, around: Callable[[Authenticator], Authenticator] = lambda all_: all_
) -> Decisions:
    """What the proxy runs, but for sockets, clocks and chance.

    Args:
        world: has Domino and the clocks.
        asked: has the settings.
        around: puts something between decisions and authenticators.
    """
    domino = DominoPrincipal(
        "https://domino.example",
        world,
        timeout_secs=_TIMEOUT_SECS,
        clock=world.clock,
        sleep=world.sleep,
        jitter=_middle,
    )
    return Decisions(
        around(AnyOf([Breaker(domino, domino.answers, clock=world.clock, jitter=_middle)])),
        positive_secs=asked.cache_secs,
        stale_secs=asked.stale_secs,
        entries=asked.entries,
        clock=world.clock,
        wall_clock=world.wall_clock,
    )


def _middle(low: float, high: float) -> float:
    return (low + high) / 2


@dataclass
class _LastDecision:
    """The last thing that Domino decided about a credential: the name, or None; and until when that stands at most."""

    name: str | None = None
    ends_at: float = float("inf")


@dataclass
class World:
    """Domino and all that call, in one thread: others call while a question is under way.

    Attributes:
        asked: the history.
        with_strangers: whether its strangers call.
        now: the clock; `wall` is the other one.
        condition: what Domino says to everybody; "" while it looks at the credential.
        says: what it says then.
        decided: what it decided last.
        answers: what known callers got, as long as they were known.
        counts: what all got, by kind.
        meanwhile: what happens before Domino's next answer.
    """

    asked: History
    with_strangers: bool
    counts: Counter[str]
    build: Build = build
    now: float = BEGINS_AT
    wall: float = WALL_CLOCK
    condition: str = ""
    says: dict[str, str] = field(default_factory=dict)
    decided: dict[str, _LastDecision] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._decisions = self.build(self, self.asked)
        self._streams: dict[int, Caller] = {}
        self._named_at: dict[tuple[str, str], float] = {}

    def clock(self) -> float:
        """The time by which decisions stand."""
        return self.now

    def wall_clock(self) -> float:
        """The time by which tokens end."""
        return self.wall

    def sleep(self, secs: float) -> None:
        """Lets time pass."""
        self.now += secs
        self.wall += secs

    def get(self, url: str, headers: Mapping[str, str], *, timeout_secs: float) -> tuple[int, bytes]:
        """As `http.Client.get`."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        secret = headers.get("X-Domino-Api-Key") or headers.get("Authorization", "").removeprefix("Bearer ")
        says = self.condition or self.says.get(secret, "anonymous")
        if says == BACKEND_DEAD:
            says = "503" if secret in _KNOWN_SECRETS else "401"
        if says == "hangs":
            self.sleep(timeout_secs)
        if says in NO_ANSWERS:
            raise NoAnswer(says)
        if says in NAMED:
            ends = self.now + max(TOKEN_ENDS_AT - self.wall, 0) if secret == TOKEN else float("inf")
            self.decided[secret] = _LastDecision(says, ends)
            self._named_at[secret, says] = self.now
        elif says in NOES:
            self.decided[secret] = _LastDecision()
        return ANSWERS[says]

    def run(self) -> list[str]:
        """All events; returns what known callers got. Raises AssertionError where somebody was served wrongly."""
        for event in self.asked.events:
            self.step(event)
        return self.answers

    def step(self, event: Event) -> None:
        """One event."""
        what = event.what
        if what == "time":
            self.sleep(event.secs)
        elif what == "wall":
            self.wall += event.secs
        elif what == "domino":
            self.condition = event.says
        elif what == "says":
            self._say(event)
        elif what in CALLS:
            self._known(what, event)
        else:
            _STEPS[what](self, event)

    def _say(self, event: Event) -> None:
        secret = KNOWN[event.who].secret
        if not (self.asked.comparable and self.says.get(secret) in NOES):
            self.says[secret] = event.says

    def _beside(self, calls: Callable[[], None]) -> None:
        """What takes no time of the others."""
        now, wall = self.now, self.wall
        calls()
        self.now, self.wall = now, wall

    def strangers(self, event: Event) -> None:
        """Strangers call."""
        if self.with_strangers:
            self._beside(lambda: self._strangers(event))

    def during(self, event: Event) -> None:
        """Strangers call while Domino is asked about a known caller."""
        if self.with_strangers:
            self.meanwhile = lambda: self._beside(lambda: self._strangers(event))
        self._known("call", event)
        self.meanwhile = None

    def inside(self, event: Event) -> None:
        """The other way round, each stranger while Domino is asked about the one before."""
        self._inside(event, 0)

    def burst(self, event: Event) -> None:
        """Known callers call one after the other."""
        for number in range(6):
            self._known("call", event._replace(who=(event.who + number) % len(KNOWN), secs=30))
            self.sleep(event.secs)

    def _strangers(self, event: Event) -> None:
        for number, says in event.strangers:
            credential = STRANGERS[number]
            self.says[credential.secret] = says
            self._call(credential, 30)

    def _inside(self, event: Event, depth: int) -> None:
        # More than there are places for have no time to spare: the last of them would really wait for one.
        secs = event.secs if len(event.strangers) < _MANY else 1e-4
        if not self.with_strangers or depth == len(event.strangers):
            self._known("call", event._replace(secs=secs))
            return
        number, says = event.strangers[depth]
        self.says[STRANGERS[number].secret] = says
        reached = False
        after = self.now, self.wall

        def deeper() -> None:
            nonlocal reached, after
            reached = True
            self._inside(event, depth + 1)
            after = self.now, self.wall

        self.meanwhile = deeper
        self._call(STRANGERS[number], secs)
        self.meanwhile = None
        if not reached:
            deeper()
        self.now, self.wall = after

    def _known(self, what: str, event: Event) -> None:
        credential = KNOWN[event.who]
        decided = self.decided.get(credential.secret)
        if decided is not None and decided.name is None:
            # A stranger by now, and so it takes no time either.
            self._beside(lambda: self._count(self._do(what, event, credential)))
            return
        answer = self._do(what, event, credential)
        self._count(answer)
        self.answers.append(answer)

    def _do(self, what: str, event: Event, credential: Credential) -> str:
        if what == "call":
            return self._call(credential, event.secs)
        if what == "recall":
            return self._answer(credential, lambda: self._decisions.recall(credential))
        if what == "open":
            return self._answer(credential, lambda: self._open(event, credential))
        stream = self._streams.get(event.who)
        if stream is None:
            return "no stream"
        answer = self._answer(credential, lambda: self._confirm(stream, credential, event))
        return "stands" if answer == _NOTHING else answer

    def _open(self, event: Event, credential: Credential) -> Decision:
        decision = self._decisions.decide(credential, self.now + event.secs)
        self._streams[event.who] = Caller(self._decisions, credential, decision, clock=self.clock)
        return decision

    def _confirm(self, stream: Caller, credential: Credential, event: Event) -> None:
        try:
            began_as = stream.principal.name
            stream.confirm(self.now + event.secs)
            # One that has not lapsed stands, also where another call has heard a no since.
            self._must_be_named(credential, began_as)
            must(stream.principal.name == began_as, f"a stream of {began_as} became one of {stream.principal.name}")
        except (NotAuthenticated, IdentityUnavailable):
            del self._streams[event.who]
            raise

    def _call(self, credential: Credential, secs: float) -> str:
        return self._answer(credential, lambda: self._decisions.decide(credential, self.now + secs))

    def _answer(self, credential: Credential, ask: Callable[[], Decision | None]) -> str:
        try:
            decision = ask()
        except NotAuthenticated as error:
            return f"UNAUTHENTICATED: {error}"
        except IdentityUnavailable as error:
            return f"UNAVAILABLE: {error}"
        if decision is None:
            return _NOTHING
        decided = self.decided.get(credential.secret, _LastDecision())
        name = decision.principal.name
        must(decided.name == name, f"{name} was served, Domino's last word was {decided.name}")
        age = self._must_be_named(credential, name)
        must(decision.valid_until <= max(decided.ends_at, self.now), f"{name} was served past the token's end")
        return f"{name}, stale" if age >= self.asked.cache_secs and age else name

    def _must_be_named(self, credential: Credential, name: str) -> float:
        age = self.now - self._named_at.get((credential.secret, name), float("-inf"))
        longest = self.asked.cache_secs + self.asked.stale_secs
        must(age < longest or age == 0, f"{name} was served {age} s after Domino's word, with {longest} s allowed")
        return age

    def _count(self, answer: str) -> None:
        self.counts[answer.partition(";")[0]] += 1


_STEPS = {
    "strangers": World.strangers,
    "during": World.during,
    "inside": World.inside,
    "burst": World.burst,
}
_NOTHING = "not remembered"
_KNOWN_SECRETS = frozenset(one.secret for one in KNOWN)


def must(holds: bool, text: str) -> None:
    """Raises AssertionError with the text where something does not hold."""
    if not holds:
        raise AssertionError(text)

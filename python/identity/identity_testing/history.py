"""Histories of Domino's answers, of clocks, of callers and of strangers: what happens, made by chance from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from domino_identity import Credential, Kind
from identity_testing.realm import part

BEGINS_AT = 1000.0
TOKEN_ENDS_AT = 1_800_000_000
WALL_CLOCK = TOKEN_ENDS_AT - 2000.0

TOKEN = f"{part({'alg': 'RS256'})}.{part({'exp': TOKEN_ENDS_AT})}.{part('s3cret')}"
KNOWN = (
    Credential(Kind.API_KEY, "s3cret-1"),
    Credential(Kind.API_KEY, "s3cret-2"),
    Credential(Kind.TOKEN, TOKEN),
)
# No two with one secret: what is true of a key is not true of a token that reads the same.
STRANGERS = tuple(
    Credential(kind, f"s3cret-of-stranger-{kind.value}-{number}") for number in range(80) for kind in Kind
)

# What Domino says of one credential.
_NAMES = ("ann", "bob")
NOES: Mapping[str, tuple[int, bytes]] = {
    "anonymous": (200, b'{"isAnonymous": true, "canonicalName": "anonymous"}'),
    "401": (401, b""),
    "403": (403, b""),
    "400": (400, b""),
    "431": (431, b""),
}
_FAILURES: Mapping[str, tuple[int, bytes]] = {
    "404": (404, b""),
    "429": (429, b""),
    "500": (500, b'{"isAnonymous": false, "canonicalName": "eve"}'),
    "503": (503, b""),
    "302": (302, b""),
    "html": (200, b"<html>"),
    "half": (200, b'{"isAnonymous": false, "canonicalName": "ev'),
    "text": (200, b'{"isAnonymous": "false", "canonicalName": "eve"}'),
    "no flag": (200, b'{"canonicalName": "eve"}'),
    "nobody": (200, b'{"isAnonymous": false, "email": "eve@example.com"}'),
    "a line": (200, b'{"isAnonymous": false, "canonicalName": "e\\nve", "userName": "eve"}'),
}
NAMED = {name: (200, json.dumps({"isAnonymous": False, "canonicalName": name}).encode()) for name in _NAMES}
ANSWERS = {**NOES, **_FAILURES, **NAMED}
NO_ANSWERS = ("refuses connections", "hangs", "hangs up")
_BAD = (*_FAILURES, *NO_ANSWERS)
# Domino is dead behind a gateway that refuses garbage by itself.
BACKEND_DEAD = "backend dead"


class Event(NamedTuple):
    """One step of a history.

    Attributes:
        what: see `World.step`.
        who: which of the known credentials.
        secs: how much time passes, or how much a caller has; in a burst, from one call to the next.
        says: Domino's answers, from now on.
        strangers: which strangers call, and what Domino says to each.
    """

    what: str
    who: int = 0
    secs: float = 0.0
    says: str = ""
    strangers: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class History:
    """Events, and the settings that they meet.

    Attributes:
        cache_secs: AUTH_CACHE_SECS.
        stale_secs: AUTH_STALE_SECS.
        entries: decisions that are remembered of either kind.
        comparable: whether, once refused, no credential is good again and no stranger's ever is: what known callers get
            then depends on no stranger, and is compared.
        events: what happens.
    """

    cache_secs: float
    stale_secs: float
    entries: int
    comparable: bool
    events: tuple[Event, ...]


def history(seed: int, number: int) -> History:
    """One of the histories of a seed."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - nothing to guess
    comparable = chance.random() < 0.7
    events = [Event("says", who=who, says="ann") for who in range(len(KNOWN))]
    events += [Event(chance.choice(("call", "open")), who=who, secs=30) for who in range(len(KNOWN))]
    events += [_event(chance, comparable) for _ in range(chance.randrange(2, 12))]
    return History(
        cache_secs=chance.choice((0, 1, 60, 60, 60, 3600)),
        stale_secs=chance.choice((0, 0, 7, 30, 600)),
        entries=100 if comparable else chance.choice((2, 3, 100)),
        comparable=comparable,
        events=tuple(events),
    )


def _event(chance: random.Random, comparable: bool) -> Event:
    who = chance.randrange(len(KNOWN))
    what = chance.choices(_KINDS, _WEIGHTS)[0]
    if what == "time":
        return Event(what, secs=chance.choice((0.1, 1, 4, 4.9, 5, 6.1, 7, 29.9, 59.9, 60, 95, 600)))
    if what == "wall":
        return Event(what, secs=chance.choice((-3600, -30, 0.5, 30, 1990, 3600)))
    if what == "domino":
        conditions = ("", "", "", *_BAD, BACKEND_DEAD, *(() if comparable else NOES))
        return Event(what, says=chance.choice(conditions))
    if what == "says":
        return Event(what, who, says=chance.choice((*_NAMES, *_NAMES, *NOES, *_BAD)))
    secs = chance.choice((30, 30, 30, 2, 0.5, 0))
    if what in CALLS:
        return Event(what, who, secs)
    if what == "burst":
        return Event(what, who, chance.choice((0, 1, 1, 5, 60)))
    answers = (*NOES, *_BAD, *_BAD) if comparable else (*NOES, *_BAD, *_NAMES)
    # More than there are places for, now and then.
    many = 70 if what == "inside" and chance.random() < 0.01 else chance.randrange(1, 7)
    first = chance.randrange(len(STRANGERS))
    said = chance.choice(answers)
    return Event(
        what,
        who,
        secs,
        strangers=tuple(
            ((first + 2 * number) % len(STRANGERS), said if many > 2 else chance.choice(answers))
            for number in range(many)
        ),
    )


CALLS = ("call", "recall", "open", "confirm")
_KINDS = (
    "time",
    "wall",
    "domino",
    "says",
    "call",
    "recall",
    "open",
    "confirm",
    "burst",
    "strangers",
    "during",
    "inside",
)
_WEIGHTS = (20, 3, 14, 9, 14, 3, 3, 8, 8, 24, 6, 6)

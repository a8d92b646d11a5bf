"""A claim about the running system: what was expected, what was observed, and whether the one is the other.

A connection that is not made proves little by itself: the target may be down, the prober broken, DNS away. So a blocked
connection holds only when it was *dropped*, and when in the same round the same prober reached somebody and somebody
reached the same target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How an attempt to connect ended, as the probe tells them apart."""

    CONNECTED = "connected"
    DROPPED = "dropped"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NO_SUCH_NAME = "no-such-name"
    DNS_FAILED = "dns-failed"
    STRANGER = "stranger"
    ERROR = "error"


class Expected(Enum):
    """What an attempt to connect should come to, and the one outcome that meets it."""

    CONNECTED = "connected"
    BLOCKED = "blocked"
    NO_DNS = "no DNS"

    @property
    def outcome(self) -> Outcome:
        """The only outcome that meets it."""
        return _MET_BY[self]


_MET_BY = {
    Expected.CONNECTED: Outcome.CONNECTED,
    Expected.BLOCKED: Outcome.DROPPED,
    Expected.NO_DNS: Outcome.DNS_FAILED,
}


@dataclass(frozen=True)
class Target:
    """What a prober dials.

    Attributes:
        name: what is there, such as "Triton 8001 (gRPC)".
        way: how it is addressed: "pod IP", "Service IP", "DNS name".
        address: as the probe takes it, such as "grpc://10.244.0.7:8001".
        who: how it says who it is; the beginning will do.
    """

    name: str
    way: str
    address: str
    who: str


@dataclass(frozen=True)
class Answer:
    """What the probe said about one target.

    Attributes:
        outcome: how it ended.
        who: name of the end that answered, "" where none did.
        detail: the probe's words about a failure.
    """

    outcome: Outcome
    who: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Dial:
    """One attempt of one prober, with what it should have come to."""

    source: str
    target: Target
    expected: Expected
    answer: Answer

    @property
    def connected(self) -> bool:
        """Whether it connected, and to the end that it wanted."""
        return self.answer.outcome is Outcome.CONNECTED and self.answer.who.startswith(self.target.who)


@dataclass(frozen=True)
class Claim:
    """One line of the matrix.

    Attributes:
        group: what it belongs to, such as "with the chart".
        what: the claim's subject, such as "a client → Triton 8001 (gRPC)".
        way: how the target was addressed, or "".
        expected: in words.
        observed: in words.
        held: whether it is as expected.
        detail: more about a failure.
    """

    group: str
    what: str
    expected: str
    observed: str
    held: bool
    way: str = ""
    detail: str = ""

    @property
    def name(self) -> str:
        """Tells it from every other claim."""
        return " ".join(part for part in (f"{self.group}: {self.what}", self.way and f"by {self.way}") if part)


def same(group: str, what: str, expected: str, observed: str, detail: str = "") -> Claim:
    """A claim that holds when the two texts are the same."""
    return Claim(group, what, expected, observed, expected == observed, detail=detail)


def judge(group: str, dials: Sequence[Dial]) -> list[Claim]:
    """Holds one round of dials, all made at about the same time, against what was expected of each."""
    return [_judge_one(group, dial, dials) for dial in dials]


def _judge_one(group: str, dial: Dial, dials: Iterable[Dial]) -> Claim:
    answer = dial.answer
    observed = answer.outcome.value
    held = answer.outcome is dial.expected.outcome
    if answer.outcome is Outcome.CONNECTED and not dial.connected:
        held = False
        observed = f"connected to {answer.who!r} instead of {dial.target.who!r}"
    elif held and dial.expected is not Expected.CONNECTED:
        missing = _missing_twins(dial, dials)
        held = not missing
        observed = ", ".join([observed, *(f"which proves nothing: {reason}" for reason in missing)])
    what = f"{dial.source} → {dial.target.name}"
    return Claim(group, what, dial.expected.value, observed, held, dial.target.way, answer.detail)


def _missing_twins(dial: Dial, dials: Iterable[Dial]) -> list[str]:
    connected = [other for other in dials if other.connected]
    missing = []
    if not any(other.source == dial.source for other in connected):
        missing.append(f"{dial.source} reached nobody in this round")
    if not any(other.target == dial.target and other.source != dial.source for other in connected):
        missing.append("nobody else reached that target in this round")
    return missing

"""What was measured of one attack, and what of it is over a bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from attacks.good_caller import Calls
from attacks.health_prober import Health
from attacks.table import Row
from attacks.world import MB


@dataclass(frozen=True)
class Resources:
    """What the proxy's process holds.

    Attributes:
        resident_bytes: memory.
        threads: how many.
        files: descriptors, without the connections to Triton and Domino.
    """

    resident_bytes: int
    threads: int
    files: int


@dataclass
class Drain:
    """What a SIGTERM during the attack led to.

    Attributes:
        not_accepted: why no packet was accepted before SIGTERM; then the rest says little.
        unanswered: why the packet that was accepted got no Ack; None where it got one.
        exit_status: of the proxy; None where it had to be killed.
        seconds: from SIGTERM to its end.
    """

    not_accepted: str | None = None
    unanswered: str | None = None
    exit_status: int | None = None
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What was not as it has to be, a line each."""
        found = []
        if self.not_accepted is not None:
            found.append(f"no packet accepted before SIGTERM: {self.not_accepted[:200]}")
        elif self.unanswered is not None:
            found.append(f"a packet accepted before SIGTERM got no Ack: {self.unanswered[:200]}")
        if self.exit_status is None:
            found.append(f"SIGTERM did not end it within {self.seconds:.0f} s")
        elif self.exit_status != 0:
            found.append(f"exit status {self.exit_status} after SIGTERM")
        return found


@dataclass
class Outcome:
    """All about one row.

    Attributes:
        row: the attack.
        bound_bytes: most memory that it may make the proxy take.
        attack: what the attack counted.
        good: the good caller's calls that were begun while it lasted.
        newcomers: the calls meanwhile that came anew, each on its own connection with its own credential.
        health: what probes got.
        peak_bytes: most resident memory.
        before: what the process held before.
        after: what it held after the recovery.
        recovered_secs: after the attack, until everything was as before; None where that did not come.
        missing: what was not as before when the time was up.
        drain: where SIGTERM was tried.
        died: the end of the proxy's log, where it ended by itself.
        triton_died: Triton ended meanwhile, by the attack's own hand or by itself: its stream of answers is not sound
            with many small requests at once (docs/benchmark.md). What callers then lose is Triton's.
    """

    row: Row
    bound_bytes: int
    attack: dict[str, int] = field(default_factory=dict)
    good: Calls = field(default_factory=Calls)
    newcomers: Calls = field(default_factory=Calls)
    health: Health = field(default_factory=Health)
    peak_bytes: int = 0
    before: Resources = Resources(0, 0, 0)
    after: Resources = Resources(0, 0, 0)
    recovered_secs: float | None = None
    missing: Sequence[str] = ()
    drain: Drain | None = None
    died: str | None = None
    triton_died: bool = False

    def problems(self, *, timed: bool) -> list[str]:
        """What is over a bound, a line each.

        Args:
            timed: whether times are held against the bounds, too: a busy machine is not the proxy's fault.
        """
        found = list(self._lost())
        if self.peak_bytes > self.bound_bytes:
            found.append(f"memory {_mb(self.peak_bytes)} MiB, bound {_mb(self.bound_bytes)}")
        if timed:
            found += self._late()
        if self.recovered_secs is None and self.died is None:
            found.append(f"not as before: {'; '.join(self.missing)}")
        return found + (self.drain.problems() if self.drain is not None else [])

    def _lost(self) -> Iterator[str]:
        if self.died is not None:
            yield f"the proxy ended by itself: {self.died}"
        if not self.triton_died and self.good.lost:
            yield f"{len(self.good.lost)} of {len(self.good.seconds)} good calls lost: {self.good.lost[0][:200]}"
        if not self.good.seconds:
            yield "no good call was made"
        if self.row.newcomers and not self.triton_died and self.newcomers.lost:
            lost = self.newcomers.lost
            yield f"{len(lost)} of {len(self.newcomers.seconds)} newcomers lost: {lost[0][:200]}"
        if self.health.wrong:
            yield f"{len(self.health.wrong)} of {self.health.probes} probes failed: {self.health.wrong[0]}"

    def _late(self) -> Iterator[str]:
        # While Triton is away, its connection's own waits decide how long a call takes.
        if not self.triton_died and self.good.p99_secs > self.row.p99_secs:
            yield f"p99 {self.good.p99_secs:.2f} s, bound {self.row.p99_secs:g}"
        if self.health.worst_secs > self.row.health_secs:
            yield f"health {self.health.worst_secs:.2f} s, bound {self.row.health_secs:g}"
        if self.recovered_secs is not None and self.recovered_secs > self.row.recovery_secs:
            yield f"recovery {self.recovered_secs:.1f} s, bound {self.row.recovery_secs:g}"


def _mb(size: int) -> int:
    return round(size / MB)


HEADINGS = (
    "attack", "by", "did", "good calls", "lost", "p99 s", "worst s", "newcomers lost", "health worst s", "health wrong",
    "peak MiB", "bound MiB", "after MiB", "threads", "files", "as before after s", "drained", "verdict",
)  # fmt: skip


def line(outcome: Outcome) -> list[str]:
    """The row of the table, as `HEADINGS` says."""
    good, newcomers, health, drain = outcome.good, outcome.newcomers, outcome.health, outcome.drain
    recovered = "no" if outcome.recovered_secs is None else f"{outcome.recovered_secs:.1f}"
    problems = outcome.problems(timed=True)
    return [
        outcome.row.name,
        outcome.row.who,
        ", ".join(f"{what} {count}" for what, count in sorted(outcome.attack.items())),
        str(len(good.seconds)),
        str(len(good.lost)),
        f"{good.p99_secs:.3f}",
        f"{good.worst_secs:.3f}",
        f"{len(newcomers.lost)} of {len(newcomers.seconds)}",
        f"{health.worst_secs:.3f}",
        f"{len(health.wrong)} of {health.probes}",
        str(_mb(outcome.peak_bytes)),
        str(_mb(outcome.bound_bytes)),
        str(_mb(outcome.after.resident_bytes)),
        f"{outcome.before.threads} → {outcome.after.threads}",
        f"{outcome.before.files} → {outcome.after.files}",
        recovered,
        "" if drain is None else _drained(drain),
        "; ".join(problems) or "holds",
    ]


def _drained(drain: Drain) -> str:
    ended = "killed" if drain.exit_status is None else f"exit {drain.exit_status}"
    return f"{'answered' if drain.unanswered is None else 'NOT answered'}, {ended} in {drain.seconds:.1f} s"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of what was measured."""
    return _table(HEADINGS, [line(outcome) for outcome in outcomes])


def listed(rows: Sequence[Row]) -> str:
    """The table of attacks and bounds."""
    formula = "the chart's formula"
    return _table(
        ("attack", "by", "what", "memory", "p99 s", "health s", "as before after s"),
        [
            [
                row.name,
                row.who,
                row.what,
                formula if row.most_bytes is None else f"{_mb(row.most_bytes)} MiB",
                f"{row.p99_secs:g}",
                f"{row.health_secs:g}",
                f"{row.recovery_secs:g}",
            ]
            for row in rows
        ],
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    cells = [[cell.replace("|", "/").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)

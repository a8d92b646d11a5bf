"""Minutes of inputs to one surface, and what came of them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from devstack.proxy import python_environment
from fuzzing.inputs import Input, Kept
from fuzzing.peer import PATIENCE_SECS, Hung, ask, outcome_of
from fuzzing.rules import problem, signature
from fuzzing.subject import MODEL
from fuzzing.surfaces import Surface, request

_THREADS = 4
_PROBED_EVERY = 500
_SETTLE_SECS, _LOOK_SECS = 90.0, 0.1
# What an allocator may keep besides: it knows the largest of all inputs only in time.
_SLACK_KIB = 48 << 10
# What a corpus has: so many inputs, each of so many bytes.
_MOST_KEPT, _LONGEST_KEPT = 120, 1500
# What another time may be answered otherwise.
_PASSING = {"408", "429", "503", "504"}
# Of the inputs, so many are made of what was found: most of that is refused, and its children are as well.
_OLD = 0.5
_GOOD = Input(request("POST", f"/v2/models/{MODEL}/generate", b'{"INPUT0": 1.5}'))


class Subject:
    """The process under test; a context manager."""

    def __init__(self) -> None:
        """Starts it, and waits for its ports."""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - for as long as this
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fuzzing.subject"],
            env=python_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._lock = threading.Lock()
        self.ports: dict[str, int] = self._line()
        # What it is at work on of its own accord: it has a connection to itself.
        self._usual = self.state()

    def _line(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy has ended: {self.log()[-2000:]}")
        read: dict[str, int] = json.loads(line)
        return read

    def state(self) -> dict[str, int]:
        """What it is at work on."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            return self._line()

    def settled(self) -> dict[str, int]:
        """What is left when nobody asks any more, over what there was at first: nothing, as soon as that comes."""
        until = time.monotonic() + _SETTLE_SECS
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(_LOOK_SECS)
        return left

    def _left(self) -> dict[str, int]:
        return {name: value for name, value in self.state().items() if value > max(self._usual[name], 1)}

    def resident_kib(self) -> int:
        """Its memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def log(self) -> str:
        """What it has written to standard error."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read()

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()


@dataclass
class Found:
    """What a campaign found.

    Attributes:
        surface: its name.
        inputs: how many were sent.
        outcomes: of these, by outcome.
        kept: inputs of which no other had the same signature, the shortest of each.
        problems: what was wrong, with the input that showed it.
        before_kib: memory after the first fifth.
        after_kib: memory at the end.
    """

    surface: str
    inputs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    problems: list[tuple[str, Input]] = field(default_factory=list)
    before_kib: int = 0
    after_kib: int = 0

    def line(self) -> str:
        """In a line."""
        outcomes = ", ".join(f"{name} {count:,}" for name, count in sorted(self.outcomes.items()))
        memory = f"{self.before_kib >> 10} → {self.after_kib >> 10} MiB"
        return (
            f"{self.surface}: {self.inputs:,} inputs, {len(self.kept)} kinds of answers, {len(self.problems)} problems;"
            f" memory {memory}; {outcomes}"
        )


class Campaign:
    """Sends inputs to a surface until the time is up."""

    def __init__(self, surface: Surface, corpus: Iterable[Kept], subject: Subject, seed: int) -> None:
        """Nothing was sent.

        Args:
            surface: what is fuzzed.
            corpus: inputs of earlier campaigns, to begin with beside the surface's own.
            subject: the process.
            seed: of chance.
        """
        self.found = Found(surface.name)
        self._surface, self._subject, self._seed = surface, subject, seed
        self._pool = [*surface.seeds, *(each.input for each in corpus)]
        self._lock = threading.Lock()

    def run(self, seconds: float, say: Callable[[str], None], every_secs: float = 10.0) -> Found:
        """Sends inputs for so long.

        Args:
            seconds: for so long.
            say: is given a line again and again.
            every_secs: how often.
        """
        until, found = time.monotonic() + seconds, self.found
        for each in tuple(self._pool):
            self._one(each)
        threads = [threading.Thread(target=self._send, args=(until, number)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        said = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(_LOOK_SECS)
            if not found.before_kib and time.monotonic() > until - 0.8 * seconds:
                found.before_kib = self._subject.resident_kib()
            if time.monotonic() - said > every_secs:
                said = time.monotonic()
                say(f"{max(until - said, 0):.0f} s left; {found.line()}")
        self._end()
        return found

    def _end(self) -> None:
        found = self.found
        left = self._subject.settled()
        found.after_kib = self._subject.resident_kib()
        if left:
            self._note(f"when nobody asks, there are still {left}", _GOOD)
        if found.before_kib and found.after_kib > found.before_kib + _SLACK_KIB:
            self._note(f"memory grew from {found.before_kib} to {found.after_kib} KiB", _GOOD)
        if "Traceback" in (log := self._subject.log()):
            self._note(f"the proxy logged {log[log.index('Traceback') :][:3000]}", _GOOD)

    def _send(self, until: float, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")  # noqa: S311 - no secret
        sent = 0
        while time.monotonic() < until and len(self.found.problems) < _MOST_KEPT:
            with self._lock:
                before = chance.choice(self._pool if chance.random() < _OLD else self._surface.seeds)
            self._one(self._surface.mutate(chance, before))
            sent += 1
            if sent % _PROBED_EVERY == 0:
                self._probe()

    def _one(self, sent: Input) -> None:
        try:
            received = ask(self._subject.ports[self._surface.port], sent, self._surface.waits_secs)
        except (Hung, OSError) as error:
            self._note(f"{type(error).__name__}: {error}", sent)
            return
        wrong, kind, outcome = problem(sent, received), signature(sent, received), outcome_of(sent, received)
        with self._lock:
            found = self.found
            found.inputs += 1
            found.outcomes[outcome] = found.outcomes.get(outcome, 0) + 1
            known = found.kept.get(kind)
            if known is None or len(sent.raw) < len(known.input.raw):
                found.kept[kind] = Kept(sent, outcome)
            if known is None:
                self._pool.append(sent)
        if wrong is not None:
            self._note(wrong, sent)

    def _probe(self) -> None:
        received = ask(self._subject.ports["rest"], _GOOD, PATIENCE_SECS)
        if outcome_of(_GOOD, received) != "200":
            self._note(f"a good request was answered {received[:300]!r}", _GOOD)

    def _note(self, text: str, sent: Input) -> None:
        with self._lock:
            self.found.problems.append((text, sent))


def reduced(kept: dict[str, Kept]) -> list[Kept]:
    """What a corpus is to have of it: the shortest inputs of each outcome in turn, up to a bound."""
    by_outcome: dict[str, list[Kept]] = {}
    lasting = [each for each in kept.values() if each.outcome not in _PASSING]
    short = [each for each in lasting if len(each.input.raw) <= _LONGEST_KEPT]
    for each in sorted(short, key=lambda each: len(each.input.raw)):
        by_outcome.setdefault(each.outcome, []).append(each)
    taken: list[Kept] = []
    while len(taken) < _MOST_KEPT and any(by_outcome.values()):
        taken += [each.pop(0) for each in by_outcome.values() if each]
    return taken[:_MOST_KEPT]

"""Everything an attack meets: the real Triton, Domino's front end, the real proxy, a good caller and probes."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks import good_caller
from attacks.attacking import Attacker, AttackError
from attacks.front_end import ATTACKERS_KEY, GOOD_KEY, NEWCOMERS, newcomer_key
from attacks.good_caller import Calls, GoodCaller, NotAcceptedError
from attacks.health_prober import HealthProber
from attacks.outcome import Drain, Outcome, Resources
from attacks.proxy_process import ProxyProcess
from attacks.table import CALLER, Row
from attacks.text_models import write_text_models
from attacks.world import DECOUPLED, GOOD_MODEL, GOOD_SLOW_MODEL, IDENTITY, MB, SLOW, TEXTS, Target
from devstack import models
from devstack.child import Child
from devstack.ports import ADDRESS, free_ports
from devstack.proxy import python_environment
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels

_MODELS = {
    GOOD_MODEL: models.identity_name("FP32"),
    GOOD_SLOW_MODEL: models.SLOW,
    IDENTITY: models.identity_name("FP32"),
    TEXTS: models.identity_name("BYTES"),
    SLOW: models.SLOW,
    DECOUPLED: models.SQUARE,
}
_START_SECS = 30.0
_SAMPLE_SECS = 0.05
_NEWCOMER_EVERY_SECS = 0.5
_LOOK_EVERY_SECS = 0.25
# Threads and descriptors that a process with grpc in it has more or fewer of at any time.
_SLACK = 16
# What a proxy takes for the good caller's calls, and gives back.
_STILL_BYTES = 2 * MB
# The machine is not to suffer: an attack that has made its point is stopped.
_FAR_OVER = 1.2


@dataclass(frozen=True)
class Pace:
    """How long things last.

    Attributes:
        attack_secs: an attack.
        warm_secs: the good caller's calls before it.
        still_secs: so long memory must not grow.
        recovery_secs: longest wait for everything to be as before.
        call_secs: after so long a good call is lost.
        full: whether attacks are as large as they get.
    """

    attack_secs: float
    warm_secs: float
    still_secs: float
    recovery_secs: float
    call_secs: float
    full: bool


class Arena:
    """The servers that stay: Triton and the front end. A proxy comes with each `proxy`.

    Args:
        triton: serves _MODELS, and those of `text_models`.
        domino_url: of the front end.
        folder: for the proxies' logs.
        pace: how long things last.
    """

    def __init__(self, triton: Triton, domino_url: str, folder: Path, pace: Pace) -> None:
        self._triton = triton
        self._domino_url = domino_url
        self._folder = folder
        self._pace = pace
        self._newcomers = itertools.count()
        self._logs = itertools.count()

    def proxy(self) -> ProxyProcess:
        """A proxy with its defaults.

        Raises:
            ProxyStartError: it does not serve.
        """
        log = self._folder / f"proxy-{next(self._logs)}.log"
        return ProxyProcess(self._triton.grpc_url, self._domino_url, log)

    def _good_caller(self, proxy: ProxyProcess) -> GoodCaller:
        return GoodCaller(proxy.callers, GOOD_KEY, self._pace.call_secs)

    def _target(self, proxy: ProxyProcess, seconds: float) -> Target:
        at = (proxy.callers, proxy.probes, proxy.metrics, proxy.rest)
        return Target(*at, ATTACKERS_KEY, seconds, self._pace.full)

    def _newcomer(self, proxy: ProxyProcess, timeout: float) -> str | None:
        key = newcomer_key(next(self._newcomers) % NEWCOMERS)
        return good_caller.infer_once(proxy.callers, key, timeout)

    def measure(self, row: Row, proxy: ProxyProcess) -> Outcome:
        """Runs an attack against a proxy, and waits until everything is as before.

        Args:
            row: the attack.
            proxy: one that nothing happens to.

        Raises:
            AttackError: the attack was none.
        """
        outcome = Outcome(row, row.most_bytes or proxy.memory_bound_bytes)
        self._revive_triton()
        with self._good_caller(proxy) as good:
            time.sleep(self._pace.warm_secs)
            _wait_answered(good.take(), self._pace.call_secs)
            if row.who == CALLER:
                # Its first calls would come all at once, and until the proxy knows the caller, they are a stranger's.
                good_caller.infer_once(proxy.callers, ATTACKERS_KEY, self._pace.call_secs)
            proxy.forget_peak()
            outcome.before = _resources(proxy)
            with HealthProber(proxy.probes, self._pace.call_secs) as prober:
                with self._newcomers_of(proxy, outcome.newcomers):
                    outcome.good = self._attack(row, proxy, good, outcome)
                self._recover(proxy, good, outcome, time.monotonic())
            outcome.health = prober.stop()
            outcome.peak_bytes = max(outcome.peak_bytes, proxy.resident_bytes("VmHWM"))
            outcome.after = _resources(proxy)
            if not proxy.running:
                outcome.died = proxy.log_tail()
        return outcome

    def _attack(self, row: Row, proxy: ProxyProcess, good: GoodCaller, outcome: Outcome) -> Calls:
        good.take()
        seconds = max(self._pace.attack_secs, row.seconds_at_least if self._pace.full else 0)
        with Attacker(row.name, self._target(proxy, seconds + _START_SECS)) as attacker:
            attacker.wait_begun()
            until = time.monotonic() + seconds
            if row.kills_triton:
                self._triton.kill()
            while time.monotonic() < until and proxy.running:
                time.sleep(_SAMPLE_SECS)
                outcome.peak_bytes = max(outcome.peak_bytes, proxy.resident_bytes("VmHWM"))
                if outcome.peak_bytes > _FAR_OVER * outcome.bound_bytes:
                    break
            calls = good.take()
            outcome.attack = attacker.stop()
        outcome.triton_died = self._revive_triton()
        return calls

    def _revive_triton(self) -> bool:
        """Starts Triton again where it has ended; whether it had."""
        if self._triton.running:
            return False
        self._triton.restart()
        self._triton.wait_ready()
        return True

    @contextlib.contextmanager
    def _newcomers_of(self, proxy: ProxyProcess, calls: Calls) -> Iterator[None]:
        over = threading.Event()

        def come() -> None:
            while not over.wait(_NEWCOMER_EVERY_SECS):
                began = time.monotonic()
                lost = self._newcomer(proxy, self._pace.call_secs)
                calls.seconds.append(time.monotonic() - began)
                if lost is not None:
                    calls.lost.append(lost)

        thread = threading.Thread(target=come, name="newcomers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _recover(self, proxy: ProxyProcess, good: GoodCaller, outcome: Outcome, ended: float) -> None:
        """Waits until nothing differs from before, or the time is up."""
        deadline = ended + self._pace.recovery_secs
        newcomer: str | None = "did not come"
        sizes: list[tuple[float, int]] = []
        while proxy.running:
            after = good.take()
            # Triton 2.51 ends of cancels of its streams: docs/adr/0032-cancels-that-kill-triton.md.
            outcome.triton_died |= self._revive_triton()
            time.sleep(_LOOK_EVERY_SECS)
            now = time.monotonic()
            if newcomer is not None:
                newcomer = self._newcomer(proxy, min(self._pace.call_secs, 5.0))
            sizes.append((now, proxy.resident_bytes()))
            outcome.missing = [
                *_not_as_before(proxy, outcome.before),
                *_growing(sizes, self._pace.still_secs),
                *(
                    [f"{outcome.good.unanswered} good calls of the attack's time unanswered"]
                    * bool(outcome.good.unanswered)
                ),
                *([f"a newcomer: {newcomer}"] if newcomer is not None else []),
                *([f"a good call: {after.lost[0]}"] if after.lost else []),
                *([] if len(after.seconds) > after.unanswered else ["the good caller's calls are not answered"]),
            ]
            if not outcome.missing:
                outcome.recovered_secs = time.monotonic() - ended
                return
            if now > deadline:
                return

    def drain(self, row: Row, proxy: ProxyProcess) -> Drain:
        """Sends SIGTERM to a proxy under attack when it has accepted a packet; the proxy is gone afterwards.

        Args:
            row: the attack.
            proxy: a proxy.

        Raises:
            AttackError: the attack was none.
        """
        drain = Drain()
        # Longer than everything else that may come before the proxy's end.
        seconds = _START_SECS + 2 * proxy.drain_secs
        self._revive_triton()
        with self._good_caller(proxy) as good:
            # From here on the proxy knows the caller: it is what was accepted that is tried.
            time.sleep(self._pace.warm_secs)
            _wait_answered(good.take(), self._pace.call_secs)
            good.pause()
            with Attacker(row.name, self._target(proxy, seconds)) as attacker:
                attacker.wait_begun()
                time.sleep(self._pace.warm_secs)
                accepted = None
                try:
                    accepted = good.accepted(self._pace.call_secs)
                except NotAcceptedError as error:
                    drain.not_accepted = str(error)
                if row.kills_triton:
                    self._triton.kill()
                began = time.monotonic()
                proxy.terminate()
                if accepted is not None and accepted.ack(proxy.drain_secs) is None:
                    drain.unanswered = accepted.ended
                drain.exit_status = proxy.wait(max(began + proxy.drain_secs - time.monotonic(), 0))
                drain.seconds = time.monotonic() - began
                attacker.stop()
        self._revive_triton()
        return drain


def _resources(proxy: ProxyProcess) -> Resources:
    return Resources(proxy.resident_bytes(), proxy.threads(), proxy.files())


def _not_as_before(proxy: ProxyProcess, before: Resources) -> Iterator[str]:
    now = _resources(proxy)
    if now.threads > before.threads + _SLACK:
        yield f"threads {before.threads} → {now.threads}"
    if now.files > before.files + _SLACK:
        yield f"descriptors {before.files} → {now.files}"
    if left := proxy.attackers_connections():
        yield f"{left} connections of the attack left"


def _growing(sizes: list[tuple[float, int]], seconds: float) -> Iterator[str]:
    """Whether memory grew during the last seconds, or is not known for so long."""
    now, size = sizes[-1]
    past = [earlier for when, earlier in sizes if when <= now - seconds]
    if not past:
        yield f"memory not looked at for {seconds:g} s yet"
    elif size > past[-1] + _STILL_BYTES:
        yield f"memory grows: {past[-1] / MB:.0f} → {size / MB:.0f} MiB in {seconds:g} s"


def _wait_answered(calls: Calls, longest_secs: float) -> None:
    deadline = time.monotonic() + longest_secs
    while calls.unanswered and time.monotonic() < deadline:
        time.sleep(_SAMPLE_SECS)
    if calls.lost or calls.unanswered or not calls.seconds:
        why = calls.lost[0] if calls.lost else "no answer"
        raise AttackError(f"before the attack the good caller already could not infer: {why}")


@contextlib.contextmanager
def running(folder: Path, pace: Pace) -> Iterator[Arena]:
    """Starts what stays, and stops it.

    Args:
        folder: an empty folder for logs and the model repository.
        pace: how long things last.

    Raises:
        TritonError: Triton does not start.
    """
    for name, model in _MODELS.items():
        models.MODELS[model].write(folder / "models" / name)
    write_text_models(folder / "models")
    (port,) = free_ports([0])
    with (
        Triton(folder / "models", triton_wheels(), log=folder / "triton.log") as triton,
        Child(
            [sys.executable, "-P", "-m", "attacks.front_end", str(port)],
            env=python_environment(),
            log=folder / "front-end.log",
        ),
    ):
        triton.wait_ready()
        yield Arena(triton, f"http://{ADDRESS}:{port}", folder, pace)

"""What one principal may have under way, so that nobody slows the others down."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from triton_proxy.admission.tally import NoOthers, Place, Tally

_LIMITS = ("MAX_CALLS_PER_PRINCIPAL", "MAX_IN_FLIGHT_PER_PRINCIPAL", "MAX_REQUESTS_PER_SEC_PER_PRINCIPAL")
# How long an inference usually takes is not known here; a second is soon, and no storm.
_RETRY_SECS = 1.0


class LimitExceeded(Exception):  # noqa: N818 - what happened, not a fault
    """A packet is over a limit: RESOURCE_EXHAUSTED. The text is fit for the caller and names the setting.

    Attributes:
        retry_after_secs: when to try again; None where trying again can't help.
    """

    def __init__(self, text: str, retry_after_secs: float | None) -> None:
        super().__init__(text)
        self.retry_after_secs = retry_after_secs


@dataclass(frozen=True)
class QuotaStatistics:
    """What principals have under way.

    Attributes:
        principals: how many the table holds.
        calls: open calls of each principal that has one.
        in_flight: packets under way of each principal that has a call open.
        exceeded: how often each limit was exceeded so far, by the setting's name.
    """

    principals: int
    calls: Mapping[str, int]
    in_flight: Mapping[str, int]
    exceeded: Mapping[str, int] = field(default_factory=dict)


class _Usage:
    """What one principal has under way, on all of its calls."""

    def __init__(self, tokens: float, now: float, place: Place) -> None:
        self.place = place
        self.calls = 0
        self.in_flight = 0
        self.tokens = tokens
        self.filled_at = now

    def note(self) -> None:
        self.place.note(self.calls, self.in_flight)


class Quotas:
    """Quotas per principal, whatever number of calls it makes.

    The table of principals holds those with a call open, and those without until their allowance of requests is
    full again, so that leaving and coming back wins nothing; it is never longer than the calls open and `principals`.
    """

    def __init__(
        self,
        *,
        calls: int,
        in_flight: int,
        per_sec: float,
        principals: int = 10_000,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nobody has anything under way.

        Args:
            calls: most calls open; MAX_CALLS_PER_PRINCIPAL.
            in_flight: most packets under way; MAX_IN_FLIGHT_PER_PRINCIPAL.
            per_sec: packets per second, of which those of one second may come at once; 0 for any number;
                MAX_REQUESTS_PER_SEC_PER_PRINCIPAL.
            principals: most principals remembered that have no call open.
            tally: knows what other processes have under way, which counts here as well, for calls and packets; None
                where there is no other.
            clock: the time in seconds.
        """
        self._calls = calls
        self._in_flight = in_flight
        self._per_sec = per_sec
        self._burst = max(per_sec, 1.0)
        self._most_idle = principals
        self._clock = clock
        self._tally = tally or NoOthers()
        self._lock = self._tally.lock
        self._busy: dict[str, _Usage] = {}
        self._idle: OrderedDict[str, _Usage] = OrderedDict()
        self._exceeded = Counter(dict.fromkeys(_LIMITS, 0))

    def call(self, principal: str) -> Quota:
        """The allowance of one call of a principal; close it when the call ends.

        Args:
            principal: the principal's name.

        Raises:
            LimitExceeded: it has as many open as it may, or too many principals have.
        """
        with self._lock:
            self._forget_idle()
            usage = self._busy.get(principal)
            place = self._tally.place(principal) if usage is None else usage.place
            if place is None:
                raise LimitExceeded("too many principals have calls open; try again later", _RETRY_SECS)
            calls = place.others()[0] + (0 if usage is None else usage.calls)
            if calls >= self._calls:
                self._exceeded["MAX_CALLS_PER_PRINCIPAL"] += 1
                raise LimitExceeded(
                    f"{calls} calls of {principal} are open already, as many as "
                    f"MAX_CALLS_PER_PRINCIPAL={self._calls} allows; end one, or send more packets on a stream",
                    _RETRY_SECS,
                )
            usage = usage or self._idle.pop(principal, None)
            if usage is None:
                usage = _Usage(self._burst, self._clock(), place)
            # Of one that was idle, the row may be another's now.
            usage.place = place
            self._busy[principal] = usage
            usage.calls += 1
            usage.note()
        return Quota(self, principal, usage)

    def statistics(self) -> QuotaStatistics:
        """What there is at this moment."""
        with self._lock:
            return QuotaStatistics(
                principals=len(self._busy) + len(self._idle),
                calls={name: usage.calls for name, usage in self._busy.items()},
                in_flight={name: usage.in_flight for name, usage in self._busy.items()},
                exceeded=dict(self._exceeded),
            )

    def _admit(self, quota: Quota) -> None:
        usage = quota.usage
        with self._lock:
            if quota.closed:
                return
            in_flight = usage.in_flight + usage.place.others()[1]
            if in_flight >= self._in_flight:
                self._exceeded["MAX_IN_FLIGHT_PER_PRINCIPAL"] += 1
                raise LimitExceeded(
                    f"{in_flight} packets of {quota.principal} are under way already, as many as "
                    f"MAX_IN_FLIGHT_PER_PRINCIPAL={self._in_flight} allows on all calls together; "
                    "wait for their Acks before sending more",
                    _RETRY_SECS,
                )
            self._take_token(quota)
            usage.in_flight += 1
            quota.in_flight += 1
            usage.note()

    def _take_token(self, quota: Quota) -> None:
        if not self._per_sec:
            return
        usage, now = quota.usage, self._clock()
        usage.tokens = min(self._burst, usage.tokens + (now - usage.filled_at) * self._per_sec)
        usage.filled_at = now
        if usage.tokens < 1:
            self._exceeded["MAX_REQUESTS_PER_SEC_PER_PRINCIPAL"] += 1
            raise LimitExceeded(
                f"{quota.principal} sends more than MAX_REQUESTS_PER_SEC_PER_PRINCIPAL={self._per_sec:g} packets per "
                "second on all calls together; send fewer",
                (1 - usage.tokens) / self._per_sec,
            )
        usage.tokens -= 1

    def _release(self, quota: Quota, packets: int) -> None:
        """Gives back what the quota holds, and no more than that."""
        if packets > quota.in_flight:
            raise ValueError(f"{packets} packets of {quota.in_flight} given back")
        quota.usage.in_flight -= packets
        quota.in_flight -= packets
        quota.usage.note()

    def _close(self, quota: Quota) -> None:
        with self._lock:
            if quota.closed:
                return
            self._release(quota, quota.in_flight)
            quota.closed = True
            quota.usage.calls -= 1
            quota.usage.note()
            if quota.usage.calls == 0:
                self._idle[quota.principal] = self._busy.pop(quota.principal)
                self._forget_idle()

    def _forget_idle(self) -> None:
        """Lets those go whose allowance is full, the longest idle first; each costs once what its coming cost."""
        now = self._clock()
        while self._idle:
            usage = next(iter(self._idle.values()))
            missing = self._burst - usage.tokens if self._per_sec else 0.0
            if len(self._idle) <= self._most_idle and (now - usage.filled_at) * self._per_sec < missing:
                return
            self._idle.popitem(last=False)


class Quota:
    """What one call of a principal has under way. All of it counts against the principal's limits."""

    def __init__(self, quotas: Quotas, principal: str, usage: _Usage) -> None:
        """Made by `Quotas.call`."""
        self._quotas = quotas
        self.principal = principal
        self.usage = usage
        self.in_flight = 0
        self.closed = False

    def admit(self) -> None:
        """Counts a packet as under way, until `release`.

        Raises:
            LimitExceeded: it would be over a limit; then it does not count.
        """
        self._quotas._admit(self)

    def release(self) -> None:
        """A packet is answered. After `close`, which has done so, nothing happens.

        Raises:
            ValueError: none is under way.
        """
        with self._quotas._lock:
            if not self.closed:
                self._quotas._release(self, 1)

    def close(self) -> None:
        """The call has ended, and nothing of it is under way any more."""
        self._quotas._close(self)

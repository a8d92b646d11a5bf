from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service_testing.waiting import Clock
from triton_proxy.admission.quotas import LimitExceeded, Quota, Quotas


def limits(
    in_flight: int = 1000,
    per_sec: float = 0,
    calls: int = 1000,
    clock: Callable[[], float] = Clock(),  # noqa: B008 - one that stands still
    principals: int = 10_000,
) -> Quotas:
    return Quotas(calls=calls, in_flight=in_flight, per_sec=per_sec, principals=principals, clock=clock)


def refusal(call: Quota) -> LimitExceeded | None:
    try:
        call.admit()
    except LimitExceeded as exceeded:
        return exceeded
    return None


def test_in_flight_counts_all_calls_of_a_principal_and_nobody_elses() -> None:
    table = limits(in_flight=2)
    first, second, other = table.call("ann"), table.call("ann"), table.call("ben")
    first.admit()
    second.admit()
    with pytest.raises(LimitExceeded, match=r"2 packets of ann .* MAX_IN_FLIGHT_PER_PRINCIPAL=2") as caught:
        first.admit()
    assert caught.value.retry_after_secs == 1
    other.admit()
    second.release()
    first.admit()


def test_calls_of_a_principal_and_nobody_elses() -> None:
    table = limits(calls=2)
    first, _ = table.call("ann"), table.call("ann")
    with pytest.raises(LimitExceeded) as caught:
        table.call("ann")
    assert str(caught.value) == (
        "2 calls of ann are open already, as many as MAX_CALLS_PER_PRINCIPAL=2 allows; end one, or send more packets "
        "on a stream"
    )
    assert caught.value.retry_after_secs == 1
    table.call("ben")
    first.close()
    table.call("ann")


def test_rate_with_its_burst_and_hint() -> None:
    clock = Clock()
    table = limits(per_sec=4, clock=clock)
    call = table.call("ann")
    for _ in range(4):
        call.admit()
        call.release()
    with pytest.raises(LimitExceeded, match="MAX_REQUESTS_PER_SEC_PER_PRINCIPAL=4 packets per second") as caught:
        call.admit()
    assert caught.value.retry_after_secs == pytest.approx(0.25)
    clock.now += 0.25
    call.admit()
    with pytest.raises(LimitExceeded):
        call.admit()
    clock.now += 1000
    for _ in range(4):
        call.admit()
    with pytest.raises(LimitExceeded):
        call.admit()


def test_less_than_one_per_second() -> None:
    clock = Clock()
    call = limits(per_sec=0.5, clock=clock).call("ann")
    call.admit()
    with pytest.raises(LimitExceeded) as caught:
        call.admit()
    assert caught.value.retry_after_secs == pytest.approx(2)
    clock.now += 2
    call.admit()


def test_a_refused_packet_costs_nothing_of_the_rate() -> None:
    call = limits(in_flight=1, per_sec=2).call("ann")
    call.admit()
    for _ in range(5):
        with pytest.raises(LimitExceeded, match="MAX_IN_FLIGHT"):
            call.admit()
    call.release()
    call.admit()


def test_leaving_and_coming_back_does_not_renew_the_rate() -> None:
    clock = Clock()
    table = limits(per_sec=1, clock=clock)
    call = table.call("ann")
    call.admit()
    call.close()
    assert table.statistics().principals == 1
    with pytest.raises(LimitExceeded):
        table.call("ann").admit()


def test_idle_principals_leave() -> None:
    clock = Clock()
    table = limits(per_sec=1, clock=clock)
    for name in "abc":
        call = table.call(name)
        call.admit()
        call.close()
    assert table.statistics().principals == 3
    clock.now += 1
    table.call("d")
    assert table.statistics().principals == 1


def test_without_a_rate_nobody_is_remembered() -> None:
    table = limits()
    call = table.call("ann")
    call.admit()
    call.close()
    assert table.statistics().principals == 0


def test_the_table_is_bounded() -> None:
    table = limits(per_sec=0.001, principals=10)
    for index in range(100):
        call = table.call(f"user{index}")
        call.admit()
        call.close()
    assert table.statistics().principals == 10


def test_closing_gives_everything_back_once() -> None:
    table = limits(in_flight=2)
    call = table.call("ann")
    call.admit()
    call.admit()
    call.close()
    call.close()
    call.release()
    call.admit()
    again = table.call("ann")
    again.admit()
    again.admit()


def test_giving_back_what_was_not_taken_is_told() -> None:
    call = limits().call("ann")
    call.admit()
    call.release()
    with pytest.raises(ValueError, match="given back"):
        call.release()


def test_threads_never_exceed_and_lose_nothing() -> None:
    table = limits(in_flight=3)

    def work(_: int) -> int:
        call = table.call("ann")
        admitted = 0
        for _ in range(500):
            try:
                call.admit()
            except LimitExceeded:
                continue
            admitted += 1
            call.release()
        call.close()
        return admitted

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) > 0
    assert table.statistics().principals == 0
    call = table.call("ann")
    for _ in range(3):
        call.admit()


IN_FLIGHT, PER_SEC, CALLS = 4, 3.0, 2


class Principals(RuleBasedStateMachine):
    """Against a model that keeps every packet and every moment."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.table = limits(IN_FLIGHT, PER_SEC, CALLS, self.clock)
        self.calls: list[tuple[str, Quota]] = []
        self.admitted_at: dict[str, list[float]] = {}

    @rule(name=st.sampled_from("ab"))
    def call(self, name: str) -> None:
        if sum(other == name for other, _ in self.calls) < CALLS:
            self.calls.append((name, self.table.call(name)))
        else:
            with pytest.raises(LimitExceeded, match=f"MAX_CALLS_PER_PRINCIPAL={CALLS}"):
                self.table.call(name)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        name, quota = data.draw(st.sampled_from(self.calls))
        fits = self.in_flight(name) < IN_FLIGHT
        before = quota.in_flight
        exceeded = refusal(quota)
        if exceeded is not None:
            assert not fits or "PER_SEC" in str(exceeded)
            assert exceeded.retry_after_secs is not None
            assert 0 < exceeded.retry_after_secs <= 1
            assert quota.in_flight == before
            return
        assert fits
        assert quota.in_flight == before + 1
        moments = self.admitted_at.setdefault(name, [])
        moments.append(self.clock.now)
        # A token bucket's own law, for every window of time.
        for index, begin in enumerate(moments):
            assert len(moments) - index <= PER_SEC + (self.clock.now - begin) * PER_SEC + 1e-6

    @precondition(lambda self: any(quota.in_flight for _, quota in self.calls))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        _, quota = data.draw(st.sampled_from([call for call in self.calls if call[1].in_flight]))
        quota.release()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        call[1].close()
        self.calls.remove(call)

    @rule(secs=st.sampled_from([0.1, 0.5, 2.0]))
    def wait(self, secs: float) -> None:
        self.clock.now += secs

    @invariant()
    def counts_are_the_models(self) -> None:
        for name, quota in self.calls:
            assert quota.usage.in_flight == self.in_flight(name)
            assert 0 <= quota.usage.tokens <= PER_SEC
        assert self.table.statistics().principals <= 2

    def in_flight(self, name: str) -> int:
        return sum(quota.in_flight for other, quota in self.calls if other == name)


Principals.TestCase.settings = settings(deadline=None, max_examples=50)
TestPrincipals = Principals.TestCase


@given(st.lists(st.floats(0, 3), max_size=30), st.sampled_from([0.3, 1.0, 7.5]))
def test_whoever_heeds_the_hint_gets_in(pauses: list[float], per_sec: float) -> None:
    clock = Clock()
    call = limits(per_sec=per_sec, clock=clock).call("ann")
    for pause in pauses:
        clock.now += pause
        exceeded = refusal(call)
        if exceeded is not None:
            assert exceeded.retry_after_secs is not None
            clock.now += exceeded.retry_after_secs + 1e-9
            call.admit()


def test_limits_that_were_exceeded_are_counted_by_their_settings() -> None:
    table = limits(calls=1, in_flight=1, per_sec=1)
    assert set(table.statistics().exceeded.values()) == {0}
    call = table.call("ann")
    for _ in range(2):
        with pytest.raises(LimitExceeded):
            table.call("ann")
    call.admit()
    assert refusal(call) is not None
    call.release()
    assert refusal(call) is not None
    assert table.statistics().exceeded == {
        "MAX_CALLS_PER_PRINCIPAL": 2,
        "MAX_IN_FLIGHT_PER_PRINCIPAL": 1,
        "MAX_REQUESTS_PER_SEC_PER_PRINCIPAL": 1,
    }

"""When another call follows one that ended, by a clock that the tests set."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest
from client_testing.identity import Changing
from client_testing.waiting import Clock
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api._core import retry
from mm_client_api._core.call_status import CallStatus
from mm_client_api._core.retry import (
    FIRST_WAIT_SECS,
    LARGEST_WAIT_SECS,
    LONGEST_START_SECS,
    LONGEST_WAIT_SECS,
    SETTLED_SECS,
    RetryPolicy,
)
from mm_client_api.errors import AuthenticationError, CallError, LimitExceeded, ProxyUnavailable, TritonStarting
from multimodal_contract import ADMITTED, NOT_ACCEPTED, RETRY_AFTER_MS, STARTING


def ended(
    code: grpc.StatusCode, *, marked: bool = True, retry_after_ms: int | None = None, starting: bool = False
) -> CallStatus:
    trailing = [NOT_ACCEPTED] if marked else []
    if starting:
        trailing.append(STARTING)
    if retry_after_ms is not None:
        trailing.append((RETRY_AFTER_MS, str(retry_after_ms)))
    return CallStatus.of(grpc.RpcError(), code, "the proxy's words", trailing)


AWAY = ended(grpc.StatusCode.UNAVAILABLE)
REVOKED = ended(grpc.StatusCode.UNAUTHENTICATED)
ASLEEP = ended(grpc.StatusCode.UNAVAILABLE, retry_after_ms=5000, starting=True)


class Calls:
    """A policy, and the calls that it decides about, as fast as its clock says."""

    def __init__(self, *, deadline: float | None = None) -> None:
        self.clock = Clock()
        self.credentials = Changing(100)
        self.policy = RetryPolicy(self.credentials, deadline, clock=self.clock)

    def call(self, *, secs: float = 0.0, admitted: bool = True, answered: bool = False) -> None:
        """Open a call, which lives so long."""
        self.policy.metadata()
        self.policy.admitted([ADMITTED] if admitted else [])
        if answered:
            self.policy.answered()
        self.clock.now += secs

    def waits(self, status: CallStatus) -> list[float]:
        """Open calls that end with `status` until the policy gives up."""
        waits: list[float] = []
        for _ in range(1000):
            self.call()
            try:
                waits.append(self.policy.wait_secs(status))
            except CallError:
                return waits
            self.clock.now += waits[-1]
        raise AssertionError("the policy does not give up")


def test_waits_double_up_to_the_largest_and_end_before_the_longest_together() -> None:
    waits = Calls().waits(AWAY)
    for number, wait in enumerate(waits):
        longest = min(FIRST_WAIT_SECS * 2**number, LARGEST_WAIT_SECS)
        assert longest / 2 <= wait <= longest
    assert LONGEST_WAIT_SECS - LARGEST_WAIT_SECS < sum(waits) <= LONGEST_WAIT_SECS


def test_a_triton_that_starts_is_waited_for_until_the_deadline() -> None:
    calls = Calls(deadline=Clock().now + 300)
    waits = calls.waits(ASLEEP)
    assert all(5 <= wait <= 6 for wait in waits)
    assert 300 - 6 < sum(waits) <= 300
    with pytest.raises(TritonStarting):
        calls.policy.wait_secs(ASLEEP)


def test_without_a_deadline_a_triton_that_starts_is_waited_for_half_an_hour() -> None:
    calls = Calls()
    assert LONGEST_START_SECS - 6 < sum(calls.waits(ASLEEP)) <= LONGEST_START_SECS
    calls.call(answered=True)
    assert calls.policy.wait_secs(ASLEEP) <= 6


def test_an_answer_makes_the_next_wait_a_first_one() -> None:
    calls = Calls()
    calls.waits(AWAY)
    calls.call(answered=True)
    assert calls.policy.wait_secs(AWAY) <= FIRST_WAIT_SECS


@pytest.mark.parametrize(("admitted", "again"), [(True, True), (False, False)])
def test_time_in_calls_that_the_proxy_never_admitted_counts_as_waiting(admitted: bool, again: bool) -> None:
    calls = Calls()
    calls.call(answered=True)
    calls.policy.wait_secs(AWAY)
    calls.call(secs=LONGEST_WAIT_SECS, admitted=admitted)
    if again:
        calls.policy.wait_secs(AWAY)
        return
    with pytest.raises(ProxyUnavailable):
        calls.policy.wait_secs(AWAY)


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=20), st.none() | st.floats(0, 100))
def test_no_wait_goes_beyond_the_deadline_or_the_longest(hints_ms: Sequence[int], deadline: float | None) -> None:
    calls = Calls(deadline=deadline)
    waited = 0.0
    for hint_ms in hints_ms:
        calls.call()
        try:
            wait = calls.policy.wait_secs(ended(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=hint_ms))
        except LimitExceeded:
            # Never where even the longest that this wait could have been was still allowed.
            left, timeout = LONGEST_WAIT_SECS - waited, calls.policy.timeout
            assert hint_ms / 1000 + LARGEST_WAIT_SECS > (left if timeout is None else min(left, timeout))
            return
        assert wait >= hint_ms / 1000
        waited += wait
        calls.clock.now += wait
        assert waited <= LONGEST_WAIT_SECS
        assert deadline is None or calls.clock.now <= deadline


def test_the_timeout_of_a_call_is_what_is_left_until_the_deadline() -> None:
    calls = Calls(deadline=10.0)
    assert calls.policy.timeout == 10.0
    calls.clock.now = 9.5
    assert calls.policy.timeout == 0.5
    calls.clock.now = 11.0
    assert calls.policy.timeout == 0.0
    assert Calls().policy.timeout is None


def test_a_second_refusal_in_a_row_is_the_end_unless_the_call_between_has_settled() -> None:
    calls = Calls()
    calls.call()
    assert calls.policy.wait_secs(REVOKED) == 0.0
    calls.call(secs=SETTLED_SECS)
    assert calls.policy.wait_secs(REVOKED) == 0.0
    calls.call()
    with pytest.raises(AuthenticationError):
        calls.policy.wait_secs(REVOKED)


def test_the_renewed_credential_is_that_of_the_next_call() -> None:
    calls = Calls()
    first = calls.policy.metadata()
    calls.policy.wait_secs(REVOKED)
    asked = calls.credentials.asked
    assert calls.policy.metadata() != first
    assert calls.credentials.asked == asked


def test_only_calls_after_the_first_hold_packets_back() -> None:
    calls = Calls()
    calls.call()
    assert (calls.policy.again, calls.policy.hold_back_secs) == (False, 0.0)
    calls.call()
    assert (calls.policy.again, calls.policy.hold_back_secs) == (True, retry.ADMITTED_WITHIN_SECS)


@pytest.mark.parametrize(
    "status",
    [
        ended(grpc.StatusCode.UNAVAILABLE, marked=False),
        ended(grpc.StatusCode.RESOURCE_EXHAUSTED),
        ended(grpc.StatusCode.INTERNAL),
        ended(grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_what_cannot_be_sent_again_raises_the_status_with_the_proxys_words(status: CallStatus) -> None:
    calls = Calls()
    calls.call()
    with pytest.raises(CallError) as caught:
        calls.policy.wait_secs(status, "cid-1")
    assert (caught.value.code(), caught.value.details()) == (status.code, "the proxy's words")
    assert caught.value.correlation_id == "cid-1"

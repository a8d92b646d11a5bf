from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from boundary.accounting import EVEN, Account, balance, read


def account(sent: int, answered: Sequence[int], **other: object) -> Account:
    stream = {"sent": sent, "answered": answered, "wrong": [], "failures": [], "ended": "", "longest_wait_secs": 0.5}
    (made,) = read([{**stream, **other}])
    return made


@given(st.integers(1, 50))
def test_each_answered_once_in_order_has_no_fault(sent: int) -> None:
    assert account(sent, range(sent)).faults == []
    assert balance([account(sent, range(sent))] * 2) == EVEN


@given(st.lists(st.integers(0, 8), max_size=8), st.integers(0, 8))
def test_anything_else_has_one(answered: list[int], sent: int) -> None:
    assume(answered != list(range(sent)))
    assert account(sent, answered).faults


@pytest.mark.parametrize(
    ("sent", "answered", "fault"),
    [
        (4, [0, 1, 3], "1 never answered (2)"),
        (9, [], "9 never answered (0, 1, 2, 3, 4, …)"),
        (2, [0, 1, 1], "1 answered twice (1)"),
        (3, [0, 2, 1], "answers out of order"),
        (1, [0, 7], "1 never sent (7)"),
    ],
)
def test_faults_are_named(sent: int, answered: list[int], fault: str) -> None:
    assert account(sent, answered).faults == [fault]


def test_a_wrong_answer_and_an_end_are_faults_and_a_failed_packet_is_none() -> None:
    assert account(2, [0, 1], wrong=[1]).faults == ["1 answered wrongly (1)"]
    assert account(1, [0], ended="ProxyUnavailable: away").faults == ["the stream ended with ProxyUnavailable: away"]
    failed = account(2, [0, 1], failures=[[1, "INTERNAL", "Triton is away"]])
    assert failed.faults == []
    assert failed.failures == {1: ("INTERNAL", "Triton is away")}


def test_the_balance_names_the_stream() -> None:
    assert balance([account(1, [0]), account(1, [])]) == "stream 1: 1 never answered (0)"


@pytest.mark.parametrize("accounts", [[], [account(0, [])]])
def test_nothing_sent_is_no_balance(accounts: list[Account]) -> None:
    assert balance(accounts) == "no packet was sent"

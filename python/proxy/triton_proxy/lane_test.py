from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.lane import Lane


@given(items=st.lists(st.integers(), max_size=40), bound=st.integers(1, 5))
def test_keeps_order_and_bound(items: list[int], bound: int) -> None:
    lane: Lane[int] = Lane(bound)
    under_way = 0
    most = 0
    lock = threading.Lock()

    def produce() -> None:
        nonlocal under_way, most
        for item in items:
            assert lane.reserve()
            with lock:
                under_way += 1
                most = max(most, under_way)
            assert lane.accept()
            assert lane.put(item, ready=True)
        lane.finish()

    taken = []
    with ThreadPoolExecutor(1) as pool:
        producer = pool.submit(produce)
        while (item := lane.get()) is not None:
            taken.append(item)
            with lock:
                under_way -= 1
            lane.release()
        producer.result()
    assert taken == items
    assert most <= bound


def test_finish_lets_what_is_under_way_out() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.reserve()
    assert lane.accept()
    assert lane.put("a", ready=True)
    lane.finish()
    assert not lane.accept()
    assert not lane.reserve()
    assert lane.get() == "a"
    assert lane.get() is None


def test_what_was_accepted_before_the_end_still_comes_out() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    lane.finish()
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(lane.get)
        assert lane.put("a", ready=True)
        assert getting.result(timeout=10) == "a"
        assert pool.submit(lane.get).result(timeout=10) is None


def test_what_was_accepted_before_the_close_is_refused() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    assert lane.close() == []
    assert lane.put("a", ready=True) is None
    assert lane.get() is None


def test_close_gives_back_what_nobody_took() -> None:
    lane: Lane[str] = Lane(2)
    for item in ("a", "b"):
        assert lane.accept()
        assert lane.put(item, ready=True)
    assert lane.close() == ["a", "b"]
    assert lane.get() is None
    assert not lane.accept()


@pytest.mark.parametrize("end", [Lane.finish, Lane.close])
def test_ending_wakes_whoever_waits(end: Callable[[Lane[str]], object]) -> None:
    full: Lane[str] = Lane(1)
    assert full.reserve()
    empty: Lane[str] = Lane(1)
    with ThreadPoolExecutor(2) as pool:
        reserving = pool.submit(full.reserve)
        getting = pool.submit(empty.get)
        end(full)
        end(empty)
        assert reserving.result(timeout=10) is False
        assert getting.result(timeout=10) is None


def test_what_could_not_be_made_is_not_waited_for() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    assert lane.accept()
    lane.finish()
    lane.withdraw()
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(lane.get)
        assert lane.put("a", ready=True)
        assert getting.result(timeout=10) == "a"
        assert pool.submit(lane.get).result(timeout=10) is None


def test_withdrawing_the_last_one_ends_the_lane() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    lane.finish()
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(lane.get)
        until_waiting(lane)
        lane.withdraw()
        assert getting.result(timeout=10) is None


def test_a_lane_goes_on_after_a_withdrawal() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    lane.withdraw()
    assert lane.accept()
    assert lane.put("a", ready=True)
    lane.finish()
    assert lane.get() == "a"
    assert lane.get() is None


@given(order=st.integers(0, 6).flatmap(lambda count: st.permutations(range(count))), late=st.booleans())
def test_what_is_settled_in_any_order_comes_out_in_order(order: list[int], late: bool) -> None:
    lane: Lane[int] = Lane(6)
    slots = {}
    for item in range(len(order)):
        assert lane.accept()
        slots[item] = lane.put(item, ready=False)
    lane.finish()
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(lambda: list(iter(lane.get, None)))
        if late:
            until_waiting(lane, or_done=getting)
        for item in order:
            assert not getting.done()
            slot = slots[item]
            assert slot is not None
            lane.settle(slot)
        assert getting.result(timeout=10) == sorted(order)


def test_nothing_comes_out_before_it_is_settled() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    slot = lane.put("a", ready=False)
    assert slot is not None
    assert lane.accept()
    assert lane.put("b", ready=True)
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(lane.get)
        until_waiting(lane)
        assert not getting.done()
        lane.settle(slot)
        assert getting.result(timeout=10) == "a"
        assert lane.get() == "b"


def test_closing_gives_back_what_is_not_settled_and_settling_it_then_does_nothing() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    slot = lane.put("a", ready=False)
    assert slot is not None
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(lane.get)
        until_waiting(lane)
        assert lane.close() == ["a"]
        assert getting.result(timeout=10) is None
    lane.settle(slot)
    assert lane.get() is None


@given(bound=st.integers(1, 40))
def test_who_found_no_room_is_woken_once_there_is_enough_of_it(bound: int) -> None:
    lane: Lane[str] = Lane(bound)
    for _ in range(bound):
        assert lane.reserve()
    with ThreadPoolExecutor(1) as pool:
        reserving = pool.submit(lane.reserve)
        # At the latest when all of it is free again.
        for _ in range(bound):
            lane.release()
        assert reserving.result(timeout=10) is True
        assert all(lane.reserve() for _ in range(bound - 1))
        full = pool.submit(lane.reserve)
        until_waiting(lane)
        lane.finish()
        assert full.result(timeout=10) is False


def until_waiting(lane: Lane[Any], or_done: Future[Any] | None = None) -> None:
    """Until a thread waits in the lane."""
    deadline = time.monotonic() + 10
    conditions: list[Any] = [lane._room, lane._head]
    while not any(condition._waiters for condition in conditions) and not (or_done and or_done.done()):
        assert time.monotonic() < deadline

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
            assert lane.put(item)
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
    assert lane.put("a")
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
        assert lane.put("a")
        assert getting.result(timeout=10) == "a"
        assert pool.submit(lane.get).result(timeout=10) is None


def test_what_was_accepted_before_the_close_is_refused() -> None:
    lane: Lane[str] = Lane(2)
    assert lane.accept()
    assert lane.close() == []
    assert not lane.put("a")
    assert lane.get() is None


def test_close_gives_back_what_nobody_took() -> None:
    lane: Lane[str] = Lane(2)
    for item in ("a", "b"):
        assert lane.accept()
        assert lane.put(item)
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

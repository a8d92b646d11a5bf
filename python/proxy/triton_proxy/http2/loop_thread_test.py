from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from service_testing.waiting import TIMEOUT, until
from triton_proxy.http2.loop_thread import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread("test")
    yield thread
    if not thread.loop.is_closed():
        thread.close()


def in_thread(step: object) -> None:
    """Takes a step in a thread of its own."""
    assert callable(step)
    thread = threading.Thread(target=step)
    thread.start()
    thread.join(TIMEOUT)


def test_only_its_own_thread_is_here(loop: LoopThread) -> None:
    seen: list[bool] = []
    loop.soon(lambda: seen.append(loop.here))
    until(lambda: seen)
    assert seen == [True]
    assert not loop.here
    in_thread(lambda: seen.append(loop.here))
    assert seen == [True, False]


def test_a_step_is_taken_at_once_in_the_loops_thread_and_in_the_order_of_asking_from_another(loop: LoopThread) -> None:
    seen: list[str] = []

    def step() -> None:
        loop.soon(seen.append, "at once")
        seen.append("after it")

    loop.soon(step)
    loop.soon(seen.append, "next")
    until(lambda: len(seen) == 3)
    assert seen == ["at once", "after it", "next"]


def test_nothing_happens_once_the_loop_is_closed_also_in_a_thread_that_has_the_number_of_the_loops(
    loop: LoopThread,
) -> None:
    numbers: list[int] = []
    loop.soon(lambda: numbers.append(threading.get_ident()))
    until(lambda: numbers)
    loop.close()
    seen: list[int] = []
    loop.soon(seen.append, 0)

    def ask() -> None:
        loop.soon(seen.append, threading.get_ident())

    # The numbers of threads that have ended are given out again.
    for _ in range(20):
        in_thread(ask)
    assert seen == []


def test_a_pause_of_the_loop_is_reported(loop: LoopThread) -> None:
    paused, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        paused.set()
        go_on.wait(TIMEOUT)

    loop.soon(pause)
    assert paused.wait(TIMEOUT)
    # Three times as long as from one look at the clock to the next, so that one is due within it.
    resumed = time.monotonic() + 0.3
    until(lambda: time.monotonic() > resumed)
    go_on.set()
    until(lambda: loop.statistics().longest_pause_secs >= 0.15)

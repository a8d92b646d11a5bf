"""Something is done again and again, and sooner where somebody asks for it."""

from __future__ import annotations

import threading

from service_testing.waiting import TIMEOUT, until
from triton_proxy.triton.periodic import Periodic

NEVER = 3600.0


def test_it_is_done_at_once_and_when_somebody_asks_and_no_more_after_the_end() -> None:
    done = threading.Semaphore(0)
    periodic = Periodic("test", lambda: done.release(), secs=NEVER)
    assert done.acquire(timeout=TIMEOUT)
    assert not done.acquire(blocking=False)
    periodic.soon()
    assert done.acquire(timeout=TIMEOUT)
    periodic.close()
    until(lambda: "test" not in {thread.name for thread in threading.enumerate()})
    periodic.soon()
    assert not done.acquire(blocking=False)


def test_it_is_done_again_by_itself() -> None:
    done = threading.Semaphore(0)
    periodic = Periodic("test", lambda: done.release(), secs=0.001)
    for _ in range(5):
        assert done.acquire(timeout=TIMEOUT)
    periodic.close()


def test_to_ask_often_has_it_done_as_often_as_allowed() -> None:
    done = threading.Semaphore(0)
    periodic = Periodic("test", lambda: done.release(), secs=NEVER, least_secs=NEVER)
    assert done.acquire(timeout=TIMEOUT)
    for _ in range(10):
        periodic.soon()
    assert not done.acquire(timeout=0.05)
    periodic.close()
    until(lambda: "test" not in {thread.name for thread in threading.enumerate()})
    assert not done.acquire(blocking=False)

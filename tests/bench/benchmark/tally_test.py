from __future__ import annotations

import threading
import time

from benchmark.payload import Array, expected
from benchmark.tally import Load, Tally, Window, in_threads

LOAD = Load(size_bytes=1024, in_flight=4, seconds=0.05, check=True)


def test_threads_keep_as_many_requests_in_flight_and_end_with_the_time() -> None:
    lock = threading.Lock()
    now = most = 0
    full = threading.Event()

    def call(array: Array) -> Array:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if most == LOAD.in_flight:
            full.set()
        assert full.wait(10)
        with lock:
            now -= 1
        return expected(array)

    outcome = in_threads(LOAD, call)
    assert most == LOAD.in_flight
    assert outcome.error is None
    assert len(outcome.latencies_ms) >= LOAD.in_flight
    assert LOAD.seconds / 2 < outcome.elapsed_secs < 10


def test_the_first_failure_ends_the_run() -> None:
    calls = 0

    def call(_: Array) -> Array:
        nonlocal calls
        calls += 1
        raise ValueError(f"call {calls}")

    outcome = in_threads(Load(1024, 1, 10.0, check=False), call)
    assert (outcome.error, calls) == ("call 1", 1)


def test_a_wrong_answer_is_a_failure() -> None:
    checked = in_threads(LOAD, lambda array: expected(array) + 1)
    assert checked.error == "146 of 146 elements of the answer differ from what was sent"
    unchecked = in_threads(Load(1024, 1, 10.0, check=False), lambda array: array)
    assert unchecked.error == "the answer has shape (256,); expected (146,)"


def test_an_answer_without_the_output_is_a_failure() -> None:
    tally = Tally(LOAD)
    tally.answered(time.perf_counter(), None)
    assert tally.outcome().error == "the answer lacks the output"
    assert not tally.open


def test_a_window_lets_no_more_than_its_size_through() -> None:
    tally = Tally(Load(1024, 2, 10.0, check=False))
    window = Window(tally, 2)
    assert window.wait()
    assert window.wait()
    third = threading.Event()

    def enter() -> None:
        if window.wait():
            third.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not third.wait(0.05)
    window.leave()
    assert third.wait(10)
    thread.join()


def test_a_window_drains_and_then_is_closed() -> None:
    tally = Tally(Load(1024, 2, 0.0, check=False))
    window = Window(tally, 2)
    assert not window.wait()  # the time is over
    window.drain()
    assert tally.outcome().error is None


def test_latency_runs_from_the_beginning_of_the_request() -> None:
    tally = Tally(LOAD)
    tally.answered(time.perf_counter() - 1.0, expected(tally.array))
    (latency_ms,) = tally.outcome().latencies_ms
    assert 1000 <= latency_ms < 2000

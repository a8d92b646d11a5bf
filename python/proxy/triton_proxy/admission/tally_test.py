"""Quotas of several workers, over one table: together they admit what one process would, and the dead hold nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from mm_service.file_lock import memory_file
from service_testing.waiting import Clock
from triton_proxy.admission.quotas import LimitExceeded, Quota, Quotas
from triton_proxy.admission.tally import SharedTally

WORKERS = 3
NAMES = st.sampled_from(["ann", "ben", "ann\udcff"])
CALLS, IN_FLIGHT = 3, 4


class Worker:
    """One process's quotas, and its calls."""

    def __init__(self, fd: int, index: int) -> None:
        self.tally = SharedTally(fd, calls=16, workers=WORKERS, worker=index)
        self.quotas = Quotas(calls=CALLS, in_flight=IN_FLIGHT, per_sec=0, tally=self.tally, clock=Clock())
        self.calls: list[Quota] = []


class SeveralWorkers(RuleBasedStateMachine):
    """Calls begin, send and end on any worker, and workers die; what is admitted is what one process would admit."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.fd = memory_file("test")
        self.workers = [Worker(self.fd, index) for index in range(WORKERS)]

    def open(self, name: str) -> list[Quota]:
        return [call for worker in self.workers for call in worker.calls if call.principal == name]

    @rule(target=calls, name=NAMES, index=st.integers(0, WORKERS - 1))
    def begin(self, name: str, index: int) -> tuple[int, Quota] | None:
        full = len(self.open(name)) >= CALLS
        if full:
            with pytest.raises(LimitExceeded, match=f"^{CALLS} calls of {name} are open already"):
                self.workers[index].quotas.call(name)
            return None
        call = self.workers[index].quotas.call(name)
        self.workers[index].calls.append(call)
        return index, call

    @rule(begun=calls)
    def send(self, begun: tuple[int, Quota] | None) -> None:
        if begun is None or begun[1] not in self.workers[begun[0]].calls:
            return
        call = begun[1]
        if sum(each.in_flight for each in self.open(call.principal)) < IN_FLIGHT:
            call.admit()
            return
        with pytest.raises(LimitExceeded, match=f"^{IN_FLIGHT} packets of {call.principal} are under way already"):
            call.admit()

    @rule(begun=calls)
    def answer(self, begun: tuple[int, Quota] | None) -> None:
        if begun is not None and begun[1] in self.workers[begun[0]].calls and begun[1].in_flight:
            begun[1].release()

    @rule(begun=calls)
    def end(self, begun: tuple[int, Quota] | None) -> None:
        if begun is not None and begun[1] in self.workers[begun[0]].calls:
            begun[1].close()
            self.workers[begun[0]].calls.remove(begun[1])

    @rule(index=st.integers(0, WORKERS - 1))
    def die(self, index: int) -> None:
        self.workers[(index + 1) % WORKERS].tally.forget(index)
        self.workers[index] = Worker(self.fd, index)

    def teardown(self) -> None:
        os.close(self.fd)


TestSeveralWorkers = SeveralWorkers.TestCase


def test_rows_of_those_who_left_are_taken_again_and_a_full_table_refuses() -> None:
    fd = memory_file("test")
    table = Quotas(calls=1, in_flight=1, per_sec=0, tally=SharedTally(fd, calls=1, workers=1))
    for number in range(1000):
        table.call(f"caller {number}").close()
    # As many rows as one bucket has.
    held = [table.call(f"other {number}") for number in range(64)]
    with pytest.raises(LimitExceeded, match=r"^too many principals have calls open; try again later$"):
        table.call("one more")
    held[0].close()
    table.call("one more")
    os.close(fd)

"""Whatever the connections do and in whatever order, the merge keeps order and bounds and comes to an end."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api._core.merge import Merge
from mm_client_api.result import InferenceResult
from multimodal_contract import pb


def answer(number: int, final: bool) -> InferenceResult:
    ack = pb.Ack(correlation_id=str(number), final=final)
    return InferenceResult(ack, marks_last=True)


class Simulation:
    """A merge with its connections, each of which answers its requests in their order.

    Args:
        merge: under test.
        answers: how many each request gets.
        limit: most requests and results in the merge.
    """

    def __init__(self, merge: Merge, answers: list[int], limit: int) -> None:
        self.merge = merge
        self.answers = answers
        self.limit = limit
        self.sent = 0
        self.carried: list[deque[tuple[int, bool]]] = []
        self.delivered: list[tuple[int, bool]] = []
        self.open()

    def open(self) -> None:
        assert self.merge.open() == len(self.carried)
        self.carried.append(deque())

    def steps(self) -> list[tuple[str, int]]:
        """What may happen next."""
        steps = [("add", number) for number, carried in enumerate(self.carried) if carried]
        steps = [step for step in steps if self.merge.may_add(step[1], answer(*self.carried[step[1]][0]))]
        return steps + [("send", 0)] * (self.sent < len(self.answers) and self.merge.room)

    def step(self, what: str, connection: int) -> None:
        if what == "add":
            self.merge.add(connection, answer(*self.carried[connection].popleft()))
        else:
            if self.merge.all_full:
                self.open()
            count = self.answers[self.sent]
            self.carried[self.merge.place()].extend((self.sent, last == count - 1) for last in range(count))
            self.sent += 1
            if self.sent == len(self.answers):
                self.merge.exhaust(None)

    def take(self) -> bool:
        result = self.merge.take()
        if result is not None:
            self.delivered.append((int(result.correlation_id), result.final))
        return result is not None


@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.lists(st.integers(1, 3), max_size=25))
def test_every_result_arrives_within_bounds(
    data: st.DataObject, window: int, connections: int, ordered: bool, answers: list[int]
) -> None:
    limit = window * connections
    merge = Merge(window, connections, ordered=ordered)
    simulation = Simulation(merge, answers, limit)
    if not answers:
        merge.exhaust(None)
    while not merge.finished:
        steps = simulation.steps()
        # Something can always go on: there is no deadlock.
        taken = data.draw(st.booleans()) and simulation.take()
        if not taken and steps:
            simulation.step(*data.draw(st.sampled_from(steps)))
        elif not taken:
            assert simulation.take()
        assert merge.held <= limit + 1
        if set(answers) <= {1}:
            assert merge.held <= limit
        assert len(simulation.carried) <= connections
    expected = [(number, last == count - 1) for number, count in enumerate(answers) for last in range(count)]
    assert sorted(simulation.delivered) == sorted(expected)
    if ordered:
        assert simulation.delivered == expected
    merge.end()


def test_a_connection_is_opened_only_when_the_others_are_full() -> None:
    merge = Merge(2, 3, ordered=True)
    merge.open()
    opened = []
    for _ in range(6):
        opened.append(merge.all_full)
        if merge.all_full:
            merge.open()
        merge.place()
    assert opened == [False, False, True, False, True, False]
    assert not merge.room


def test_the_emptiest_connection_is_next() -> None:
    merge = Merge(3, 2, ordered=False)
    merge.open()
    merge.open()
    assert [merge.place() for _ in range(4)] == [0, 1, 0, 1]
    merge.add(1, answer(1, final=True))
    assert merge.place() == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_a_lost_connection_is_said_where_its_result_would_be(ordered: bool) -> None:
    merge = Merge(3, 2, ordered=ordered)
    merge.open()
    merge.open()
    for _ in range(4):
        merge.place()
    room = [merge.room]
    merge.fail(1, LookupError("lost"))
    room.append(merge.room)
    assert room == [True, False]
    if ordered:
        assert merge.take() is None
    merge.add(0, answer(0, final=True))
    first = merge.take()
    assert first is not None
    assert first.correlation_id == "0"
    with pytest.raises(LookupError):
        merge.take()


def test_after_the_end_nothing_is_kept() -> None:
    merge = Merge(2, 2, ordered=False)
    merge.open()
    merge.place()
    merge.place()
    merge.add(0, answer(0, final=True))
    merge.forget()
    merge.fail(0, LookupError("cancelled"))
    assert merge.take() is None


def test_what_the_iterable_raised_comes_last() -> None:
    merge = Merge(1, 1, ordered=True)
    merge.open()
    merge.place()
    merge.exhaust(LookupError("camera"))
    assert not merge.finished
    merge.add(0, answer(0, final=True))
    taken = merge.take()
    assert taken is not None
    ends = [merge.finished]
    assert ends == [True]
    with pytest.raises(LookupError):
        merge.end()

"""What a person reads while Triton starts, by a clock and a client that the tests set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

from client_testing.waiting import Clock

from mm_client.starting import announcing_start
from mm_client_api import AccessDenied, ModelIndex, TritonClient, TritonStarting


class Models:
    """A client that is asked for its models: each answer takes four seconds of the clock."""

    def __init__(self, clock: Clock, answers: Iterator[Exception | None]) -> None:
        self.asked = 0
        self._clock = clock
        self._answers = answers

    def models(self) -> ModelIndex:
        self.asked += 1
        self._clock.now += 4
        answer = next(self._answers)
        if answer is not None:
            raise answer
        return ModelIndex([])


def lines(*answers: Exception | None) -> tuple[list[str], int]:
    """What is said while these answers come, and how many were asked for."""
    clock, said = Clock(), list[str]()
    client = Models(clock, iter(answers))
    with announcing_start(cast(TritonClient, client), said.append, first_secs=0, ask_secs=0, clock=clock):
        for thread in threading.enumerate():
            if thread.name == "mm-client-starting":
                thread.join(30)
    return said, client.asked


def test_the_time_is_told_every_ten_seconds_until_triton_is_ready() -> None:
    starting = TritonStarting("no Triton is running")
    said, _ = lines(starting, starting, starting, starting, None)
    assert said == ["Triton is starting: 4 s", "Triton is starting: 16 s", "Triton is ready, after 20 s"]


def test_a_triton_that_runs_is_asked_once_and_nothing_is_told() -> None:
    assert lines(None) == ([], 1)


def test_another_error_is_the_commands_own_to_tell() -> None:
    assert lines(AccessDenied("not you")) == ([], 1)


def test_a_command_that_is_quick_asks_nothing() -> None:
    clock = Clock()
    client = Models(clock, iter([]))
    with announcing_start(cast(TritonClient, client), lambda _: None, clock=clock):
        pass
    assert client.asked == 0

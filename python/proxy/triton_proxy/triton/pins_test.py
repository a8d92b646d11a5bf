"""Where sequences are, from their first request to their last."""

from __future__ import annotations

import pytest

from triton_proxy.triton.pins import Pin, Pins, Place

HERE, THERE = Pin("a:1", 1), Pin("b:1", 2)


def place(sequence_id: int | str = 5, *, start: bool = False, end: bool = False, model: str = "m") -> Place:
    return Place(model, sequence_id, start, end)


def test_a_sequence_is_where_its_first_request_went_until_its_last() -> None:
    pins = Pins()
    assert pins.find(place(start=True)) is None
    pins.went(place(start=True), HERE)
    assert pins.find(place()) == pins.find(place(end=True)) == HERE
    assert pins.find(place(model="another")) is None
    assert pins.all() == {HERE}
    pins.went(place(end=True), HERE)
    assert (pins.find(place()), len(pins), pins.all()) == (None, 0, set())


def test_one_that_begins_anew_may_be_elsewhere() -> None:
    pins = Pins()
    pins.went(place(start=True), HERE)
    assert pins.find(place(start=True)) is None
    pins.went(place(start=True), THERE)
    assert pins.find(place()) == THERE


def test_a_sequence_of_one_request_is_nowhere_afterwards() -> None:
    pins = Pins()
    pins.went(place(start=True, end=True), HERE)
    assert len(pins) == 0


@pytest.mark.parametrize("sequence_id", [0, ""])
def test_what_has_no_id_is_no_sequence(sequence_id: int | str) -> None:
    pins = Pins()
    pins.went(place(sequence_id, start=True), HERE)
    assert (pins.find(place(sequence_id)), len(pins)) == (None, 0)


def test_one_that_did_not_begin_here_is_not_remembered() -> None:
    pins = Pins()
    pins.went(place(), HERE)
    assert len(pins) == 0


def test_the_one_unused_for_longest_is_forgotten() -> None:
    pins = Pins(most=2)
    for sequence_id in (1, 2):
        pins.went(place(sequence_id, start=True), HERE)
    assert pins.find(place(1)) == HERE
    pins.went(place("3", start=True), HERE)
    assert [pins.find(place(each)) for each in (1, 2, "3")] == [HERE, None, HERE]

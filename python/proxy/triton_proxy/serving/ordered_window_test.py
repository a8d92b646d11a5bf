"""The window against a model of it, and the promises that its callers rest on one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mm_service.waiting import WouldBlock
from triton_proxy.serving.ordered_window import OrderedWindow, Slot, WindowFinished, WindowStatistics

ENDS = pytest.mark.parametrize("end", [OrderedWindow.finish, OrderedWindow.close])
End = Callable[[OrderedWindow[str]], object]


def put(window: OrderedWindow[str], item: str, *, ready: bool = True) -> Slot[str]:
    """The place of an item that was let in."""
    window.reserve_nowait()
    assert window.accept()
    slot = window.put(item, ready=ready)
    assert slot is not None
    return slot


def test_a_full_window_has_no_place_until_an_item_is_done_with() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    put(window, "a")
    put(window, "b")
    with pytest.raises(WouldBlock):
        window.reserve_nowait()
    assert window.take_nowait() == "a"
    # It is under way while it is out.
    with pytest.raises(WouldBlock):
        window.reserve_nowait()
    assert window.statistics() == WindowStatistics(under_way=2, waiting=1, ready=1, finished=False)
    assert window.release()
    assert window.statistics() == WindowStatistics(under_way=1, waiting=1, ready=1, finished=False)
    window.reserve_nowait()


def test_a_place_counts_from_its_reservation() -> None:
    window: OrderedWindow[str] = OrderedWindow(1)
    window.reserve_nowait()
    with pytest.raises(WouldBlock):
        window.reserve_nowait()


@given(bound=st.integers(1, 40))
def test_a_reader_that_found_no_place_goes_on_once_when_a_quarter_is_free(bound: int) -> None:
    window: OrderedWindow[str] = OrderedWindow(bound)
    for index in range(bound):
        put(window, str(index))
    with pytest.raises(WouldBlock):
        window.reserve_nowait()
    said = []
    for _ in range(bound):
        window.take_nowait()
        said.append(window.release())
    assert said == [free == max(1, bound // 4) for free in range(1, bound + 1)]


@given(bound=st.integers(1, 40))
def test_a_reader_that_found_a_place_is_not_told_to_go_on(bound: int) -> None:
    window: OrderedWindow[str] = OrderedWindow(bound)
    for index in range(bound):
        put(window, str(index))
    for _ in range(bound):
        window.take_nowait()
        assert not window.release()


def test_one_item_is_out_at_a_time() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    put(window, "a")
    put(window, "b")
    assert window.take_nowait() == "a"
    with pytest.raises(WouldBlock):
        window.take_nowait()
    window.release()
    assert window.take_nowait() == "b"


def test_finish_lets_what_is_under_way_out() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    put(window, "a")
    window.finish()
    assert not window.accept()
    with pytest.raises(WindowFinished):
        window.reserve_nowait()
    assert window.take_nowait() == "a"
    window.release()
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_the_end_waits_for_the_item_that_is_out() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    put(window, "a")
    assert window.take_nowait() == "a"
    window.finish()
    with pytest.raises(WouldBlock):
        window.take_nowait()
    window.release()
    with pytest.raises(WindowFinished):
        window.take_nowait()


@ENDS
def test_the_end_is_said_once(end: End) -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    end(window)
    with pytest.raises(WindowFinished):
        window.take_nowait()
    with pytest.raises(WouldBlock):
        window.take_nowait()
    window.finish()
    with pytest.raises(WouldBlock):
        window.take_nowait()


@ENDS
def test_a_full_window_says_that_it_has_ended(end: End) -> None:
    window: OrderedWindow[str] = OrderedWindow(1)
    window.reserve_nowait()
    end(window)
    with pytest.raises(WindowFinished):
        window.reserve_nowait()


def test_what_was_accepted_before_the_end_still_comes_out() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    window.reserve_nowait()
    assert window.accept()
    window.finish()
    # It is waited for.
    with pytest.raises(WouldBlock):
        window.take_nowait()
    assert window.put("a", ready=True) is not None
    assert window.take_nowait() == "a"
    window.release()
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_what_was_reserved_but_not_accepted_before_the_end_is_not_waited_for() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    window.reserve_nowait()
    window.finish()
    assert not window.accept()
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_what_was_accepted_before_the_close_is_not_put_in() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    window.reserve_nowait()
    assert window.accept()
    assert window.close() == []
    assert window.put("a", ready=True) is None
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_close_gives_back_what_nobody_took() -> None:
    window: OrderedWindow[str] = OrderedWindow(3)
    for item in ("out", "a", "b"):
        put(window, item)
    assert window.take_nowait() == "out"
    assert window.items() == ["a", "b"]
    assert window.close() == ["a", "b"]
    assert window.close() == []
    assert window.items() == []
    assert not window.accept()
    window.release()
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_closing_gives_back_what_is_not_settled_and_settling_it_then_does_nothing() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    slot = put(window, "a", ready=False)
    with pytest.raises(WouldBlock):
        window.take_nowait()
    assert window.close() == ["a"]
    window.settle(slot)
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_what_could_not_be_made_is_not_waited_for() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    for _ in range(2):
        window.reserve_nowait()
        assert window.accept()
    window.finish()
    window.withdraw()
    assert window.put("a", ready=True) is not None
    assert window.take_nowait() == "a"
    window.release()
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_the_last_that_could_not_be_made_ends_a_finished_window() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    window.reserve_nowait()
    assert window.accept()
    window.finish()
    window.withdraw()
    with pytest.raises(WindowFinished):
        window.take_nowait()


def test_a_window_goes_on_after_a_withdrawal() -> None:
    window: OrderedWindow[str] = OrderedWindow(2)
    window.reserve_nowait()
    assert window.accept()
    window.withdraw()
    put(window, "a")
    window.finish()
    assert window.take_nowait() == "a"


@given(order=st.integers(0, 6).flatmap(lambda count: st.permutations(range(count))))
def test_what_is_settled_in_any_order_comes_out_in_order(order: list[int]) -> None:
    window: OrderedWindow[str] = OrderedWindow(6)
    slots = [put(window, str(item), ready=False) for item in range(len(order))]
    window.finish()
    settled: set[int] = set()
    taken = 0
    for item in order:
        window.settle(slots[item])
        settled.add(item)
        while taken in settled:
            assert window.take_nowait() == str(taken)
            window.release()
            taken += 1
        with pytest.raises((WouldBlock, WindowFinished)):
            window.take_nowait()
    assert taken == len(order)


class Windows(RuleBasedStateMachine):
    """Any order of what a call's reader, its inferences and its answers do."""

    @initialize(bound=st.integers(1, 9))
    def make(self, bound: int) -> None:
        self.bound = bound
        self.window: OrderedWindow[int] = OrderedWindow(bound)
        self.reserved = self.accepted = self.next_item = 0
        self.free = bound
        self.parked = False
        # In order: the item, its place, and whether it is ready.
        self.inside: list[tuple[int, Slot[int], bool]] = []
        self.dropped: list[Slot[int]] = []
        self.out: int | None = None
        self.latest_out = -1
        self.finished = self.closed = self.said = False

    @rule()
    def reserve(self) -> None:
        if self.finished:
            with pytest.raises(WindowFinished):
                self.window.reserve_nowait()
        elif self.free:
            self.window.reserve_nowait()
            self.free -= 1
            self.reserved += 1
        else:
            with pytest.raises(WouldBlock):
                self.window.reserve_nowait()
            self.parked = True

    @precondition(lambda self: self.reserved)
    @rule()
    def accept(self) -> None:
        assert self.window.accept() is not self.finished
        self.reserved -= 1
        self.accepted += not self.finished

    @precondition(lambda self: self.accepted)
    @rule(ready=st.booleans())
    def put(self, ready: bool) -> None:
        slot = self.window.put(self.next_item, ready=ready)
        self.accepted -= 1
        assert (slot is None) is self.closed
        if slot is not None:
            self.inside.append((self.next_item, slot, ready))
        self.next_item += 1

    @precondition(lambda self: self.accepted)
    @rule()
    def withdraw(self) -> None:
        self.window.withdraw()
        self.accepted -= 1

    @precondition(lambda self: self.inside or self.dropped)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([slot for _, slot, _ in self.inside] + self.dropped))
        self.window.settle(slot)
        self.inside = [(item, each, ready or each is slot) for item, each, ready in self.inside]

    @rule()
    def take(self) -> None:
        if self.out is not None or self.said or (self.inside and not self.inside[0][2]):
            with pytest.raises(WouldBlock):
                self.window.take_nowait()
        elif self.inside:
            self.out, _, _ = self.inside.pop(0)
            assert self.window.take_nowait() == self.out
            assert self.out > self.latest_out
            self.latest_out = self.out
        elif self.closed or (self.finished and not self.accepted):
            with pytest.raises(WindowFinished):
                self.window.take_nowait()
            self.said = True
        else:
            with pytest.raises(WouldBlock):
                self.window.take_nowait()

    @precondition(lambda self: self.out is not None)
    @rule()
    def release(self) -> None:
        self.free += 1
        go_on = self.parked and self.free >= max(1, self.bound // 4)
        self.parked = self.parked and not go_on
        assert self.window.release() is go_on
        self.out = None

    @rule()
    def finish(self) -> None:
        self.window.finish()
        self.finished = True

    @rule()
    def close(self) -> None:
        assert self.window.close() == [item for item, _, _ in self.inside]
        self.dropped += [slot for _, slot, _ in self.inside]
        self.inside = []
        self.finished = self.closed = True

    @invariant()
    def shows_what_is_inside(self) -> None:
        assert self.window.items() == [item for item, _, _ in self.inside]
        assert len(self.inside) + (self.out is not None) <= self.bound


Windows.TestCase.settings = settings(deadline=None, max_examples=100)
TestWindows = Windows.TestCase

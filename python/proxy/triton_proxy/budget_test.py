from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from triton_proxy.budget import Budget, Room, Share
from triton_proxy.limits import LimitExceeded

MB = 1024 * 1024


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def reserved(share: Share, size: int) -> Room:
    """Room that there is."""
    room = share.reserve(size)
    assert room is not None
    return room


def test_waits_for_room_in_the_order_of_asking() -> None:
    budget = Budget(1)
    room = reserved(budget.share(), MB)
    got: list[int] = []

    def ask(index: int, size: int) -> Room:
        asked = reserved(budget.share(), size)
        got.append(index)
        return asked

    with ThreadPoolExecutor(3) as pool:
        asking = []
        # The first needs everything; the small ones behind it must not overtake.
        for index, size in enumerate([MB, 1, 1]):
            asking.append(pool.submit(ask, index, size))
            until(lambda: budget.waiting == len(asking))
        room.resize(MB // 2)
        assert budget.waiting == 3
        room.close()
        asking[0].result(10).close()
        for one in asking:
            one.result(10)
    assert got[0] == 0
    assert budget.in_use == 2


@pytest.mark.parametrize("end", [Share.finish, Share.close])
def test_ending_wakes_whoever_waits_and_lets_the_next_in(end: Callable[[Share], None]) -> None:
    budget = Budget(1)
    holder, large, small = budget.share(), budget.share(), budget.share()
    reserved(holder, MB - 1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(large.reserve, MB)
        until(lambda: budget.waiting == 1)
        second = pool.submit(small.reserve, 1)
        until(lambda: budget.waiting == 2)
        end(large)
        assert first.result(10) is None
        assert second.result(10) is not None
    assert large.reserve(0) is None


def test_finishing_keeps_what_is_held_and_closing_gives_it_back_once() -> None:
    budget = Budget(1)
    share = budget.share()
    first, second = reserved(share, 3), reserved(share, 4)
    share.finish()
    assert budget.in_use == 7
    second.resize(5)
    first.close()
    first.close()
    assert budget.in_use == 5
    share.close()
    share.close()
    second.resize(9)
    second.close()
    assert budget.in_use == 0


def test_an_answer_that_comes_after_its_packet_was_given_back_takes_nothing() -> None:
    budget = Budget(1)
    room = reserved(budget.share(), 3)
    room.close()
    room.resize(5)
    room.close()
    assert budget.in_use == 0


def test_answers_do_not_wait_and_nobody_gets_anything_while_there_is_too_much_of_them() -> None:
    budget = Budget(1)
    holder = budget.share()
    first, second = reserved(holder, MB // 2), reserved(holder, MB // 2)
    first.resize(MB)
    assert budget.in_use == MB + MB // 2
    with ThreadPoolExecutor(1) as pool:
        # Not even what takes nothing: it would be accepted all the same.
        asking = pool.submit(budget.share().reserve, 0)
        until(lambda: budget.waiting == 1)
        second.resize(1)
        assert budget.waiting == 1
        second.close()
        assert asking.result(10) is not None
    assert budget.in_use == MB


def test_what_never_fits_is_refused_instead_of_waiting_for_ever() -> None:
    with pytest.raises(LimitExceeded, match=r"that takes 1048577 bytes .* is over MAX_MB_IN_FLIGHT=1,") as caught:
        Budget(1).share().reserve(MB + 1)
    assert caught.value.retry_after_secs is None


def test_many_streams_stay_within_the_bound_and_all_get_through() -> None:
    budget = Budget(1)
    lock = threading.Lock()
    held = most = 0
    size = MB // 5

    def stream(_: int) -> int:
        nonlocal held, most
        share = budget.share()
        for _ in range(50):
            room = reserved(share, size)
            with lock:
                held += size
                most = max(most, held)
            room.resize(size // 2)
            with lock:
                held -= size
            room.close()
        share.close()
        return 50

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(stream, range(16))) == 16 * 50
    assert most <= MB
    assert budget.in_use == budget.waiting == 0


SIZES = st.sampled_from([0, 1, MB // 3, MB // 2, MB])


class Streams(RuleBasedStateMachine):
    """Against a model of the queue: who waits, who gets what, and in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(1)
        self.pool = ThreadPoolExecutor(8)
        self.held: dict[Share, dict[Room, int]] = {}
        self.finished: set[Share] = set()
        self.queue: deque[tuple[Share, int, Future[Room | None]]] = deque()
        # Rooms of which nothing may come any more.
        self.given_back: list[Room] = []

    @precondition(lambda self: len(self.held) < 6)
    @rule()
    def open(self) -> None:
        self.held[self.budget.share()] = {}

    @precondition(lambda self: self.free_shares())
    @rule(data=st.data(), size=SIZES)
    def reserve(self, data: st.DataObject, size: int) -> None:
        share = data.draw(st.sampled_from(self.free_shares()))
        asking = self.pool.submit(share.reserve, size)
        if share in self.finished:
            assert asking.result(10) is None
        elif not self.queue and self.in_use() + size <= MB:
            self.got(share, size, asking)
        else:
            self.queue.append((share, size, asking))
            until(lambda: self.budget.waiting == len(self.queue))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), size=SIZES | st.just(5 * MB))
    def reserve_at_once(self, data: st.DataObject, size: int) -> None:
        share = data.draw(st.sampled_from(list(self.held)))
        room = share.reserve_at_once(size)
        fits = share not in self.finished and not self.queue and self.in_use() + size <= MB
        assert (room is not None) == fits
        if room is not None:
            self.held[share][room] = size

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), size=SIZES | st.just(5 * MB))
    def resize(self, data: st.DataObject, size: int) -> None:
        share, room = data.draw(st.sampled_from(self.rooms()))
        room.resize(size)
        self.held[share][room] = size
        self.grant()

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def close_room(self, data: st.DataObject) -> None:
        share, room = data.draw(st.sampled_from(self.rooms()))
        room.close()
        del self.held[share][room]
        self.given_back.append(room)
        self.grant()

    @precondition(lambda self: self.given_back)
    @rule(data=st.data(), size=SIZES, again=st.booleans())
    def come_late(self, data: st.DataObject, size: int, again: bool) -> None:
        room = data.draw(st.sampled_from(self.given_back))
        if again:
            room.close()
        else:
            room.resize(size)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), close=st.booleans())
    def end(self, data: st.DataObject, close: bool) -> None:
        share = data.draw(st.sampled_from(list(self.held)))
        waiting = [entry for entry in self.queue if entry[0] is share]
        self.finished.add(share)
        if close:
            share.close()
            self.given_back += self.held.pop(share)
        else:
            share.finish()
        for entry in waiting:
            assert entry[2].result(10) is None
            self.queue.remove(entry)
        self.grant()

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.budget.in_use == self.in_use()
        assert self.budget.waiting == len(self.queue)
        assert not any(asking.done() for _, _, asking in self.queue)

    def teardown(self) -> None:
        for share in list(self.held):
            share.close()
        assert self.budget.in_use == self.budget.waiting == 0
        self.pool.shutdown()

    def got(self, share: Share, size: int, asking: Future[Room | None]) -> None:
        room = asking.result(10)
        assert room is not None
        self.held[share][room] = size

    def grant(self) -> None:
        while self.queue and self.in_use() + self.queue[0][1] <= MB:
            self.got(*self.queue.popleft())

    def in_use(self) -> int:
        return sum(sum(rooms.values()) for rooms in self.held.values())

    def rooms(self) -> list[tuple[Share, Room]]:
        return [(share, room) for share, rooms in self.held.items() for room in rooms]

    def free_shares(self) -> list[Share]:
        """A stream has one reader."""
        waiting = {share for share, _, _ in self.queue}
        return [share for share in self.held if share not in waiting]


Streams.TestCase.settings = settings(deadline=None, max_examples=50)
TestStreams = Streams.TestCase

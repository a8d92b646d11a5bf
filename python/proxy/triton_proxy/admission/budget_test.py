from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mm_service.waiting import WouldBlock
from service_testing.waiting import until
from triton_proxy.admission.budget import Budget, BudgetStatistics, Reservation, Share, ShareFinished
from triton_proxy.admission.quotas import LimitExceeded

MB = 1024 * 1024


def test_waits_for_memory_in_the_order_of_asking() -> None:
    budget = Budget(1, 1)
    reservation = budget.share("ann").reserve(MB)
    got: list[int] = []

    def ask(index: int, size: int) -> Reservation:
        asked = budget.share("ann").reserve(size)
        got.append(index)
        return asked

    with ThreadPoolExecutor(3) as pool:
        asking = []
        # The first needs everything; the small ones behind it must not overtake.
        for index, size in enumerate([MB, 1, 1]):
            asking.append(pool.submit(ask, index, size))
            until(lambda: budget.statistics().waiting == len(asking))
        reservation.resize(MB // 2)
        assert budget.statistics().waiting == 3
        reservation.close()
        asking[0].result(10).close()
        for one in asking:
            one.result(10)
    assert got[0] == 0
    assert budget.statistics().in_use == 2


@pytest.mark.parametrize("end", [Share.finish, Share.close])
def test_ending_wakes_those_that_wait_and_lets_the_next_in(end: Callable[[Share], None]) -> None:
    budget = Budget(1, 1)
    holder, large, small = budget.share("ann"), budget.share("ann"), budget.share("ann")
    holder.reserve(MB - 1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(large.reserve, MB)
        until(lambda: budget.statistics().waiting == 1)
        second = pool.submit(small.reserve, 1)
        until(lambda: budget.statistics().waiting == 2)
        end(large)
        with pytest.raises(ShareFinished):
            first.result(10)
        second.result(10)
    with pytest.raises(ShareFinished):
        large.reserve(0)
    with pytest.raises(ShareFinished):
        large.reserve_nowait(0)


def test_finishing_keeps_what_is_held_and_closing_gives_it_back_once() -> None:
    budget = Budget(1, 1)
    share = budget.share("ann")
    first, second = share.reserve(3), share.reserve(4)
    share.finish()
    assert budget.statistics().in_use == 7
    second.resize(5)
    first.close()
    first.close()
    assert budget.statistics().in_use == 5
    share.close()
    share.close()
    second.resize(9)
    second.close()
    assert budget.statistics().in_use == 0


def test_an_answer_that_comes_after_its_packet_was_given_back_takes_nothing() -> None:
    budget = Budget(1, 1)
    reservation = budget.share("ann").reserve(3)
    reservation.close()
    reservation.resize(5)
    reservation.close()
    assert budget.statistics().in_use == 0


def test_answers_do_not_wait_and_nobody_gets_anything_while_there_is_too_much_of_them() -> None:
    budget = Budget(1, 1)
    holder = budget.share("ann")
    first, second = holder.reserve(MB // 2), holder.reserve(MB // 2)
    first.resize(MB)
    assert budget.statistics().in_use == MB + MB // 2
    with ThreadPoolExecutor(1) as pool:
        # Not even what takes nothing: it would be accepted all the same.
        asking = pool.submit(budget.share("ann").reserve, 0)
        until(lambda: budget.statistics().waiting == 1)
        second.resize(1)
        assert budget.statistics().waiting == 1
        second.close()
        asking.result(10)
    assert budget.statistics().in_use == MB


def test_what_never_fits_is_refused_instead_of_waiting_for_ever() -> None:
    with pytest.raises(LimitExceeded, match=r"takes 1048577 .* over MAX_MB_IN_FLIGHT=1,") as caught:
        Budget(1, 1).share("ann").reserve(MB + 1)
    assert caught.value.retry_after_secs is None


def test_one_principal_has_its_part_and_holds_up_nobody_else() -> None:
    budget = Budget(2, 1)
    ann, bob = budget.share("ann"), budget.share("bob")
    first = ann.reserve(MB)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ann.reserve, 1)
        until(lambda: budget.statistics().waiting == 1)
        # There is memory for it in all, but not in its principal's part.
        assert budget.statistics() == BudgetStatistics(in_use=MB, waiting=1, principals={"ann": MB, "bob": 0})
        with pytest.raises(WouldBlock):
            budget.share("ann").reserve_nowait(0)
        bob.reserve(MB).close()
        first.resize(MB - 1)
        waiting.result(10)
    ann.close()
    bob.close()


def test_memory_is_wanted_from_those_who_can_give_it_back() -> None:
    budget = Budget(2, 1)
    ann, bob, cid = budget.share("ann"), budget.share("bob"), budget.share("cid")
    held = ann.reserve(MB)
    with ThreadPoolExecutor(2) as pool:
        own = pool.submit(budget.share("ann").reserve, 1)
        until(lambda: budget.statistics().waiting == 1)
        # It waits for ann's part, which nobody else has.
        assert (ann.crowded, bob.crowded, cid.crowded) == (True, False, False)
        common = bob.reserve(MB)
        all_of_it = pool.submit(cid.reserve, MB)
        until(lambda: budget.statistics().waiting == 2)
        assert (ann.crowded, bob.crowded, cid.crowded) == (True, True, True)
        held.close()
        own.result(10)
        common.close()
        all_of_it.result(10)
    assert not ann.crowded


def test_answers_that_nobody_takes_count_for_their_principal() -> None:
    budget = Budget(10, 1)
    share = budget.share("ann")
    share.reserve(1).resize(2 * MB)
    with pytest.raises(WouldBlock):
        share.reserve_nowait(1)
    budget.share("bob").reserve_nowait(MB)


def test_a_principal_is_remembered_while_it_has_a_call_open() -> None:
    budget = Budget(1, 1)
    shares = [budget.share(name) for name in ("ann", "ann", "bob")]
    assert budget.statistics().principals == {"ann": 0, "bob": 0}
    for share in shares:
        share.close()
    assert budget.statistics().principals == {}


def test_what_never_fits_into_a_principals_part_names_that() -> None:
    with pytest.raises(LimitExceeded) as caught:
        Budget(2, 1).share("ann").reserve(MB + 1)
    assert str(caught.value) == (
        "a packet that takes 1048577 bytes while it is under way, 2 copies of it, is over "
        "MAX_MB_IN_FLIGHT_PER_PRINCIPAL=1, which is for all packets of ann together; send smaller packets"
    )


def test_many_streams_stay_within_the_bound_and_all_get_through() -> None:
    budget = Budget(1, 1)
    lock = threading.Lock()
    held = most = 0
    size = MB // 5

    def stream(_: int) -> int:
        nonlocal held, most
        share = budget.share("ann")
        for _ in range(50):
            reservation = share.reserve(size)
            with lock:
                held += size
                most = max(most, held)
            reservation.resize(size // 2)
            with lock:
                held -= size
            reservation.close()
        share.close()
        return 50

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(stream, range(16))) == 16 * 50
    assert most <= MB
    assert budget.statistics().in_use == budget.statistics().waiting == 0


SIZES = st.sampled_from([0, 1, MB // 3, MB // 2, MB])
ALL_MB, PRINCIPAL_MB = 2, 1


class Streams(RuleBasedStateMachine):
    """Against a model of the queue: who waits, who gets what, and in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(ALL_MB, PRINCIPAL_MB)
        self.pool = ThreadPoolExecutor(8)
        self.held: dict[Share, dict[Reservation, int]] = {}
        self.finished: set[Share] = set()
        self.queue: list[tuple[Share, int, Future[Reservation]]] = []
        # Of these nothing may come any more.
        self.given_back: list[Reservation] = []

    @precondition(lambda self: len(self.held) < 6)
    @rule(principal=st.sampled_from("abc"))
    def open(self, principal: str) -> None:
        self.held[self.budget.share(principal)] = {}

    @precondition(lambda self: self.free_shares())
    @rule(data=st.data(), size=SIZES)
    def reserve(self, data: st.DataObject, size: int) -> None:
        share = data.draw(st.sampled_from(self.free_shares()))
        asking = self.pool.submit(share.reserve, size)
        if share in self.finished:
            with pytest.raises(ShareFinished):
                asking.result(10)
        elif self.may_have(share, size):
            self.got(share, size, asking)
        else:
            self.queue.append((share, size, asking))
            until(lambda: self.budget.statistics().waiting == len(self.queue))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), size=SIZES | st.just(5 * MB))
    def reserve_nowait(self, data: st.DataObject, size: int) -> None:
        share = data.draw(st.sampled_from(list(self.held)))
        if share in self.finished:
            with pytest.raises(ShareFinished):
                share.reserve_nowait(size)
        elif self.may_have(share, size):
            self.held[share][share.reserve_nowait(size)] = size
        else:
            with pytest.raises(WouldBlock):
                share.reserve_nowait(size)

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), size=SIZES | st.just(5 * MB))
    def resize(self, data: st.DataObject, size: int) -> None:
        share, reservation = data.draw(st.sampled_from(self.reservations()))
        reservation.resize(size)
        self.held[share][reservation] = size
        self.grant()

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def close_reservation(self, data: st.DataObject) -> None:
        share, reservation = data.draw(st.sampled_from(self.reservations()))
        reservation.close()
        del self.held[share][reservation]
        self.given_back.append(reservation)
        self.grant()

    @precondition(lambda self: self.given_back)
    @rule(data=st.data(), size=SIZES, again=st.booleans())
    def come_late(self, data: st.DataObject, size: int, again: bool) -> None:
        reservation = data.draw(st.sampled_from(self.given_back))
        if again:
            reservation.close()
        else:
            reservation.resize(size)

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
            with pytest.raises(ShareFinished):
                entry[2].result(10)
            self.queue.remove(entry)
        self.grant()

    @invariant()
    def agrees_with_the_model(self) -> None:
        principals = {share.principal: self.in_use(share.principal) for share in self.held}
        assert self.budget.statistics() == BudgetStatistics(self.in_use(), len(self.queue), principals)
        assert not any(asking.done() for _, _, asking in self.queue)

    def teardown(self) -> None:
        for share in list(self.held):
            share.close()
        assert self.budget.statistics() == BudgetStatistics(0, 0, {})
        self.pool.shutdown()

    def got(self, share: Share, size: int, asking: Future[Reservation]) -> None:
        self.held[share][asking.result(10)] = size

    def may_have(self, share: Share, size: int) -> bool:
        """Whether it may go before those that wait: only before those that are held up by their own principal."""
        behind = any(other.principal == share.principal or self.fits(other, wanted) for other, wanted, _ in self.queue)
        return not behind and self.fits(share, size) and self.in_use() + size <= ALL_MB * MB

    def fits(self, share: Share, size: int) -> bool:
        return self.in_use(share.principal) + size <= PRINCIPAL_MB * MB

    def grant(self) -> None:
        held_up = set()
        for entry in list(self.queue):
            share, size, _ = entry
            if share.principal in held_up or not self.fits(share, size):
                held_up.add(share.principal)
            elif self.in_use() + size > ALL_MB * MB:
                return
            else:
                self.queue.remove(entry)
                self.got(*entry)

    def in_use(self, principal: str | None = None) -> int:
        return sum(
            sum(reservations.values())
            for share, reservations in self.held.items()
            if principal in (None, share.principal)
        )

    def reservations(self) -> list[tuple[Share, Reservation]]:
        return [(share, reservation) for share, reservations in self.held.items() for reservation in reservations]

    def free_shares(self) -> list[Share]:
        """A stream has one reader."""
        waiting = {share for share, _, _ in self.queue}
        return [share for share in self.held if share not in waiting]


Streams.TestCase.settings = settings(deadline=None, max_examples=50)
TestStreams = Streams.TestCase

"""Memory of packets while they arrive: what is held back, what goes on, and that something always does."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mm_service.waiting import WouldBlock
from service_testing.waiting import until
from triton_proxy.admission.budget import PACKET_COPIES, Budget, BudgetStatistics, Reservation, Share

MB = 1024 * 1024
PREFIX = 5


def no_resume() -> None:
    raise AssertionError("nothing was held back")


def test_bytes_count_twice_from_the_first_one_and_the_packets_memory_takes_their_place() -> None:
    budget = Budget(4, 2)
    share = budget.share("ann")
    assert share.arrive(100 + PREFIX, no_resume)
    expected = BudgetStatistics(in_use=210, waiting=0, principals={"ann": 210}, arriving=210)
    assert budget.statistics() == expected
    # The first bytes of the next packet came with the last of this one.
    assert share.arrive(7, no_resume)
    reservation = share.reserve_nowait(200)
    assert budget.statistics() == BudgetStatistics(in_use=214, waiting=0, principals={"ann": 214}, arriving=14)
    reservation.close()
    assert budget.statistics() == BudgetStatistics(in_use=14, waiting=0, principals={"ann": 14}, arriving=14)
    share.close()
    assert budget.statistics() == BudgetStatistics(0, 0, {})


def test_beyond_a_principals_part_its_calls_are_held_back_until_it_has_less() -> None:
    budget = Budget(4, 1)
    at_work, sending, other = budget.share("ann"), budget.share("ann"), budget.share("bob")
    reservation = at_work.reserve(MB)
    resumed: list[str] = []
    assert not sending.arrive(1, lambda: resumed.append("ann"))
    assert other.arrive(MB // 2, no_resume)
    assert budget.statistics().held_back == 1
    assert resumed == []
    reservation.close()
    assert resumed == ["ann"]
    assert budget.statistics().held_back == 0


def test_beyond_all_memory_each_principal_is_held_back_and_resumed_in_the_order_of_that() -> None:
    budget = Budget(2, 2)
    reservation = budget.share("ann").reserve(2 * MB)
    resumed: list[str] = []
    for name in ("bob", "cid", "dan"):
        assert not budget.share(name).arrive(1, partial(resumed.append, name))
    reservation.close()
    assert resumed == ["bob", "cid", "dan"]


def test_where_nothing_is_at_work_one_packet_goes_on_beyond_the_limit_and_then_the_next() -> None:
    budget = Budget(4, 1)
    first, second = budget.share("ann"), budget.share("ann")
    resumed: list[str] = []
    assert first.arrive(MB // 4, no_resume)
    assert second.arrive(MB // 4 + 1, no_resume)
    assert not first.arrive(1, lambda: resumed.append("first"))
    assert second.arrive(MB // 8, no_resume)
    reservation = second.reserve_nowait(PACKET_COPIES * (MB // 4 + 1 + MB // 8))
    assert resumed == []
    reservation.close()
    assert resumed == ["first"]


def test_the_call_that_all_wait_for_is_none_that_waits_for_another_of_its_own_principal() -> None:
    budget = Budget(3, 2)
    ann, first, second = budget.share("ann"), budget.share("bob"), budget.share("bob")
    assert first.arrive(MB // 2, no_resume)
    # Of bob's it is the one that goes on.
    assert second.arrive(MB // 2 + 1, no_resume)
    assert ann.arrive(MB // 2 - 1, no_resume)
    assert not first.arrive(1, no_resume)
    assert second.arrive(1, no_resume)


def test_the_call_that_all_wait_for_goes_on_when_its_own_principal_has_too_much() -> None:
    budget = Budget(3, 2)
    ann, first, second = budget.share("ann"), budget.share("bob"), budget.share("bob")
    assert ann.arrive(MB, no_resume)
    assert first.arrive(MB // 2 + 1, no_resume)
    assert not second.arrive(MB // 2, no_resume)
    assert first.arrive(1, no_resume)


@pytest.mark.parametrize("end", [Share.finish, Share.close])
def test_a_favoured_call_that_ends_lets_the_next_go_on(end: object) -> None:
    budget = Budget(4, 1)
    favoured, held_back = budget.share("ann"), budget.share("ann")
    resumed: list[str] = []
    assert favoured.arrive(MB // 2 + 1, no_resume)
    assert not held_back.arrive(1, lambda: resumed.append("held back"))
    assert callable(end)
    end(favoured)
    assert resumed == ["held back"]


def test_nothing_is_counted_for_a_call_that_is_ending_and_nobody_resumes_it() -> None:
    budget = Budget(4, 1)
    at_work, sending = budget.share("ann"), budget.share("ann")
    reservation = at_work.reserve(MB)
    assert not sending.arrive(1, no_resume)
    sending.finish()
    assert sending.arrive(MB, no_resume)
    assert budget.statistics() == BudgetStatistics(in_use=MB + 2, waiting=0, principals={"ann": MB + 2}, arriving=2)
    reservation.close()
    sending.close()
    at_work.close()
    assert budget.statistics() == BudgetStatistics(0, 0, {})


def test_a_packet_that_compression_made_larger_leaves_nothing_behind() -> None:
    budget = Budget(4, 2)
    share = budget.share("ann")
    assert share.arrive(100, no_resume)
    assert share.arrive(10 + PREFIX - 100, no_resume)
    share.reserve_nowait(20).close()
    assert budget.statistics() == BudgetStatistics(in_use=0, waiting=0, principals={"ann": 0}, arriving=0)


def test_a_packet_that_is_smaller_than_it_came_lets_those_go_on_that_wait_for_the_difference() -> None:
    budget = Budget(4, 1)
    first, second, third = (budget.share("ann") for _ in range(3))
    at_work = budget.share("ann").reserve(MB // 2)
    resumed: list[str] = []
    assert first.arrive(MB // 4, no_resume)
    assert not second.arrive(1, lambda: resumed.append("second"))
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(third.reserve, MB // 4)
        until(lambda: budget.statistics().waiting == 1)
        assert first.arrive(PREFIX - MB // 4, no_resume)
        assert resumed == ["second"]
        asking.result().close()
    at_work.close()


def test_compressed_packets_that_all_need_more_than_there_is_pass_one_by_one() -> None:
    budget = Budget(4, 1)
    shares = [budget.share("ann") for _ in range(3)]
    for share in shares:
        assert share.arrive(MB // 8, no_resume)
    for share in shares:
        share.arrive(MB // 4 + PREFIX, lambda: None)
    with ThreadPoolExecutor(3) as pool:
        # What arrived took 3/4 of the part, and each needs 3/4 of it.
        asking = [pool.submit(share.reserve, 3 * MB // 4) for share in shares]
        for _ in shares:
            until(lambda: any(one.done() for one in asking))
            [done] = [one for one in asking if one.done()]
            asking.remove(done)
            done.result().close()
    assert budget.statistics().in_use == 0


def test_what_can_never_be_had_is_not_favoured() -> None:
    with pytest.raises(WouldBlock):
        Budget(2, 1).share("ann").reserve_nowait(MB + 1)


class Sending:
    """A call whose caller sends packets.

    Attributes:
        share: its.
        principal: whose.
        left: bytes of the packet that have not come.
        size: of the packet's memory; 0 between packets.
        grows: bytes that the packet has beyond those that come, once it is expanded; below zero where it has fewer.
        flows: whether it may send.
        late: whether bytes that were on the way may still come though it may not.
        asking: for the packet's memory, in another thread.
        at_work: the memory of packets that arrived.
        finished: whether no more is accepted.
    """

    def __init__(self, budget: Budget, principal: str) -> None:
        self.share = budget.share(principal)
        self.principal = principal
        self.left = self.size = self.grows = 0
        self.flows, self.late, self.finished = True, False, False
        self.asking: Future[Reservation] | None = None
        self.at_work: list[Reservation] = []

    def resume(self) -> None:
        self.flows, self.late = True, False

    @property
    def sends(self) -> bool:
        return self.left > 0 and self.flows and not self.finished

    @property
    def busy(self) -> bool:
        return bool(self.left or self.size or self.asking)

    @property
    def hindered(self) -> bool:
        return not self.finished and (self.asking is not None or (self.left > 0 and not self.flows))


ALL_MB, PRINCIPAL_MB = 3, 2
# Bytes of a packet; as they come, twice in memory.
PACKETS = st.sampled_from([0, MB // 4, MB // 2, MB - 1, MB])
CHUNKS = st.sampled_from([1, MB // 4, MB // 2, MB])


class Arrivals(RuleBasedStateMachine):
    """Calls send packets in pieces, some compressed, until they are held back; answers come, and calls end."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(ALL_MB, PRINCIPAL_MB)
        self.pool = ThreadPoolExecutor(8)
        self.calls = [Sending(self.budget, principal) for principal in "aabb"]
        self.queue: list[Sending] = []
        # Of each principal, and None of all: the one call that goes on beyond the limit.
        self.beyond: dict[str | None, Sending] = {}

    @precondition(lambda self: len(self.calls) < 6)
    @rule(principal=st.sampled_from("ab"))
    def open(self, principal: str) -> None:
        self.calls.append(Sending(self.budget, principal))

    @precondition(lambda self: self.between_packets())
    @rule(data=st.data(), size=PACKETS, comes=st.none() | PACKETS)
    def begin_packet(self, data: st.DataObject, size: int, comes: int | None) -> None:
        call = data.draw(st.sampled_from(self.between_packets()))
        call.left = PREFIX + (size if comes is None else comes)
        call.grows = 0 if comes is None else size - comes
        call.size = PACKET_COPIES * size

    @precondition(lambda self: any(call.sends for call in self.calls))
    @rule(data=st.data(), size=CHUNKS)
    def send(self, data: st.DataObject, size: int) -> None:
        self.send_of(data.draw(st.sampled_from([call for call in self.calls if call.sends])), size)

    @precondition(lambda self: any(call.late and call.left for call in self.calls))
    @rule(data=st.data(), size=st.sampled_from([1, MB // 2]))
    def send_what_was_on_the_way(self, data: st.DataObject, size: int) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if call.late and call.left]))
        call.late = False
        self.send_of(call, size)

    @precondition(lambda self: self.at_work())
    @rule(data=st.data(), size=st.sampled_from([0, 1, MB // 3, MB, 3 * MB]))
    def answer(self, data: st.DataObject, size: int) -> None:
        _, reservation = data.draw(st.sampled_from(self.at_work()))
        reservation.resize(size)
        self.settle()

    @precondition(lambda self: self.at_work())
    @rule(data=st.data())
    def answer_was_taken(self, data: st.DataObject) -> None:
        self.take_answer(*data.draw(st.sampled_from(self.at_work())))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), close=st.booleans())
    def end(self, data: st.DataObject, close: bool) -> None:
        self.end_of(data.draw(st.sampled_from(self.calls)), close=close)

    @invariant()
    def something_goes_on_where_nothing_is_at_work(self) -> None:
        unfinished = [call for call in self.calls if not call.finished]
        if any(call.hindered for call in unfinished) and not self.at_work():
            assert any(call.sends for call in unfinished)

    @invariant()
    def a_principal_goes_on_where_nobody_else_has_its_memory(self) -> None:
        now = self.budget.statistics()
        for principal in {call.principal for call in self.calls}:
            own = [call for call in self.calls if call.principal == principal]
            others_wait = any(call.asking is not None for call in self.calls if call not in own)
            room = now.in_use + PRINCIPAL_MB * MB <= ALL_MB * MB and not others_wait
            if room and any(call.hindered for call in own) and not any(call.at_work for call in own):
                assert any(call.sends for call in own)

    @invariant()
    def nothing_arrives_of_a_call_between_packets(self) -> None:
        assert all(call.share.arriving == 0 for call in self.between_packets())

    @invariant()
    def statistics_are_what_the_calls_have(self) -> None:
        now = self.budget.statistics()
        assert now.waiting == len(self.queue)
        assert now.in_use == sum(now.principals.values())
        assert set(now.principals) == {call.principal for call in self.calls}
        held = sum(reservation.size for _, reservation in self.at_work())
        assert now.in_use == held + now.arriving

    def teardown(self) -> None:
        """Whatever it came to, everything that was begun comes through."""
        try:
            self.come_through()
        finally:
            for call in list(self.calls):
                call.share.close()
            self.pool.shutdown()
        assert self.budget.statistics() == BudgetStatistics(0, 0, {})

    def come_through(self) -> None:
        for call in list(self.calls):
            if call.finished:
                self.end_of(call, close=True)
        while sending := [call for call in self.calls if call.busy or call.at_work]:
            if at_work := self.at_work():
                self.take_answer(*at_work[0])
                continue
            going = [call for call in sending if call.sends]
            assert going, "nothing goes on any more"
            self.send_of(going[0], MB)
        now = self.budget.statistics()
        assert (now.in_use, now.arriving, now.waiting, now.held_back) == (0, 0, 0, 0)

    def send_of(self, call: Sending, size: int) -> None:
        size = min(size, call.left)
        call.left -= size
        self.arrive(call, size)
        beyond = call.flows and not self.may_go_on(call)
        if not call.left:
            if call.grows:
                self.arrive(call, call.grows)
                self.settle()
            self.ask(call)
        assert not beyond, "more than one call goes on beyond a limit"

    def arrive(self, call: Sending, size: int) -> None:
        call.flows = call.share.arrive(size, call.resume)
        call.late = not call.flows

    def ask(self, call: Sending) -> None:
        try:
            self.got(call, call.share.reserve_nowait(call.size))
        except WouldBlock:
            call.asking = self.pool.submit(call.share.reserve, call.size)
            self.queue.append(call)
            self.settle()

    def may_go_on(self, call: Sending) -> bool:
        """Beyond a limit that is one call, until it has its packet's memory."""
        now = self.budget.statistics()
        alone = True
        if now.principals[call.principal] > PRINCIPAL_MB * MB:
            alone &= self.beyond.setdefault(call.principal, call) is call
        if now.in_use > ALL_MB * MB:
            alone &= self.beyond.setdefault(None, call) is call
        return alone

    def got(self, call: Sending, reservation: Reservation) -> None:
        self.not_beyond(call)
        call.at_work.append(reservation)
        call.size, call.asking = 0, None

    def not_beyond(self, call: Sending) -> None:
        self.beyond = {name: each for name, each in self.beyond.items() if each is not call}

    def settle(self) -> None:
        """Waits until all that have memory know it."""
        until(
            lambda: (
                self.budget.statistics().waiting
                == sum(each.asking is not None and not each.asking.done() for each in self.queue)
            )
        )
        for each in list(self.queue):
            if each.asking is not None and each.asking.done():
                self.queue.remove(each)
                self.got(each, each.asking.result())

    def take_answer(self, call: Sending, reservation: Reservation) -> None:
        call.at_work.remove(reservation)
        reservation.close()
        self.settle()

    def end_of(self, call: Sending, *, close: bool) -> None:
        call.finished = True
        call.left = call.size = 0
        self.not_beyond(call)
        if call in self.queue:
            self.queue.remove(call)
            call.asking = None
        if close:
            self.calls.remove(call)
            call.share.close()
        else:
            call.share.finish()
        self.settle()

    def between_packets(self) -> list[Sending]:
        return [call for call in self.calls if not (call.busy or call.finished)]

    def at_work(self) -> list[tuple[Sending, Reservation]]:
        return [(call, reservation) for call in self.calls for reservation in call.at_work]


Arrivals.TestCase.settings = settings(deadline=None, max_examples=100, stateful_step_count=50)
TestArrivals = Arrivals.TestCase

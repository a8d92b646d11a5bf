"""The rules by which a Triton is picked, against a model of them, and what comes of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from triton_proxy.triton.picker import Member, Picker

ADDRESSES = [f"10.0.0.{number}:8001" for number in range(4)]


def picker_of(*addresses: str) -> Picker[str]:
    picker: Picker[str] = Picker()
    picker.resolved(addresses, str.upper)
    return picker


class Picking(RuleBasedStateMachine):
    """Tritons come, go, fail and are ready again, while work begins and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.picker: Picker[str] = Picker()
        self.outstanding: Counter[str] = Counter()
        self.under_way: list[Member[str]] = []
        self.in_dns: set[str] = set()
        self.ready: dict[str, bool] = {}
        self.doubted: set[str] = set()

    @rule(addresses=st.sets(st.sampled_from(ADDRESSES)))
    def resolve(self, addresses: set[str]) -> None:
        known = {member.address for member in self.picker.members}
        came, left = self.picker.resolved(sorted(addresses), str.upper)
        assert {member.address for member in came} == addresses - self.in_dns
        assert {member.address for member in left} == self.in_dns - addresses
        for address in addresses - known:
            self.ready.pop(address, None)
            self.doubted.discard(address)
        self.in_dns = addresses

    @precondition(lambda self: self.picker.members)
    @rule(data=st.data(), ready=st.booleans(), forgot=st.booleans())
    def tell(self, data: st.DataObject, ready: bool, forgot: bool) -> None:
        member = data.draw(st.sampled_from(self.picker.members))
        before = member.epoch
        new = self.picker.answered(member, ready=ready, forgot=forgot)
        assert new is (self.ready.get(member.address) is not ready)
        assert (member.epoch != before) is forgot
        self.ready[member.address] = ready
        self.doubted.discard(member.address)

    @precondition(lambda self: self.picker.members)
    @rule(data=st.data())
    def doubt(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.picker.members))
        self.picker.doubt(member)
        self.doubted.add(member.address)

    @rule(data=st.data())
    def pick(self, data: st.DataObject) -> None:
        members = self.picker.members
        tried = data.draw(st.lists(st.sampled_from(members), unique=True)) if members else []
        picked = self.picker.pick(tried)
        # The rules, said again: those that are ready, else those not asked yet, else all that DNS has.
        said = {address: self.ready.get(address) for address in self.in_dns}
        usable = (
            [address for address, ready in said.items() if ready]
            or [address for address, ready in said.items() if ready is None]
            or list(said)
        )
        usable = [address for address in usable if address not in self.doubted] or usable
        free = [address for address in usable if address not in {member.address for member in tried}]
        if picked is None:
            assert not free
            return
        assert picked.address in free
        assert self.outstanding[picked.address] == min(self.outstanding[address] for address in free)
        self.outstanding[picked.address] += 1
        self.under_way.append(picked)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        member = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.outstanding[member.address] -= 1
        self.picker.done(member)

    @precondition(lambda self: self.picker.members)
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.picker.members))
        assert self.picker.keep(member.address, -member.epoch) is None
        assert self.picker.keep(member.address, member.epoch) is member
        self.outstanding[member.address] += 1
        self.under_way.append(member)

    @precondition(lambda self: self.picker.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.picker.members))
        may = member.address not in self.in_dns and not self.outstanding[member.address]
        assert self.picker.remove(member) is may
        if may:
            self.ready.pop(member.address, None)

    @invariant()
    def what_is_under_way_is_counted(self) -> None:
        assert {member.address: member.outstanding for member in self.picker.members} == {
            member.address: self.outstanding[member.address] for member in self.picker.members
        }

    @invariant()
    def never_all_are_ejected(self) -> None:
        there = [member for member in self.picker.members if not member.leaving]
        assert {member.address for member in there} == self.in_dns
        ejected = [member for member in there if self.picker.ejected(member)]
        assert not there or len(ejected) < len(there)
        assert all(self.ready[member.address] is False for member in ejected)


TestPicking = Picking.TestCase
TestPicking.settings = settings(max_examples=50, stateful_step_count=40)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 64))
def test_of_three_each_does_a_third(seed: int, at_once: int) -> None:
    luck = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    picker = picker_of(*ADDRESSES[:3])
    done: Counter[str] = Counter()
    under_way: list[Member[str]] = []
    for _ in range(300):
        member = picker.pick()
        assert member is not None
        done[member.address] += 1
        under_way.append(member)
        # As many stay under way, and end in any order.
        while len(under_way) > at_once:
            picker.done(under_way.pop(luck.randrange(len(under_way))))
    assert all(75 <= done[address] <= 123 for address in ADDRESSES[:3]), done  # 33 % ± 8 of them


def test_the_slower_one_gets_less() -> None:
    picker = picker_of(*ADDRESSES[:2])
    slow, *_ = picker.members
    done: Counter[str] = Counter()
    stuck = 0
    for _ in range(100):
        member = picker.pick()
        assert member is not None
        done[member.address] += 1
        if member is slow:
            stuck += 1
        else:
            picker.done(member)
    assert stuck == 1


def test_one_that_is_ready_again_is_back_at_once() -> None:
    picker = picker_of(*ADDRESSES[:2])
    first, second = picker.members
    picker.answered(second, ready=True)
    picker.answered(first, ready=False)
    picker.answered(first, ready=False)
    assert (picker.ejected(first), picker.ejections) == (True, 1)
    assert {picker.pick() for _ in range(4)} == {second}
    picker.answered(first, ready=True)
    assert not picker.ejected(first)
    assert picker.pick() is first


def test_one_that_left_and_is_back_is_the_same() -> None:
    picker = picker_of(*ADDRESSES[:2])
    first, second = picker.members
    picker.resolved(ADDRESSES[:1], str.upper)
    assert {picker.pick() for _ in range(2)} == {first}
    assert picker.keep(second.address, second.epoch) is second
    picker.resolved(ADDRESSES[:2], str.upper)
    assert picker.members == (first, second)
    assert picker.pick() is second


@pytest.mark.parametrize("anyway", [False, True])
def test_what_is_under_way_keeps_one_that_leaves(anyway: bool) -> None:
    picker = picker_of(*ADDRESSES[:1])
    member = picker.pick()
    assert member is not None
    picker.resolved([], str.upper)
    assert (picker.pick(), picker.remove(member, anyway=anyway), picker.members) == (
        None,
        anyway,
        () if anyway else (member,),
    )

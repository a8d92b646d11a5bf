"""Which Triton is asked next: rules only, without a connection."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
_EPOCHS = itertools.count(1)


class Member(Generic[T]):
    """One Triton, as the picker knows it.

    Attributes:
        address: its HOST:PORT.
        target: what asks it.
        outstanding: what was begun there and is not over.
        ready: what it last said, or did not say, of being ready; None before that.
        doubted: whether a call failed there since, in a way that may mean that it is gone.
        leaving: whether its address is gone from DNS: it gets nothing new, and what is under way is finished.
        epoch: another number whenever it may have forgotten what it knew, such as its sequences.
    """

    def __init__(self, address: str, target: T) -> None:
        self.address = address
        self.target = target
        self.outstanding = 0
        self.ready: bool | None = None
        self.doubted = False
        self.leaving = False
        self.epoch = next(_EPOCHS)
        self.turn = 0


class Picker(Generic[T]):
    """All Tritons; from any thread.

    New work goes to the one with the least outstanding, in turns where several have as little. Which count:
    - Those that said they are ready; where there is none, those that were not asked yet; where there is none, all. So
      one that is not ready is ejected only while another one is better, never all of them.
    - Of these, those that are not doubted, where there are such. To fail at once is to have the least outstanding.
    - Never one that is leaving.

    Attributes:
        ejections: how often one was ejected so far.
    """

    def __init__(self) -> None:
        """There is none."""
        self._lock = threading.Lock()
        # Replaced as one, never changed: a reader waits for nobody.
        self._members: tuple[Member[T], ...] = ()
        self._usable: tuple[Member[T], ...] = ()
        self._turns = itertools.count(1)
        self._ejected: frozenset[Member[T]] = frozenset()
        self.ejections = 0

    @property
    def members(self) -> tuple[Member[T], ...]:
        """All that there are, also those that are leaving."""
        return self._members

    @property
    def there(self) -> bool:
        """Whether there is one that new work may go to, ready or not."""
        return bool(self._usable)

    @property
    def several(self) -> bool:
        """Whether there is more than one, also of those that are leaving."""
        return len(self._members) > 1

    def ejected(self, member: Member[T]) -> bool:
        """Whether one gets nothing new since it failed, though it is there."""
        return member in self._ejected

    def pick(self, tried: Collection[Member[T]] = ()) -> Member[T] | None:
        """The Triton for new work, which is counted there from now on; `done` ends that.

        Args:
            tried: those that it may not be.

        Returns:
            None where there is no other.
        """
        with self._lock:
            usable = self._usable
            if tried:
                usable = tuple(member for member in usable if member not in tried)
            if not usable:
                return None
            member = usable[0] if len(usable) == 1 else min(usable, key=lambda each: (each.outstanding, each.turn))
            member.turn = next(self._turns)
            member.outstanding += 1
            return member

    def pick_all(self) -> tuple[Member[T], ...]:
        """All Tritons that new work may go to, for work that is each one's; counted as by `pick`."""
        with self._lock:
            for member in self._usable:
                member.outstanding += 1
            return self._usable

    def keep(self, address: str, epoch: int) -> Member[T] | None:
        """The Triton for work that has to go where earlier work went, counted as by `pick`.

        Args:
            address: where that was.
            epoch: of the Triton when that was.

        Returns:
            None where it is gone, or may have forgotten.
        """
        with self._lock:
            for member in self._members:
                if member.address == address and member.epoch == epoch:
                    member.outstanding += 1
                    return member
        return None

    def done(self, member: Member[T]) -> None:
        """What `pick` or `keep` counted is over."""
        with self._lock:
            member.outstanding -= 1

    def answered(self, member: Member[T], *, ready: bool, forgot: bool = False) -> bool:
        """One was asked whether it is ready.

        Args:
            member: which.
            ready: whether it said so.
            forgot: whether it was not there, so that it may have forgotten all.

        Returns:
            Whether it was not known to be so before.
        """
        with self._lock:
            new = member.ready is not ready
            member.ready, member.doubted = ready, False
            if forgot:
                member.epoch = next(_EPOCHS)
            self._sort()
            return new

    def doubt(self, member: Member[T]) -> None:
        """A call failed there in a way that may mean that it is gone; it is asked, and its answer ends the doubt."""
        with self._lock:
            if not member.doubted:
                member.doubted = True
                self._sort()

    def resolved(self, addresses: Sequence[str], make: Callable[[str], T]) -> tuple[list[Member[T]], list[Member[T]]]:
        """DNS gave these addresses: others leave from now on.

        Args:
            addresses: all of them.
            make: makes what asks a new one.

        Returns:
            Those that are new, or back; and those that leave since now.
        """
        made: dict[str, T] = {}
        while True:
            with self._lock:
                there = {member.address for member in self._members} | made.keys()
                missing = [address for address in dict.fromkeys(addresses) if address not in there]
                if not missing:
                    return self._now_at(addresses, made)
            # It takes its time, and no pick waits for it.
            made |= {address: make(address) for address in missing}

    def remove(self, member: Member[T], *, anyway: bool = False) -> bool:
        """One that is leaving has left.

        Args:
            member: which.
            anyway: whether also where something is under way there.

        Returns:
            False where it has not, since something is under way there, or it does not leave any more.
        """
        with self._lock:
            if (member.outstanding and not anyway) or not member.leaving:
                return False
            self._members = tuple(each for each in self._members if each is not member)
            return True

    def _now_at(self, addresses: Sequence[str], made: dict[str, T]) -> tuple[list[Member[T]], list[Member[T]]]:
        back = [member for member in self._members if member.leaving and member.address in addresses]
        gone = [member for member in self._members if not member.leaving and member.address not in addresses]
        new = [Member(address, target) for address, target in made.items()]
        for member in back:
            member.leaving = False
        for member in gone:
            member.leaving = True
        self._members = (*self._members, *new)
        self._sort()
        return [*new, *back], gone

    def _sort(self) -> None:
        there = tuple(member for member in self._members if not member.leaving)
        ready = tuple(member for member in there if member.ready)
        unasked = tuple(member for member in there if member.ready is None)
        usable = ready or unasked or there
        self._usable = tuple(member for member in usable if not member.doubted) or usable
        ejected = frozenset(member for member in there if member.ready is False and member not in usable)
        self.ejections += len(ejected - self._ejected)
        self._ejected = ejected

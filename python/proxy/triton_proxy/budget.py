"""The bytes that all calls together may have under way, and of these each principal."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from triton_proxy.limits import LimitExceeded

_MB = 1024 * 1024
# While Triton does not take a request, our own and, of a small one or over TLS, gRPC's.
PACKET_COPIES = 2


@dataclass(frozen=True)
class BudgetStatistics:
    """What is handed out.

    Attributes:
        in_use: bytes; over the limit where answers came that nobody could wait with.
        waiting: packets that wait for room.
        principals: bytes of each principal that has a call open.
    """

    in_use: int
    waiting: int
    principals: dict[str, int]


class _Part:
    """What one principal has, on all its calls."""

    def __init__(self) -> None:
        self.shares = 0
        self.held = 0
        self.waiting = 0


class _Waiter:
    def __init__(self, share: Share, size: int) -> None:
        self.share = share
        self.size = size
        self.granted = False
        self.decided = threading.Event()


class Budget:
    """MAX_MB_IN_FLIGHT, handed out in the order of asking; MAX_MB_IN_FLIGHT_PER_PRINCIPAL of it to one principal.

    A packet without room waits, and a stream whose reader waits is not read any further: HTTP/2's flow control then
    holds its client back. A large packet is not overtaken by small ones, so that everyone's turn comes. Only a
    principal that has its part already is passed over, until it has less: it holds up nobody but itself.

    A packet has room until Triton has answered, then its answer has until the caller has taken it. Answers do not wait,
    so that with them more may be handed out than there is; nobody gets anything then.

    What this bounds: a packet is measured once it was read, so that each open call may hold one more, which waits.
    While Triton does not take a request, there are up to two copies of it, one being gRPC's, and it has room for both;
    the one answer that a call is sending exists as it came, as an Ack, and as gRPC's copy of that. The C library's
    memory is in pieces that do not fit together, by less than 150 MiB here.

        bytes <= MAX_MB_IN_FLIGHT
                 + open calls * (largest packet + 2 * largest answer + HTTP/2 window of 8 MiB)
                 + 150 MiB

    whatever Triton does, beside the 100 MiB of an idle proxy; tests/integration/memory_test.py measures it. Answers of
    a model are expected to be as large as its last ones were; of one that never answered nothing is expected, and where
    many answers come at once that are larger than expected, a call has more than the one that it is sending. A packet
    that is still arriving is one that was not read. A principal that means harm, alone, gets to

        bytes <= MAX_MB_IN_FLIGHT + MAX_CALLS_PER_PRINCIPAL * (MAX_MESSAGE_MB + HTTP/2 window of 8 MiB) + 150 MiB
    """

    def __init__(self, mb: int, principal_mb: int) -> None:
        """All of it is free.

        Args:
            mb: MiB in all.
            principal_mb: MiB that one principal may have.
        """
        self._mb = mb
        self._principal_mb = min(principal_mb, mb)
        self._free = mb * _MB
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()
        self._parts: dict[str, _Part] = {}

    def statistics(self) -> BudgetStatistics:
        """What is handed out at this moment."""
        with self._lock:
            principals = {name: part.held for name, part in self._parts.items()}
            return BudgetStatistics(self._mb * _MB - self._free, len(self._waiters), principals)

    def share(self, principal: str) -> Share:
        """The part of one call; close it when the call ends.

        Args:
            principal: name of the caller.
        """
        with self._lock:
            part = self._parts.setdefault(principal, _Part())
            part.shares += 1
            return Share(self, principal, part)

    def _reserve(self, share: Share, size: int) -> Room | None:
        if size > self._principal_mb * _MB:
            limit = (
                f"MAX_MB_IN_FLIGHT={self._mb}, which is for all packets together"
                if size > self._mb * _MB
                else f"MAX_MB_IN_FLIGHT_PER_PRINCIPAL={self._principal_mb}, which is for all packets of "
                f"{share.principal} together"
            )
            raise LimitExceeded(
                f"a packet that takes {size} bytes while it is under way, {PACKET_COPIES} copies of it, is over "
                f"{limit}; send smaller packets",
                None,
            )
        with self._lock:
            room = self._take(share, size)
            if room is not None or share.finished:
                return room
            waiter = _Waiter(share, size)
            self._waiters.append(waiter)
            share.part.waiting += 1
        waiter.decided.wait()
        return Room(self, share, size) if waiter.granted else None

    def _reserve_at_once(self, share: Share, size: int) -> Room | None:
        with self._lock:
            return self._take(share, size)

    def _take(self, share: Share, size: int) -> Room | None:
        if share.finished or share.part.waiting or size > self._free or not self._fits(share, size):
            return None
        # One who only waits for the principal's own memory holds nobody else up.
        if any(self._fits(waiter.share, waiter.size) for waiter in self._waiters):
            return None
        self._hand_out(share, size)
        return Room(self, share, size)

    def _crowded(self, share: Share) -> bool:
        if not self._waiters:
            return False
        with self._lock:
            # One that waits for another principal's part is not helped by what this one has.
            return any(
                waiter.share.part is share.part or self._fits(waiter.share, waiter.size) for waiter in self._waiters
            )

    def _fits(self, share: Share, size: int) -> bool:
        return share.part.held + size <= self._principal_mb * _MB

    def _hand_out(self, share: Share, size: int) -> None:
        self._free -= size
        share.held += size
        share.part.held += size

    def _resize(self, room: Room, size: int, *, closed: bool) -> None:
        with self._lock:
            if room.closed or room.share.closed:
                return
            room.closed = closed
            self._hand_out(room.share, size - room.size)
            room.size = size
            self._grant()

    def _end(self, share: Share, *, give_back: bool) -> None:
        with self._lock:
            share.finished = True
            for waiter in [waiter for waiter in self._waiters if waiter.share is share]:
                self._dismiss(waiter)
            if give_back and not share.closed:
                share.closed = True
                self._hand_out(share, -share.held)
                share.part.shares -= 1
                if not share.part.shares:
                    del self._parts[share.principal]
            self._grant()

    def _dismiss(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.share.part.waiting -= 1
        waiter.decided.set()

    def _grant(self) -> None:
        passed_over = set()
        for waiter in list(self._waiters):
            part = waiter.share.part
            if part in passed_over or not self._fits(waiter.share, waiter.size):
                passed_over.add(part)
            elif waiter.size > self._free:
                return
            else:
                self._hand_out(waiter.share, waiter.size)
                waiter.granted = True
                self._dismiss(waiter)


class Share:
    """What one call has of the budget."""

    def __init__(self, budget: Budget, principal: str, part: _Part) -> None:
        """Made by `Budget.share`."""
        self._budget = budget
        self.principal = principal
        self.part = part
        self.held = 0
        self.finished = False
        self.closed = False

    def reserve(self, size: int) -> Room | None:
        """Waits for room for a packet; None when the share was finished or closed before there was any.

        Args:
            size: bytes of all its copies.

        Raises:
            LimitExceeded: it is larger than all that the principal may have.
        """
        return self._budget._reserve(self, size)

    def reserve_at_once(self, size: int) -> Room | None:
        """Room for a packet, if there is some that nobody waits for; None otherwise.

        Args:
            size: bytes of all its copies.
        """
        return self._budget._reserve_at_once(self, size)

    @property
    def crowded(self) -> bool:
        """Whether a packet waits for memory that this call could give back."""
        return self._budget._crowded(self)

    def finish(self) -> None:
        """Reserves nothing any more, and wakes whoever waits; what is held stays until it is given back."""
        self._budget._end(self, give_back=False)

    def close(self) -> None:
        """Reserves nothing any more, wakes whoever waits, and gives back all that is held."""
        self._budget._end(self, give_back=True)


class Room:
    """What a packet, and then its answer, has of the budget. `Share.close` gives it back; then nothing happens here."""

    def __init__(self, budget: Budget, share: Share, size: int) -> None:
        """Made by `Share.reserve`."""
        self._budget = budget
        self.share = share
        self.size = size
        self.closed = False

    def resize(self, size: int) -> None:
        """Has this much from now on, without waiting for it.

        Args:
            size: bytes.
        """
        self._budget._resize(self, size, closed=False)

    def close(self) -> None:
        """Gives it back. `resize` does nothing afterwards: it may come late, from another thread."""
        self._budget._resize(self, 0, closed=True)

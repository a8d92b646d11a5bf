"""The bytes that all calls together may have under way, and of these each principal."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mm_service.waiting import WouldBlock
from triton_proxy.admission.arrivals import Arrivals, Holding, Memory, Part
from triton_proxy.admission.quotas import LimitExceeded

_MB = 1024 * 1024
# While Triton does not take a request, our own and, of a small one or over TLS, gRPC's.
PACKET_COPIES = 2


@dataclass(frozen=True)
class BudgetStatistics:
    """What is handed out.

    Attributes:
        in_use: bytes; over the limit where answers came that nobody could wait with.
        waiting: packets that wait for memory.
        principals: bytes of each principal that has a call open.
        arriving: bytes of packets that have not arrived completely, twice; part of `in_use`.
        held_back: calls that may send no more of a packet that they have begun.
    """

    in_use: int
    waiting: int
    principals: dict[str, int]
    arriving: int = 0
    held_back: int = 0


class ShareFinished(Exception):  # noqa: N818 - what happened, not a fault
    """The call gets no more memory: it is ending."""


class _Waiter:
    def __init__(self, share: Share, size: int) -> None:
        self.share = share
        self.size = size
        self.granted: Reservation | None = None
        self.decided = threading.Event()


class Budget:
    """MAX_MB_IN_FLIGHT, handed out in the order of asking; MAX_MB_IN_FLIGHT_PER_PRINCIPAL of it to one principal.

    A packet without memory waits, and a stream whose reader waits is not read any further: HTTP/2's flow control then
    holds its client back. A large packet is not overtaken by small ones, so that everyone's turn comes. Only a
    principal that has its part already is passed over, until it has less: it holds up nobody but itself.

    A packet has its memory until Triton has answered, then its answer has some until the caller has taken it. Answers
    do not wait, so that with them more may be handed out than there is; nobody gets anything then.

    What this bounds: a packet is measured once it was read, so that each open call may hold one more, which waits.
    While Triton does not take a request, there are up to two copies of it, one being gRPC's, and it has memory for
    both; the one answer that a call is sending exists as it came, as an Ack, and as gRPC's copy of that. The C
    library's memory is in pieces that do not fit together, by less than 150 MiB here.

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
        self._memory = Memory(mb * _MB, self._principal_mb * _MB)
        self._arrivals = Arrivals(self._memory, PACKET_COPIES)
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()
        self._parts: dict[str, Part] = {}

    def statistics(self) -> BudgetStatistics:
        """What is handed out at this moment."""
        with self._lock:
            principals = {name: part.held for name, part in self._parts.items()}
            arrivals = self._arrivals
            return BudgetStatistics(
                self._memory.in_use, len(self._waiters), principals, arrivals.size, len(arrivals.held_back)
            )

    def share(self, principal: str) -> Share:
        """The part of one call; close it when the call ends.

        Args:
            principal: name of the caller.
        """
        with self._lock:
            part = self._parts.setdefault(principal, Part())
            part.shares += 1
            return Share(self, principal, part)

    def _reserve(self, share: Share, size: int) -> Reservation:
        if size > self._memory.per_principal:
            limit = (
                f"MAX_MB_IN_FLIGHT={self._mb}, which is for all packets together"
                if size > self._memory.total
                else f"MAX_MB_IN_FLIGHT_PER_PRINCIPAL={self._principal_mb}, which is for all packets of "
                f"{share.principal} together"
            )
            raise LimitExceeded(
                f"a packet that takes {size} bytes while it is under way, {PACKET_COPIES} copies of it, is over "
                f"{limit}; send smaller packets",
                None,
            )
        with self._lock:
            try:
                return self._take(share, size)
            except WouldBlock:
                waiter = _Waiter(share, size)
                self._waiters.append(waiter)
                share.part.waiting += 1
            self._grant()
        waiter.decided.wait()
        if waiter.granted is None:
            raise ShareFinished
        return waiter.granted

    def _reserve_nowait(self, share: Share, size: int) -> Reservation:
        with self._lock:
            return self._take(share, size)

    def _take(self, share: Share, size: int) -> Reservation:
        if share.finished:
            raise ShareFinished
        if size > self._memory.per_principal:
            raise WouldBlock  # It would be refused.
        arrivals = self._arrivals
        arrivals.favour(share, arrivals.missing(share, size))
        favoured = arrivals.is_favoured(share)
        if not arrivals.fits_own(share, size) or not arrivals.fits_all(share, size):
            raise WouldBlock
        # One that only waits for the principal's own memory holds no other up.
        if not favoured and (
            share.part.waiting or any(arrivals.fits_own(each.share, each.size) for each in self._waiters)
        ):
            raise WouldBlock
        return self._taken(share, size)

    def _taken(self, share: Share, size: int) -> Reservation:
        self._arrivals.taken(share, size)
        self._memory.hand_out(share, size)
        return Reservation(self, share, size)

    def _arrive(self, share: Share, size: int, resume: Callable[[], None]) -> bool:
        with self._lock:
            if share.finished:
                return True  # The call ends, and what it holds with it.
            flows = self._arrivals.arrive(share, size, resume)
            if size < 0:
                self._grant()
            return flows

    def _crowded(self, share: Share) -> bool:
        arrivals = self._arrivals
        if not self._waiters and not arrivals.held_back:
            return False
        with self._lock:
            # One that waits for another principal's part is not helped by what this one has.
            return any(
                waiter.share.part is share.part or arrivals.fits_own(waiter.share, waiter.size)
                for waiter in self._waiters
            ) or any(each.part is share.part or arrivals.fits_own(each, each.arriving) for each in arrivals.held_back)

    def _resize(self, reservation: Reservation, size: int, *, closed: bool) -> None:
        with self._lock:
            if reservation.closed or reservation.share.closed:
                return
            reservation.closed = closed
            self._memory.hand_out(reservation.share, size - reservation.size)
            reservation.size = size
            self._grant()

    def _end(self, share: Share, *, give_back: bool) -> None:
        with self._lock:
            share.finished = True
            self._arrivals.finish(share)
            for waiter in [waiter for waiter in self._waiters if waiter.share is share]:
                self._dismiss(waiter)
            if give_back and not share.closed:
                share.closed = True
                self._arrivals.close(share)
                self._memory.hand_out(share, -share.held)
                share.part.shares -= 1
                if not share.part.shares:
                    del self._parts[share.principal]
            self._grant()

    def _dismiss(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.share.part.waiting -= 1
        waiter.decided.set()

    def _grant(self) -> None:
        arrivals = self._arrivals
        if not self._waiters and not arrivals.held_back:
            return
        arrivals.resume()
        passed_over = set()
        full = False
        for waiter in list(self._waiters):
            share, size = waiter.share, waiter.size
            arrivals.favour(share, arrivals.missing(share, size))
            fits_own, fits_all = arrivals.fits_own(share, size), arrivals.fits_all(share, size)
            if fits_own and fits_all and (arrivals.is_favoured(share) or not (full or share.part in passed_over)):
                waiter.granted = self._taken(share, size)
                self._dismiss(waiter)
            elif not fits_own:
                passed_over.add(share.part)
            else:
                full = True


class Share(Holding):
    """What one call has of the budget."""

    def __init__(self, budget: Budget, principal: str, part: Part) -> None:
        """Made by `Budget.share`."""
        super().__init__(part)
        self._budget = budget
        self.principal = principal
        self.finished = False
        self.closed = False

    def arrive(self, size: int, resume: Callable[[], None]) -> bool:
        """Counts bytes of a packet that is still arriving, each as many times as the packet's will be.

        Args:
            size: bytes that came; of a packet that came compressed then also by how many more it has, or fewer (below
                zero) where compression made it larger.
            resume: is called once more may come, where that is not now; soon, by any thread, and must not wait.

        Returns:
            Whether the call may send more.
        """
        return self._budget._arrive(self, size, resume)

    def reserve(self, size: int) -> Reservation:
        """Waits for memory for a packet.

        Args:
            size: bytes of all its copies.

        Raises:
            LimitExceeded: it is larger than all that the principal may have.
            ShareFinished: the share was finished or closed before there was any.
        """
        return self._budget._reserve(self, size)

    def reserve_nowait(self, size: int) -> Reservation:
        """Memory for a packet, as `reserve` gives it.

        Args:
            size: bytes of all its copies.

        Raises:
            WouldBlock: there is none, or others wait for it.
            ShareFinished: the share was finished or closed.
        """
        return self._budget._reserve_nowait(self, size)

    @property
    def crowded(self) -> bool:
        """Whether a packet waits for memory that this call could give back."""
        return self._budget._crowded(self)

    def finish(self) -> None:
        """Reserves nothing any more, and ends the waiting for it; what is held stays until it is given back."""
        self._budget._end(self, give_back=False)

    def close(self) -> None:
        """Reserves nothing any more, ends the waiting for it, and gives back all that is held."""
        self._budget._end(self, give_back=True)


class Reservation:
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

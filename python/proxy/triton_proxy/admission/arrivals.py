"""Packets that are arriving: their bytes, the calls that are held back for them, and those that go on all the same."""

from __future__ import annotations

from collections.abc import Callable

# Of gRPC's framing, before each message.
_PREFIX_BYTES = 5


class Part:
    """What one principal has, on all its calls.

    Attributes:
        shares: its calls.
        held: bytes.
        arriving: of these, of packets that have not arrived completely or were not looked at yet.
        waiting: packets that wait for memory.
        favoured: the one call that goes on beyond the principal's limit; None for none.
    """

    def __init__(self) -> None:
        """It has nothing."""
        self.shares = 0
        self.held = 0
        self.arriving = 0
        self.waiting = 0
        self.favoured: Holding | None = None


class Holding:
    """What one call has.

    Attributes:
        part: its principal's.
        held: bytes.
        arriving: of these, of packets that have not arrived completely or were not looked at yet.
        resume: is called once more of the packet may come.
    """

    def __init__(self, part: Part) -> None:
        """It has nothing.

        Args:
            part: its principal's.
        """
        self.part = part
        self.held = 0
        self.arriving = 0
        self.resume: Callable[[], None] = _nothing


class Memory:
    """What there is.

    Attributes:
        total: bytes that all principals may have together.
        per_principal: bytes that one principal may have.
        free: bytes that nobody has; below zero where answers came that nobody could wait with.
    """

    def __init__(self, total: int, per_principal: int) -> None:
        """All of it is free.

        Args:
            total: see the attribute.
            per_principal: see the attribute.
        """
        self.total = self.free = total
        self.per_principal = per_principal

    @property
    def in_use(self) -> int:
        """Bytes that are handed out."""
        return self.total - self.free

    def hand_out(self, holding: Holding, size: int) -> None:
        """Gives a call bytes, or takes them back where there are fewer than none."""
        self.free -= size
        holding.held += size
        holding.part.held += size


class Arrivals:
    """What has arrived of packets that have no memory of their own yet. Its owner's lock is held for all of it.

    What arrives can't wait: it is counted, and what a call may not send any more is held back. Where all memory is held
    by packets that can't go on otherwise, one of them passes the limits.

    Attributes:
        size: bytes of all of them, each as often as it counts.
        held_back: the calls that may send no more for now, in the order in which they were held back.
    """

    def __init__(self, memory: Memory, copies: int) -> None:
        """Nothing is arriving.

        Args:
            memory: what there is.
            copies: how often each byte counts, as it will once the packet has arrived.
        """
        self.size = 0
        self.held_back: dict[Holding, None] = {}
        self._memory = memory
        self._copies = copies
        self._favoured: Holding | None = None

    def arrive(self, holding: Holding, size: int, resume: Callable[[], None]) -> bool:
        """Counts bytes.

        Args:
            holding: of the call that sent them.
            size: how many; below zero where bytes that were counted turn out to be none of the packet.
            resume: is called once more may come, where that is not now.

        Returns:
            Whether the call may send more.
        """
        self._memory.hand_out(holding, self._copies * size)
        self._count(holding, self._copies * size)
        self.favour(holding)
        if self._flows(holding):
            return True
        holding.resume = resume
        self.held_back[holding] = None
        return False

    def taken(self, holding: Holding, size: int) -> None:
        """A packet gets memory of its own, in which what was counted of it is contained.

        Args:
            holding: of its call.
            size: bytes of all its copies.
        """
        arrived = self._arrived(holding, size)
        self._count(holding, -arrived)
        self._memory.hand_out(holding, -arrived)
        self._disfavour(holding)

    def finish(self, holding: Holding) -> None:
        """A call is ending: nothing more of it is let through."""
        self.held_back.pop(holding, None)
        self._disfavour(holding)

    def close(self, holding: Holding) -> None:
        """A call has ended: nothing of it counts as arriving any more. Its memory stays handed out."""
        self._count(holding, -holding.arriving)

    def resume(self) -> None:
        """Lets those go on that may by now."""
        for holding in list(self.held_back):
            self.favour(holding)
            if self._flows(holding):
                del self.held_back[holding]
                holding.resume()

    def missing(self, holding: Holding, size: int) -> int:
        """What a packet's memory takes beside what was counted while it arrived.

        Args:
            holding: of its call.
            size: bytes of all its copies.
        """
        return size - self._arrived(holding, size)

    def favour(self, holding: Holding, missing: int = 0) -> None:
        """Lets one packet pass the limits where all memory is held by packets that can't go on otherwise.

        Args:
            holding: of its call.
            missing: bytes that it needs beside those that were counted.
        """
        part, everything, memory = holding.part, self._favoured, self._memory
        if part.favoured is None and part.held == part.arriving and part.held + missing > memory.per_principal:
            # The one that all others wait for must not wait for another of its own principal.
            part.favoured = everything if everything is not None and everything.part is part else holding
        # Nor must all others wait for one that waits for another of its own principal.
        goes_on = part.favoured in (None, holding)
        if everything is None and goes_on and memory.in_use == self.size and missing > memory.free:
            self._favoured = holding

    def is_favoured(self, holding: Holding) -> bool:
        """Whether a call's packet passes a limit."""
        return holding.part.favoured is holding or self._favoured is holding

    def fits_own(self, holding: Holding, size: int) -> bool:
        """Whether the principal may have a packet's memory, but for what has arrived of it already."""
        part = holding.part
        return part.held + self.missing(holding, size) <= self._memory.per_principal or part.favoured is holding

    def fits_all(self, holding: Holding, size: int) -> bool:
        """Whether there is a packet's memory, but for what has arrived of it already."""
        return self.missing(holding, size) <= self._memory.free or self._favoured is holding

    def _flows(self, holding: Holding) -> bool:
        """Whether a call may send more of a packet that it has begun."""
        return self.fits_own(holding, holding.arriving) and (self._memory.free >= 0 or self._favoured is holding)

    def _arrived(self, holding: Holding, size: int) -> int:
        """What of a packet's memory was counted while it arrived: all, or nothing by transports that don't count."""
        # What is beyond is the next packet's.
        return min(holding.arriving, size + self._copies * _PREFIX_BYTES)

    def _disfavour(self, holding: Holding) -> None:
        if holding.part.favoured is holding:
            holding.part.favoured = None
        if self._favoured is holding:
            self._favoured = None

    def _count(self, holding: Holding, size: int) -> None:
        holding.arriving += size
        holding.part.arriving += size
        self.size += size


def _nothing() -> None:
    pass

"""The bytes that all calls together may have under way."""

from __future__ import annotations

import threading
from collections import deque

from triton_proxy.limits import LimitExceeded

_MB = 1024 * 1024
# While Triton does not take a request, our own and, of a small one or over TLS, gRPC's.
PACKET_COPIES = 2


class _Waiter:
    def __init__(self, share: Share, size: int) -> None:
        self.share = share
        self.size = size
        self.granted = False
        self.decided = threading.Event()


class Budget:
    """MAX_MB_IN_FLIGHT, handed out in the order of asking.

    Whoever finds no room waits, and a stream whose reader waits is not read any further: HTTP/2's flow control then
    holds its client back. A large packet is not overtaken by small ones, so that everyone's turn comes.

    A packet has room until Triton has answered, then its answer has until the caller has taken it. Answers do not wait,
    so that with them more may be handed out than there is; nobody gets anything then.

    What this bounds: a packet is measured once it was read, so that each open stream may hold one more, which waits.
    While Triton does not take a request, there are up to two copies of it, one being gRPC's, and it has room for both;
    the one answer that a stream is sending exists as it came, as an Ack, and as gRPC's copy of that. The C library's
    memory is in pieces that do not fit together, by less than 150 MiB here.

        bytes <= MAX_MB_IN_FLIGHT
                 + open streams * (largest packet + 2 * largest answer + HTTP/2 window of 8 MiB)
                 + 150 MiB

    whatever Triton does, beside the 100 MiB of an idle proxy; tests/integration/memory_test.py measures it.
    """

    def __init__(self, mb: int) -> None:
        """All of it is free.

        Args:
            mb: MiB in all.
        """
        self._mb = mb
        self._free = mb * _MB
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()

    @property
    def in_use(self) -> int:
        """Bytes that are handed out."""
        with self._lock:
            return self._mb * _MB - self._free

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        with self._lock:
            return len(self._waiters)

    def share(self) -> Share:
        """The part of one stream; close it when the stream ends."""
        return Share(self)

    def _reserve(self, share: Share, size: int) -> Room | None:
        if size > self._mb * _MB:
            raise LimitExceeded(
                f"a packet that takes {size} bytes while it is under way, {PACKET_COPIES} copies of it, is over "
                f"MAX_MB_IN_FLIGHT={self._mb}, which is for all packets together; send smaller packets",
                None,
            )
        with self._lock:
            room = self._take(share, size)
            if room is not None or share.finished:
                return room
            waiter = _Waiter(share, size)
            self._waiters.append(waiter)
        waiter.decided.wait()
        return Room(self, share, size) if waiter.granted else None

    def _reserve_at_once(self, share: Share, size: int) -> Room | None:
        with self._lock:
            return self._take(share, size)

    def _take(self, share: Share, size: int) -> Room | None:
        if share.finished or self._waiters or size > self._free:
            return None
        self._free -= size
        share.held += size
        return Room(self, share, size)

    def _resize(self, room: Room, size: int, *, closed: bool) -> None:
        with self._lock:
            if room.closed or room.share.closed:
                return
            room.closed = closed
            self._free += room.size - size
            room.share.held += size - room.size
            room.size = size
            self._grant()

    def _end(self, share: Share, *, give_back: bool) -> None:
        with self._lock:
            share.finished = True
            for waiter in [waiter for waiter in self._waiters if waiter.share is share]:
                self._waiters.remove(waiter)
                waiter.decided.set()
            if give_back:
                share.closed = True
                self._free += share.held
                share.held = 0
            self._grant()

    def _grant(self) -> None:
        while self._waiters and self._waiters[0].size <= self._free:
            waiter = self._waiters.popleft()
            self._free -= waiter.size
            waiter.share.held += waiter.size
            waiter.granted = True
            waiter.decided.set()


class Share:
    """What one stream has of the budget."""

    def __init__(self, budget: Budget) -> None:
        """Made by `Budget.share`."""
        self._budget = budget
        self.held = 0
        self.finished = False
        self.closed = False

    def reserve(self, size: int) -> Room | None:
        """Waits for room for a packet; None when the share was finished or closed before there was any.

        Args:
            size: bytes of all its copies.

        Raises:
            LimitExceeded: it is larger than the whole budget.
        """
        return self._budget._reserve(self, size)

    def reserve_at_once(self, size: int) -> Room | None:
        """Room for a packet, if there is some that nobody waits for; None otherwise.

        Args:
            size: bytes of all its copies.
        """
        return self._budget._reserve_at_once(self, size)

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

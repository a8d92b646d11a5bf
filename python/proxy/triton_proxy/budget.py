"""The bytes that all calls together may have under way."""

from __future__ import annotations

import threading
from collections import deque

from triton_proxy.limits import LimitExceeded

_MB = 1024 * 1024


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

    What this bounds: a packet is measured once it was read, so that each open stream may hold one more, which waits,
    twice while gRPC hands it over. While a packet is being looked at, up to five copies of it exist: as it came,
    parsed, its tensor, the request to Triton, and that in gRPC's hands; the last alone stays until Triton answers.

        bytes of packets <= 5 * MAX_MB_IN_FLIGHT + open streams * (2 * largest packet + HTTP/2 window)

    whatever Triton does; tests/integration/memory_test.py measures it. Answers are not counted: a stream has
    STREAM_WINDOW of them at most.
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

    def _reserve(self, share: Share, size: int) -> bool:
        if size > self._mb * _MB:
            raise LimitExceeded(
                f"packet of {size} bytes is over MAX_MB_IN_FLIGHT={self._mb}, which is for all packets together; "
                "send smaller packets",
                None,
            )
        with self._lock:
            if share.finished:
                return False
            if not self._waiters and size <= self._free:
                self._free -= size
                share.held += size
                return True
            waiter = _Waiter(share, size)
            self._waiters.append(waiter)
        waiter.decided.wait()
        return waiter.granted

    def _release(self, share: Share, size: int) -> None:
        with self._lock:
            if share.closed:
                return
            if size > share.held:
                raise ValueError(f"{size} bytes of {share.held} given back")
            self._free += size
            share.held -= size
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

    def reserve(self, size: int) -> bool:
        """Waits for room for a packet; False when the share was finished or closed before there was any.

        Args:
            size: its bytes.

        Raises:
            LimitExceeded: it is larger than the whole budget.
        """
        return self._budget._reserve(self, size)

    def release(self, size: int) -> None:
        """Gives back the room of a packet. After `close`, which has done so, nothing happens.

        Args:
            size: its bytes, as given to `reserve`.

        Raises:
            ValueError: so much is not held.
        """
        self._budget._release(self, size)

    def finish(self) -> None:
        """Reserves nothing any more, and wakes whoever waits; what is held stays until it is released."""
        self._budget._end(self, give_back=False)

    def close(self) -> None:
        """Reserves nothing any more, wakes whoever waits, and gives back all that is held."""
        self._budget._end(self, give_back=True)

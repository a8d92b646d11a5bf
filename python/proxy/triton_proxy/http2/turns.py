"""Events of one connection that wait for its next turns, so that the others have theirs between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from triton_proxy.http2.connection import DataReceived, Event, RequestReceived

# To begin a call with a small message costs up to half a millisecond; to take a turn, a twentieth of one.
REQUESTS_A_TURN = 16


class Turns:
    """Events that came in one read and begin more calls than one turn of the loop may."""

    __slots__ = ("_account", "_waiting")

    def __init__(self, account: Callable[[int], None]) -> None:
        """Nothing waits.

        Args:
            account: takes by how many bytes of messages more wait, or fewer.
        """
        self._account = account
        self._waiting: deque[Event] = deque()

    def __bool__(self) -> bool:
        """Whether events wait."""
        return bool(self._waiting)

    def add(self, events: Iterable[Event]) -> None:
        """Take events in, behind those that wait."""
        size = 0
        for event in events:
            self._waiting.append(event)
            if type(event) is DataReceived:
                size += len(event.data)
        self._account(size)

    def take(self) -> list[Event]:
        """The events of one turn, in order: at most REQUESTS_A_TURN requests, and what came up to the next."""
        taken: list[Event] = []
        requests = size = 0
        while self._waiting:
            event = self._waiting[0]
            if type(event) is RequestReceived:
                if requests == REQUESTS_A_TURN:
                    break
                requests += 1
            elif type(event) is DataReceived:
                size += len(event.data)
            taken.append(self._waiting.popleft())
        self._account(-size)
        return taken

    def clear(self) -> None:
        """Forget what waits."""
        self._account(-sum(len(event.data) for event in self._waiting if type(event) is DataReceived))
        self._waiting.clear()

"""The receiving half of a stream, either side: DATA becomes messages, and windows go back as they are taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mm_service.waiting import WouldBlock
from triton_proxy.http2.grpc_messages import PREFIX, BrokenMessage, MessageReader, RawMessage, expand

# Compressed bytes that are expanded in the loop: a thousand times as many is a millisecond.
_EXPANDED_IN_LOOP = 1024
# Of streams that are closed: nothing is fed to it.
_CLOSED = MessageReader(0)


class EndOfMessages(Exception):  # noqa: N818 - as anyio names it
    """There are no more messages, or the stream has ended."""


def _heard_no_more(_broken: BrokenMessage) -> None:
    """Of a stream that is closed, nothing is read any more."""


class InboxHost(Protocol):
    """What an inbox needs of its connection."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that owns it."""

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Give back a window."""

    def account(self, amount: int) -> None:
        """Count so many bytes more, or less, as held."""

    def guarded(self, callback: Callable[..., object], *args: object) -> bool:
        """Call what is not the engine's; False if it raised."""

    def expand_elsewhere(self, inbox: Inbox, raw: RawMessage) -> None:
        """Call `expand` in another thread, then `expanded`."""


class Inbox:
    """What arrived of one stream. All of it belongs to the loop's thread.

    Until messages are asked for, none of their bytes is looked at, and no window is given back.

    A window is given back as bytes arrive, while no message waits to be taken and the callback of `count` does not say
    wait. So a stream holds one message, or what is there of it, and another window.

    Attributes:
        encoding: what compresses messages that are compressed.
        received: messages so far.
        half_closed: whether the peer has ended its side.
        since: when the message that is arriving began.
    """

    __slots__ = (
        "_accounted", "_broken", "_closed", "_count", "_expanding", "_half_closed_cb", "_held_back", "_host", "_limit",
        "_message_cb", "_next_cb", "_owed", "_raw", "_reader", "_stream_id", "_unread", "_waiter", "_waiting",
        "encoding", "half_closed", "received", "since",
    )  # fmt: skip

    def __init__(
        self, host: InboxHost, stream_id: int, *, limit: int, encoding: str, broken: Callable[[BrokenMessage], None]
    ) -> None:
        """Nothing arrived.

        Args:
            host: its connection.
            stream_id: its stream.
            limit: bytes that a message may have, as it comes and expanded.
            encoding: see the attribute.
            broken: is called with what is wrong with a message that ends the stream.
        """
        self._host = host
        self._stream_id = stream_id
        self._limit = limit
        self._broken = broken
        self.encoding = encoding
        self._count: Callable[[int], bool] | None = None
        self.received = 0
        self.half_closed = False
        self.since = 0.0
        self._reader = MessageReader(limit)
        self._raw: deque[RawMessage] = deque()  # behind one that is being expanded
        self._waiting: deque[tuple[bytes, int]] = deque()  # with what they are accounted as
        self._expanding = self._held_back = self._closed = False
        self._unread: list[tuple[bytes, bool]] | None = []  # until messages are asked for
        self._owed = 0  # bytes whose window is not given back
        self._accounted = 0
        self._message_cb: Callable[[bytes], None] | None = None
        self._half_closed_cb: Callable[[], None] | None = None
        self._next_cb: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def count(self, callback: Callable[[int], bool]) -> None:
        """Have bytes counted as they arrive, before they are a message; at once those that are there.

        A message that came compressed counts as it is once it is expanded, with gRPC's prefix as any other has it.

        Args:
            callback: takes their number, and by how much an expanded message is larger than it came, or smaller (below
                zero). False holds the peer's window back until `resume`.
        """
        self._count = callback
        if self._accounted and not callback(self._accounted):
            self._held_back = True

    def on_next(self, callback: Callable[[], None]) -> None:
        """Have a callback called once, later, when `receive_nowait` has a message or the end of them.

        Not at all where the stream ends before.
        """
        self._open()
        self._next_cb = callback
        if self._waiting or self._exhausted():
            self._host.loop.call_soon(self._tell_next)

    def on_message(self, callback: Callable[[bytes], None]) -> None:
        """Have each message given to a callback: it is taken when that returns."""
        self._open()
        self._message_cb = callback
        self._deliver()

    def on_half_closed(self, callback: Callable[[], None]) -> None:
        """Have a callback called when the last message was taken."""
        self._open()
        self._half_closed_cb = callback
        self._deliver()

    def receive_nowait(self) -> bytes:
        """The next message.

        Raises:
            WouldBlock: none is there yet.
            EndOfMessages: there will be none.
        """
        self._open()
        if self._waiting:
            message, cost = self._waiting.popleft()
            self._account(-cost)
            self._deliver()
            return message
        if self._closed or self._exhausted():
            raise EndOfMessages
        raise WouldBlock

    async def receive(self) -> bytes:
        """The next message, when it is there; for one task at a time.

        Raises:
            EndOfMessages: there will be none.
        """
        while True:
            try:
                return self.receive_nowait()
            except WouldBlock:
                self._waiter = self._host.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None

    def resume(self) -> None:
        """Give back what `count`'s callback had held back."""
        if self._held_back:
            self._held_back = False
            self.since = self._host.loop.time()  # the time we made the peer wait does not count
            if self._owed:
                self._settle()

    def arriving(self) -> bool:
        """Whether it is the peer's turn to complete a message that it began."""
        return bool(self._reader.held) and not (self._held_back or self._waiting or self._raw or self._expanding)

    @property
    def opened(self) -> bool:
        """Whether messages were asked for."""
        return self._unread is None

    @property
    def untouched(self) -> bool:
        """Whether nothing of a message came yet."""
        return not self.received and not self._reader.held and not self._held_back and not self._unread

    def data(self, data: bytes, *, half_closed: bool, now: float) -> bool:
        """Take a DATA frame.

        Returns:
            Whether it brought anything worth its cost: a message's end, the stream's, or at least 32 bytes.
        """
        size = len(data)
        self._owed += size
        if self._closed:
            if self._owed:
                self._settle()
            return True
        if size:
            self._arrived(size)
        if self._unread is not None:
            self._unread.append((data, half_closed))
            self.since = now
            return size >= 32 or half_closed
        if not self._reader.held:
            self.since = now
        return self._read(data, half_closed=half_closed) or size >= 32

    def _open(self) -> None:
        unread, self._unread = self._unread, None
        for data, half_closed in unread or ():
            self._read(data, half_closed=half_closed)

    def _read(self, data: bytes, *, half_closed: bool) -> bool:
        """Makes messages; whether one is complete, or the peer's side ended."""
        if self._closed:
            return True
        try:
            messages = self._reader.feed(data) if data else []
            if half_closed:
                self.half_closed = True
                self._reader.end()
        except BrokenMessage as broken:
            self._broken(broken)
            return True
        if messages:
            self.received += len(messages)
            self._raw.extend(messages)
        if messages or half_closed:
            self._deliver()
        elif self._owed:
            self._settle()
        return bool(messages) or half_closed

    def close(self, *, keep: bool = False) -> None:
        """Nothing that comes is looked at any more.

        Args:
            keep: whether messages that came already can still be taken.
        """
        self._closed = True
        self._reader = _CLOSED
        if not keep:
            self._host.account(-self._accounted)
            self._accounted = 0
            self._raw.clear()
            self._waiting.clear()
            self._unread = None
            # What refers to the call goes now: a call that is its own circle stays until Python looks for it.
            self._message_cb = self._half_closed_cb = self._next_cb = self._count = None
            self._broken = _heard_no_more
        if self._owed:
            self._settle()
        self._wake()

    def expanded(self, raw: RawMessage, result: bytes | BrokenMessage) -> None:
        """A message was expanded in another thread."""
        self._expanding = False
        if self._closed:
            return
        self._hand_expanded(raw, result)
        self._deliver()

    def _hand_expanded(self, raw: RawMessage, result: bytes | BrokenMessage) -> None:
        if isinstance(result, BrokenMessage):
            self._broken(result)
            return
        size = len(result) + PREFIX
        self._arrived(size - raw.wire_size)
        self._hand_over(result, size)

    def _exhausted(self) -> bool:
        return self.half_closed and not (self._raw or self._expanding or self._waiting)

    def _deliver(self) -> None:
        while self._waiting and self._message_cb is not None:
            self._call(*self._waiting.popleft())
        # A window may hold hundreds of messages of which each expands a thousandfold: one at a time.
        while self._raw and not self._expanding and not (self._raw[0].compressed and self._waiting):
            raw = self._raw.popleft()
            if not raw.compressed:
                self._hand_over(raw.data, raw.wire_size)
            elif len(raw.data) <= _EXPANDED_IN_LOOP:
                self._hand_expanded(raw, expand_or_broken(raw.data, self.encoding, self._limit))
            else:
                self._expanding = True
                self._host.expand_elsewhere(self, raw)
        if self.half_closed and self._half_closed_cb is not None and self._exhausted():
            callback, self._half_closed_cb = self._half_closed_cb, None
            self._host.guarded(callback)
        if self._owed:
            self._settle()
        if self._waiting or self.half_closed:
            self._wake()

    def _hand_over(self, message: bytes, cost: int) -> None:
        if self._message_cb is None or self._waiting:
            self._waiting.append((message, cost))
        else:
            self._call(message, cost)

    def _call(self, message: bytes, cost: int) -> None:
        if self._message_cb is not None:
            self._host.guarded(self._message_cb, message)
        self._account(-cost)

    def _arrived(self, amount: int) -> None:
        self._account(amount)
        if self._count is not None and not self._count(amount):
            self._held_back = True

    def _account(self, amount: int) -> None:
        if not self._closed or self._accounted:
            self._accounted += amount
            self._host.account(amount)

    def _settle(self) -> None:
        """Give back the window that is owed, unless messages wait or the budget said so."""
        held = self._held_back or self._waiting or self._raw or self._expanding or self._unread is not None
        if self._closed or not held:
            owed, self._owed = self._owed, 0
            self._host.acknowledge(self._stream_id, owed)

    def _tell_next(self) -> None:
        # What this was to tell of may have been taken meanwhile, by a callback that asked for the next.
        if self._next_cb is not None and not self._closed and (self._waiting or self._exhausted()):
            callback, self._next_cb = self._next_cb, None
            self._host.guarded(callback)

    def _wake(self) -> None:
        if self._next_cb is not None:
            self._tell_next()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def limit(self) -> int:
        """Bytes that a message may have."""
        return self._limit


def expand_or_broken(data: bytes, encoding: str, limit: int) -> bytes | BrokenMessage:
    """`expand`, whose failure is its result."""
    try:
        return expand(data, encoding, limit)
    except BrokenMessage as broken:
        return broken

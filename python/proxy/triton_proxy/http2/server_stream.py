"""One call as the server has it: what its handler sees of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from mm_service.status import Code
from triton_proxy.http2.connection import Buffer, ErrorCode, StreamGone
from triton_proxy.http2.grpc_headers import (
    Metadata,
    RequestHead,
    response_fields,
    trailer_fields,
    trailers_only_fields,
)
from triton_proxy.http2.grpc_messages import BrokenMessage, framed
from triton_proxy.http2.inbox import Inbox
from triton_proxy.http2.limits import Unsent

if TYPE_CHECKING:
    from triton_proxy.http2.server_connection import ServerConnection

# Bytes of a stream's queue below which its handler is asked for more.
WRITABLE_BELOW = 256 << 10
# Timers of a loop reach some weeks; for a caller that waits longer there is none.
_LONGEST_TIMER = 86400.0


class StreamEnd(Enum):
    """How a stream ended."""

    ANSWERED = "answered"  # its status was handed to the socket
    CANCELLED = "cancelled"  # the peer reset it
    LOST = "lost"  # the connection is gone
    CUT = "cut"  # we reset it: it passed a limit, or its deadline with an answer that nobody reads


class Stream:
    """One call. All of it belongs to the loop's thread; only `post` may be called from others.

    Messages come in one of two ways: `receive`, or a callback given to `on_message`.

    Attributes:
        stream_id: its number on its connection.
        head: what its request said.
        end: how it ended; None while it has not.
        finished: whether it is answered, though the answer may not have been taken.
    """

    __slots__ = (
        "_compression", "_connection", "_deadline", "_ended_cbs", "_head_sent", "_inbox", "_opened", "_queued_ever",
        "_timer", "_unsent", "_writable_cb", "end", "finished", "head", "stream_id",
    )  # fmt: skip

    def __init__(self, connection: ServerConnection, stream_id: int, head: RequestHead, now: float) -> None:
        self._connection = connection
        self.stream_id = stream_id
        self.head = head
        self.end: StreamEnd | None = None
        self.finished = self._head_sent = False
        self._inbox = Inbox(
            connection,
            stream_id,
            limit=connection.limits.message_bytes,
            encoding=head.encoding,
            broken=self._broken,
        )
        self._opened = now
        self._queued_ever = 0
        self._unsent: Unsent | None = None
        self._compression = "identity"
        self._writable_cb: Callable[[], None] | None = None
        self._ended_cbs: list[Callable[[Stream], None]] = []
        self._deadline = None if head.timeout is None else now + head.timeout
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout is not None and head.timeout <= _LONGEST_TIMER:
            self._timer = connection.loop.call_later(head.timeout, self._expired)

    # What is known of it.

    @property
    def method(self) -> str:
        """`/service/method`."""
        return self.head.path

    @property
    def peer(self) -> str:
        """Where the call comes from, as gRPC writes it: `ipv4:10.0.0.1:50000`."""
        return self._connection.peer

    @property
    def peer_certificate(self) -> dict[str, object] | None:
        """The caller's certificate as `ssl.SSLSocket.getpeercert` has it; None without mutual TLS."""
        return self._connection.peer_certificate

    def time_left(self) -> float | None:
        """Seconds until the caller gives up; None if it never does."""
        return None if self._deadline is None else max(self._deadline - self._connection.loop.time(), 0.0)

    @property
    def unsent(self) -> int:
        """Bytes of the answer that the connection has not taken."""
        return self._connection.queued(self.stream_id)

    def on_end(self, callback: Callable[[Stream], None]) -> None:
        """Have a callback called once, when the stream has ended; at once if it has."""
        if self.end is None:
            self._ended_cbs.append(callback)
        else:
            callback(self)

    def post(self, callback: Callable[..., object], *args: object) -> None:
        """Call something in the loop's thread; from any thread. Nothing happens if the loop is closed."""
        try:
            self._connection.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed, and with it the stream
            return

    # Messages in.

    def on_bytes(self, callback: Callable[[int], bool]) -> None:
        """Have a callback called with the number of bytes as they arrive, before they are a message.

        Args:
            callback: takes their number, and by how much a message that came compressed is larger once it is expanded,
                or smaller (below zero). False holds the caller's window back until `resume`.
        """
        self._inbox.count(callback)

    def resume(self) -> None:
        """Give back the window that `on_bytes` had held back."""
        self._inbox.resume()

    def widen(self, window: int) -> None:
        """Let the caller send more of this call before it is taken.

        Args:
            window: bytes that may be unacknowledged from now on.
        """
        self._connection.trust()
        if self.end is None:
            self._connection.engine.widen(self.stream_id, window)
            self._connection.schedule_flush()

    def on_next(self, callback: Callable[[], None]) -> None:
        """Have a callback called once, later, when `receive_nowait` has a message or the end of them."""
        self._inbox.on_next(callback)

    def on_message(self, callback: Callable[[bytes], None]) -> None:
        """Have each message given to a callback: it is taken when that returns."""
        self._inbox.on_message(callback)

    def on_half_closed(self, callback: Callable[[], None]) -> None:
        """Have a callback called when the caller has sent its last message, and that was taken."""
        self._inbox.on_half_closed(callback)

    def receive_nowait(self) -> bytes:
        """The next message.

        Raises:
            WouldBlock: none is there yet.
            EndOfMessages: there will be none.
        """
        return self._inbox.receive_nowait()

    async def receive(self) -> bytes:
        """The next message, when it is there; for one task at a time.

        Raises:
            EndOfMessages: there will be none.
        """
        return await self._inbox.receive()

    # Messages out.

    def send_head(self, metadata: Metadata = (), *, compressed: bool = False) -> None:
        """Begin the answer; `send` does it where this was not called.

        Args:
            metadata: for the caller, before the messages.
            compressed: compress messages, if the caller reads gzip and they are no larger than 64 KiB.

        Raises:
            ValueError: the metadata can't be sent.
        """
        if self._head_sent or self.finished:
            return
        if compressed and self.head.accepts("gzip"):
            self._compression = "gzip"
        fields = response_fields(metadata, self._compression)
        self._head_sent = True
        self._write(lambda: self._connection.engine.send_response(self.stream_id, fields))

    def send(self, *buffers: Buffer) -> None:
        """Send one message, given as one or more buffers; `bytes` are not copied before they become frames.

        On a stream that is answered or has ended nothing happens.
        """
        if self.finished:
            return
        if not self._head_sent:
            self.send_head()
        engine, stream_id = self._connection.engine, self.stream_id
        try:
            for chunk in framed(buffers, self._compression):
                self._queued_ever += len(chunk)
                engine.send_data(stream_id, chunk)
        except StreamGone:  # the peer may leave at any time; `end` says so
            return
        self._connection.touched()

    def finish(self, status: Code = Code.OK, text: str = "", trailers: Metadata = ()) -> None:
        """End the call after what was sent of it. The first end counts.

        Raises:
            ValueError: the trailers can't be sent.
        """
        if self.finished:
            return
        engine, stream_id = self._connection.engine, self.stream_id
        if self._head_sent:
            fields = trailer_fields(status, text, trailers)
            self._write(lambda: engine.send_trailers(stream_id, fields))
        else:
            fields = trailers_only_fields(status, text, trailers)
            self._write(lambda: engine.send_response(stream_id, fields, end_stream=True))
        self.finished = True
        if not self._inbox.half_closed:
            self._connection.reset_when_sent(stream_id)
        if not self._inbox.opened:
            self._connection.refused()
        self._inbox.close()

    def answer(self, *buffers: Buffer, trailers: Metadata = ()) -> None:
        """Answer a unary call: one message, and OK."""
        self.send(*buffers)
        self.finish(trailers=trailers)

    def abort(self, status: Code, text: str, trailers: Metadata = ()) -> None:
        """Refuse or fail the call; nothing that came of it is kept, and its caller learns to stop sending."""
        self.finish(status, text, trailers)

    def cancel(self) -> None:
        """End the call at once, whatever is queued of its answer: the caller sees CANCELLED."""
        if self.end is None:
            self._connection.cut(self.stream_id, ErrorCode.CANCEL)

    def on_writable(self, callback: Callable[[], None]) -> None:
        """Have a callback called once, when less than WRITABLE_BELOW bytes are unsent; not after the end."""
        self._writable_cb = callback
        self._connection.watch_writable(self)

    async def writable(self) -> None:
        """Wait until less than WRITABLE_BELOW bytes are unsent, or the stream has ended."""
        if self.end is not None or self.unsent < WRITABLE_BELOW:
            return
        future: asyncio.Future[None] = self._connection.loop.create_future()

        def wake(_stream: Stream | None = None) -> None:
            if not future.done():
                future.set_result(None)

        self.on_end(wake)
        self.on_writable(wake)
        await future

    # For the connection.

    def data(self, data: bytes, *, half_closed: bool) -> bool:
        """Take a DATA frame; False if it brought next to nothing."""
        return self._inbox.data(data, half_closed=half_closed, now=self._connection.last_heard)

    def ended(self, how: StreamEnd) -> None:
        """The engine has nothing more of it."""
        if self.end is not None:
            return
        self.end = how
        self.finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._inbox.close()
        callbacks, self._ended_cbs = self._ended_cbs, []
        for callback in callbacks:
            self._connection.guarded(callback, self)

    def tell_writable(self) -> bool:
        """See `Writer`."""
        if self._writable_cb is None or self.end is not None:
            return True
        if self.unsent >= WRITABLE_BELOW:
            return False
        callback, self._writable_cb = self._writable_cb, None
        self._connection.guarded(callback)
        return True

    def check_times(self, now: float) -> None:
        """End it if it is behind its times."""
        limits, counters, inbox = self._connection.limits, self._connection.counters, self._inbox
        queued = self.unsent
        if queued:
            self._unsent = self._unsent or Unsent()
            if self._unsent.age(self._queued_ever, queued, now) > limits.unread_answers:
                counters.passed("unread_answers")
                self._connection.cut(self.stream_id, ErrorCode.ENHANCE_YOUR_CALM)
                return
        if self.finished or inbox.half_closed:
            return
        if inbox.untouched and now - self._opened > limits.first_message:
            counters.passed("first_message")
            self.abort(Code.DEADLINE_EXCEEDED, f"no message came within {limits.first_message:g} s of the call's head")
        elif inbox.arriving() and now - inbox.since > limits.message:
            counters.passed("message")
            self.abort(Code.DEADLINE_EXCEEDED, f"a message was not complete within {limits.message:g} s")

    def _expired(self) -> None:
        if self.unsent:  # the caller has given up, and reads no status
            self._connection.cut(self.stream_id, ErrorCode.CANCEL)
        else:
            self.abort(Code.DEADLINE_EXCEEDED, "the call's deadline is over")

    def _broken(self, broken: BrokenMessage) -> None:
        self.abort(broken.status, str(broken))

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except StreamGone:  # the peer may leave at any time; `end` says so
            return
        self._connection.touched()

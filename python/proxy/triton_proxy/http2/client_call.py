"""One call as the client has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mm_service.status import Code
from triton_proxy.http2.connection import Buffer, ErrorCode, Fields, StreamGone
from triton_proxy.http2.grpc_headers import ENCODINGS, decode_metadata
from triton_proxy.http2.grpc_messages import BrokenMessage, framed
from triton_proxy.http2.grpc_status import decode_message, of_http, of_number, of_reset
from triton_proxy.http2.inbox import Inbox
from triton_proxy.http2.server_stream import WRITABLE_BELOW

if TYPE_CHECKING:
    from triton_proxy.http2.client_connection import ClientConnection

_LONGEST_TIMER = 86400.0


class CallFailed(Exception):  # noqa: N818 - named after what happened
    """A call ended with anything but OK.

    Attributes:
        status: what it ended with.
        text: the server's words, or ours where it has none.
        unprocessed: whether the server can't have looked at it, so that it may be tried again.
    """

    def __init__(self, status: Code, text: str, *, unprocessed: bool = False) -> None:
        super().__init__(f"{status.name}: {text}")
        self.status = status
        self.text = text
        self.unprocessed = unprocessed


class Reply(NamedTuple):
    """What a unary call was answered."""

    message: bytes
    head: Fields
    trailers: Fields


class ClientCall:
    """A call to the server. All of it belongs to the loop's thread.

    Answers come by `receive`, or by a callback given to `on_message`; `on_end` is called once, after the last of them
    was taken, or the call failed.

    Attributes:
        path: `/service/method`.
        head: the answer's first header list; empty before it came.
        trailers: its last.
        status: how it ended; None while it has not.
        text: the server's words, or ours where it has none.
        unprocessed: whether the server can't have looked at it.
    """

    __slots__ = (
        "_connection", "_end_cbs", "_ended", "_half_closed", "_inbox", "_limit", "_pending", "_stream_id", "_timer",
        "_writable_cb", "fields", "head", "path", "status", "text", "trailers", "unprocessed",
    )  # fmt: skip

    def __init__(self, path: str, fields: Fields, *, limit: int) -> None:
        """Not sent yet.

        Args:
            path: see the attribute.
            fields: the header list of its request.
            limit: bytes that an answer may have.
        """
        self.path = path
        self.fields = fields
        self.head: Fields = ()
        self.trailers: Fields = ()
        self.status: Code | None = None
        self.text = ""
        self.unprocessed = False
        self._limit = limit
        self._connection: ClientConnection | None = None
        self._stream_id = 0
        self._inbox: Inbox | None = None
        # What is asked for while there is no connection.
        self._pending: list[Callable[[], None]] = []
        self._half_closed = self._ended = False
        self._end_cbs: list[Callable[[ClientCall], None]] = []
        self._writable_cb: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # Out.

    def send(self, *buffers: Buffer) -> None:
        """Send one message, given as one or more buffers; `bytes` are not copied before they become frames."""
        self._when_open(lambda: self._send(framed(buffers, "identity")))

    def send_last(self, *buffers: Buffer) -> None:
        """Send one message, and say that there is no more to come."""
        if self._connection is None:
            self.send(*buffers)
            self.half_close()
        elif not self._ended:
            self._half_closed = True
            self._send(framed(buffers, "identity"), last=True)

    def half_close(self) -> None:
        """Say that there is no more to come."""
        self._when_open(self._half_close)

    def cancel(self) -> None:
        """End it here and there; nothing happens if it has ended."""
        self.fail(Code.CANCELLED, "the call was cancelled")

    @property
    def unsent(self) -> int:
        """Bytes of the request that the connection has not taken."""
        return 0 if self._connection is None else self._connection.queued(self._stream_id)

    def on_writable(self, callback: Callable[[], None]) -> None:
        """Have a callback called once, when little is unsent; not after the end."""
        self._writable_cb = callback

        def watch() -> None:
            if self._connection is not None:
                self._connection.watch_writable(self)

        self._when_open(watch)

    # In.

    def on_message(self, callback: Callable[[bytes], None]) -> None:
        """Have each answer given to a callback: it is taken when that returns."""
        if self._inbox is not None:
            self._inbox.on_message(callback)
        elif not self._ended:
            self._pending.append(lambda: self.on_message(callback))

    def on_bytes(self, callback: Callable[[int], bool]) -> None:
        """Have bytes counted as they arrive; False holds the server's window back until `resume`."""

        def install() -> None:
            if self._inbox is not None:
                self._inbox.count(callback)

        self._when_open(install)

    def resume(self) -> None:
        """Give back the window that `on_bytes` had held back."""
        if self._inbox is not None:
            self._inbox.resume()

    def on_end(self, callback: Callable[[ClientCall], None]) -> None:
        """Have a callback called once, when it has ended; at once if it has."""
        if self._ended:
            callback(self)
        else:
            self._end_cbs.append(callback)

    async def receive(self) -> bytes:
        """The next answer.

        Raises:
            EndOfMessages: there are no more, and the call is OK.
            CallFailed: the call ended otherwise.
        """
        await self._opened()
        if self._inbox is None:
            raise self.failure()
        try:
            return await self._inbox.receive()
        finally:
            if self.status is not None and self.status is not Code.OK and self._ended:
                raise self.failure()

    def failure(self) -> CallFailed:
        """How it ended, to be raised."""
        return CallFailed(self.status or Code.UNKNOWN, self.text, unprocessed=self.unprocessed)

    @property
    def metadata(self) -> list[tuple[str, str | bytes]]:
        """The server's metadata before the messages."""
        return decode_metadata(self.head)

    # For the connection.

    def opened(self, connection: ClientConnection, stream_id: int) -> None:
        """Its request's head was sent."""
        self._connection = connection
        self._stream_id = stream_id
        self._inbox = Inbox(connection, stream_id, limit=self._limit, encoding="identity", broken=self._broken)
        pending, self._pending = self._pending, []
        for act in pending:
            act()

    def expire_at(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        """Let it fail in so many seconds."""
        if timeout <= _LONGEST_TIMER:
            text = "the call's deadline is over"
            self._timer = loop.call_later(timeout, self.fail, Code.DEADLINE_EXCEEDED, text)

    def response(self, fields: Fields, *, ended: bool) -> None:
        """The answer began; with `ended` it is Trailers-Only."""
        self.head = fields
        values = dict(fields)
        status = values.get(b":status", b"")
        if status != b"200":
            self.fail(of_http(status), f"the server answered with HTTP status {status.decode('latin-1')}")
        elif not values.get(b"content-type", b"").startswith(b"application/grpc"):
            self.fail(Code.UNKNOWN, "the server's answer is none of gRPC's: its content-type is another")
        elif ended:
            self.ended(fields)
        elif self._inbox is not None:
            encoding = values.get(b"grpc-encoding", b"identity").decode("latin-1")
            if encoding not in ENCODINGS:
                self.fail(
                    Code.INTERNAL, f"the server compresses by {encoding!r}: it was asked for {', '.join(ENCODINGS)}"
                )
            self._inbox.encoding = encoding

    def data(self, data: bytes, *, ended: bool, now: float) -> None:
        """Bytes of answers; they do not end a call of gRPC's."""
        if self._inbox is not None:
            self._inbox.data(data, half_closed=False, now=now)
        if ended:
            self.fail(Code.UNKNOWN, "the server ended the call without a status")

    def ended(self, fields: Fields) -> None:
        """The status came."""
        if self.status is not None or self._inbox is None:
            return
        values = dict(fields)
        if b"grpc-status" not in values:
            self.fail(Code.UNKNOWN, "the server ended the call without a status")
            return
        self.trailers = fields
        status = of_number(values[b"grpc-status"])
        message = values.get(b"grpc-message")
        text = decode_message(message) if message else ""
        if status is not Code.OK:
            self._end(status, text)
            return
        self.status, self.text = status, text
        # Answers may still wait to be taken, or to be expanded.
        self._inbox.data(b"", half_closed=True, now=0.0)
        self._inbox.on_half_closed(lambda: self._end(status, text))

    def closed(self, error: int) -> None:
        """The stream is gone; without a status that is its end."""
        if self.status is None:
            self.unprocessed = error == ErrorCode.REFUSED_STREAM
            self._end(of_reset(error), f"the server reset the call with HTTP/2 error {error}")

    def lost(self, text: str, *, unprocessed: bool = False) -> None:
        """There is no connection, or no more."""
        if self.status is None:
            self.unprocessed = unprocessed
            self._end(Code.UNAVAILABLE, text)

    def fail(self, status: Code, text: str) -> None:
        """End it from our side, and tell the server."""
        if self._ended:
            return
        connection, stream_id = self._connection, self._stream_id
        self._end(status, text)
        if connection is not None:
            connection.cancel(stream_id)

    def tell_writable(self) -> bool:
        """See `Writer`."""
        if self._writable_cb is None or self._ended or self._connection is None:
            return True
        if self.unsent >= WRITABLE_BELOW:
            return False
        callback, self._writable_cb = self._writable_cb, None
        self._connection.guarded(callback)
        return True

    @property
    def half_closed(self) -> bool:
        """Whether our side is ended."""
        return self._half_closed

    @property
    def over(self) -> bool:
        """Whether `on_end` was called."""
        return self._ended

    def _end(self, status: Code, text: str) -> None:
        if self._ended:
            return
        self._ended = True
        self.status, self.text = status, text
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inbox is not None:
            self._inbox.close()
        callbacks, self._end_cbs = self._end_cbs, []
        for callback in callbacks:
            if self._connection is not None:
                self._connection.guarded(callback, self)
            else:
                callback(self)

    def _broken(self, broken: BrokenMessage) -> None:
        self.fail(broken.status, str(broken))

    def _when_open(self, act: Callable[[], None]) -> None:
        if self._ended:
            return
        if self._connection is None:
            self._pending.append(act)
        else:
            act()

    async def _opened(self) -> None:
        if self._connection is not None or self._ended:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_call: ClientCall | None = None) -> None:
            if not future.done():
                future.set_result(None)

        self._pending.append(wake)
        self._end_cbs.append(wake)
        await future

    def _send(self, chunks: Sequence[Buffer], *, last: bool = False) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - `_when_open`
        engine, stream_id = connection.engine, self._stream_id
        try:
            for chunk in chunks[:-1]:
                engine.send_data(stream_id, chunk)
            engine.send_data(stream_id, chunks[-1], end_stream=last)
        except StreamGone:  # the call is over; its end says so
            return
        connection.schedule_flush()

    def _half_close(self) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - `_when_open`
        self._half_closed = True
        try:
            connection.engine.send_data(self._stream_id, b"", end_stream=True)
        except StreamGone:  # the call is over; its end says so
            return
        connection.schedule_flush()

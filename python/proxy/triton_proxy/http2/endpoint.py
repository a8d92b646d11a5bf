"""A connection on a socket, either side: bytes in, events out, bytes out, and what the clock says to both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from triton_proxy.http2 import connection as http2
from triton_proxy.http2.callbacks import Callbacks
from triton_proxy.http2.connection import Connection, ErrorCode
from triton_proxy.http2.grpc_messages import RawMessage
from triton_proxy.http2.inbox import Inbox
from triton_proxy.http2.limits import Unsent

# Bytes that are taken from the engine at once, and that a socket may leave unsent before it is given no more.
TAKE = 256 << 10
# What is taken of a stuck connection so that resets work: they do when their frame is taken, ahead of DATA.
_TAKE_STUCK = 32768
# One for all connections of a loop: it is filled and emptied within one callback.
RECEIVE_BUFFER = 1 << 20


class Writer(Protocol):
    """A stream whose handler waits until its queue is short."""

    def tell_writable(self) -> bool:
        """Say so to the handler, if it is; True if no handler waits any more."""


class Endpoint(asyncio.BufferedProtocol):
    """Half of `server` and `client`: subclasses say what events mean.

    Everything happens in the loop's thread.

    Attributes:
        last_heard: when bytes came last.
        incomplete_since: since when a frame or header list may be incomplete; None where none is.
        guarded: calls what is not the engine's; False if it raised.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview, callbacks: Callbacks) -> None:
        """No socket yet.

        Args:
            loop: the loop that owns the connection.
            buffer: for the bytes that arrive; shared by the loop's connections.
            callbacks: calls what is not the engine's.
        """
        self._loop = loop
        self._callbacks = callbacks
        # A memoryview and not a bytearray, or nothing arrives over the standard library's TLS.
        self._buffer = buffer
        self._read_bytes = RECEIVE_BUFFER
        self._transport: asyncio.Transport | None = None
        self._engine: Connection | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {}
        self._paused = False  # the socket takes no more
        self._busy = False  # within a callback that flushes at its end
        self._flush_scheduled = False
        self._closing = False
        self._closing_since = 0.0
        self._written = 0
        self._unsent = Unsent()
        self._writers: set[Writer] = set()
        self._after_flush: list[int] = []  # streams to be reset when what they were sent is out
        self.guarded = callbacks.guarded
        self.last_heard = loop.time()
        # Since then bytes came, and no event: a frame or header list may be incomplete, or was none that we look at.
        self.incomplete_since: float | None = None
        self._pinged_at: float | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        # uvloop's are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=TAKE)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._buffer[: self._read_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self.received(self._buffer[:nbytes])

    def eof_received(self) -> bool:
        """See asyncio."""
        return False

    def pause_writing(self) -> None:
        """See asyncio."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio."""
        self._paused = False
        self.flush()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that owns it."""
        return self._loop

    @property
    def engine(self) -> Connection:
        """Its HTTP/2. There is one where there is a stream."""
        assert self._engine is not None  # noqa: S101 - streams come of its events
        return self._engine

    @property
    def was_made(self) -> bool:
        """Whether asyncio gave it its socket; then it will also take it back."""
        return self._transport is not None

    # Bytes in.

    def received(self, data: memoryview) -> None:
        """Take bytes of the peer: whatever they lead to has happened, and is on its way, when this returns."""
        engine = self._engine
        if engine is None or self._closing:
            return
        self.last_heard = self._loop.time()
        self._busy = True
        try:
            engine.feed(data)
            events = engine.events()
            if events:
                self.incomplete_since = self._pinged_at = None
                self._dispatch(events)
            elif self.incomplete_since is None:
                self.incomplete_since = self.last_heard
        except http2.PeerViolation as violation:
            self._dispatch(engine.events())
            self._violated(violation)
        finally:
            self._busy = False
        self.flush()

    def _dispatch(self, events: Any) -> None:
        handlers = self._handlers
        for event in events:
            if self._closing:
                return
            handle = handlers.get(type(event))
            if handle is not None:
                handle(event)

    def _violated(self, violation: http2.PeerViolation) -> None:
        self.close()

    # Bytes out.

    def schedule_flush(self) -> None:
        """Send what is queued before the loop's next turn, together with what else is queued until then."""
        if not self._busy and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what there is and the socket takes."""
        self._flush_scheduled = False
        engine, transport = self._engine, self._transport
        if engine is None or transport is None or transport.is_closing():
            return
        while not self._paused:
            data = engine.data_to_send(TAKE)
            if data:
                transport.write(data)
                self._written += len(data)
            # Less than what was asked for is all there is.
            if len(data) < TAKE and not self._finish_streams(engine):
                break
        self._dispatch(engine.events())

        if self._writers:
            self._writers = {writer for writer in self._writers if not writer.tell_writable()}

    def _finish_streams(self, engine: Connection) -> bool:
        """Reset the streams whose answers are out, so that their callers stop sending.

        Not before: a reset overtakes the status that it follows, and the caller would see INTERNAL.
        """
        if not self._after_flush:
            return False
        waiting, self._after_flush = self._after_flush, []
        for stream_id in waiting:
            if engine.end_was_sent(stream_id):
                engine.reset(stream_id, ErrorCode.NO_ERROR)
            else:
                self._after_flush.append(stream_id)
        return len(self._after_flush) < len(waiting)

    def take_resets(self) -> None:
        """Let resets act on a connection whose socket is stuck: the memory of what it was sent comes free."""
        engine, transport = self._engine, self._transport
        if self._paused and engine is not None and transport is not None and not transport.is_closing():
            data = engine.data_to_send(_TAKE_STUCK)
            if data:
                transport.write(data)
                self._written += len(data)
            self._dispatch(engine.events())

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer: in the engine's queues and in the socket's."""
        engine, transport = self._engine, self._transport
        if engine is None or transport is None:
            return 0
        return engine.queued() + transport.get_write_buffer_size()

    def stuck_for(self, now: float) -> float:
        """The age of the oldest byte that the socket has not taken."""
        transport = self._transport
        return 0.0 if transport is None else self._unsent.age(self._written, transport.get_write_buffer_size(), now)

    # What streams ask for.

    def queued(self, stream_id: int) -> int:
        """Bytes of a stream that the engine still has."""
        return 0 if self._engine is None else self._engine.queued(stream_id)

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Give back a window."""
        if self._engine is not None and not self._closing:
            self._engine.acknowledge(stream_id, amount)
            self.schedule_flush()

    def reset_when_sent(self, stream_id: int) -> None:
        """Tell the peer to stop sending, once it was sent its answer."""
        self._after_flush.append(stream_id)
        self.schedule_flush()

    def watch_writable(self, writer: Writer) -> None:
        """Ask `writer.tell_writable` when bytes may have left, until it says that nobody waits any more."""
        self._writers.add(writer)
        self.schedule_flush()

    def expand_elsewhere(self, inbox: Inbox, raw: RawMessage) -> None:
        """Expand a message in another thread."""
        self._callbacks.expand(inbox, raw)

    # The end.

    def goaway(self, error: ErrorCode, debug: bytes) -> None:
        """End the connection with a reason, as far as the socket takes it."""
        if self._engine is not None and not self._closing:
            self._engine.goaway(error, debug)
        self.close()

    def close(self, *, linger: bool = False) -> None:
        """Send what is ready, and close: nothing is heard any more.

        Args:
            linger: whether to let the peer hang up first, so that it can read all that it was sent.
        """
        if self._closing:
            return
        self.flush()
        self._closing = True
        self._closing_since = self._loop.time()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if linger and transport.can_write_eof():
            # What the peer has sent and nobody reads would make the kernel reset the connection, and with it what the
            # peer has not read yet. It is read, and looked at no more, until the peer hangs up or `check_times` does.
            transport.write_eof()
        else:
            transport.close()

    def abort(self) -> None:
        """Close at once, whatever the socket has not taken."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

"""One connection of the server: what its events mean, and what it may cost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mm_service.status import Code
from triton_proxy.http2 import connection as http2
from triton_proxy.http2.connection import ErrorCode, Role
from triton_proxy.http2.endpoint import RECEIVE_BUFFER, Endpoint
from triton_proxy.http2.first_bytes import HTTP1_ANSWER, Speaks, protocol_of
from triton_proxy.http2.giving_way import Loss
from triton_proxy.http2.grpc_headers import HeadRefused, RequestHead, refusal_fields
from triton_proxy.http2.limits import Allowance, ConnectionLimits, Counters
from triton_proxy.http2.server_stream import Stream, StreamEnd
from triton_proxy.http2.turns import REQUESTS_A_TURN, Turns

if TYPE_CHECKING:
    from triton_proxy.http2.server import Http2Server

# gRPC's clients give their windows back by larger pieces; others at each frame, the stream's and the connection's.
_BYTES_AN_UPDATE, _UPDATES_A_SEND = 1024, 4
# A read ends anywhere in a frame, over TLS at each record, and what is left of it may be a few bytes by themselves.
_BYTES_A_SMALL_FRAME, _MOST_PAID_FRAMES = 4096, 256
# More than the answers to a burst of PINGs, which must not pay for the next.
_BYTES_A_PING = 1024
# Of a connection without a known caller, so much at once: in more stand dozens of calls, each to be refused before the
# next connection's turn comes.
_STRANGERS_READ_BYTES = 1024
_KEEPALIVE, _DRAIN = b"keepaliv", b"draining"
# How long what is ready may take to leave a socket that is being closed.
_LINGER = 5.0
# The same where another connection needs the place.
_LINGER_IN_THE_WAY = 0.1


class ServerConnection(Endpoint):
    """A caller's connection.

    Attributes:
        peer: its address as gRPC writes it.
        peer_certificate: the caller's, with mutual TLS.
        gives_way: whether another connection needs its place.
        limits: the server's.
        counters: the server's.
    """

    def __init__(self, server: Http2Server, peer: str, released: Callable[[], None]) -> None:
        """A socket was accepted.

        Args:
            server: whose it is.
            peer: see the attribute.
            released: is called once, when the socket is gone.
        """
        super().__init__(server.loop, server.buffer, server.callbacks)
        self._server = server
        self._released = released
        self.peer = peer
        self.peer_certificate: dict[str, object] | None = None
        self.gives_way = False
        self.limits: ConnectionLimits = server.limits
        self.counters: Counters = server.counters
        self._accepted_at = self.last_heard
        self._idle_since = self.last_heard
        self._greeted = False  # the peer's first SETTINGS came
        self._first_bytes = b""
        self._streams: dict[int, Stream] = {}
        self._cut: set[int] = set()
        self._turns = Turns(self.account)
        self._requests = 0  # of the last read
        self._reset_ahead: set[int] = set()  # by a frame that is still to be looked at
        self._draining = False
        self._sends = self._sends_at_ping = self._written_at_ping = 0
        limits, now = self.limits, self.last_heard
        self._pings = Allowance(limits.pings, now)
        self._settings = Allowance(limits.settings, now)
        self._resets = Allowance(limits.resets, now)
        self._refusals = Allowance(limits.refusals, now)
        self._read_bytes = _STRANGERS_READ_BYTES
        self._window_updates = Allowance(limits.window_updates, now)
        self._paid_updates = 0  # by what the peer was sent
        self._small_frames = Allowance(limits.small_frames, now)
        self._brought = 0  # bytes of messages
        self._paid_frames = 0  # by these
        self._handlers = {
            http2.RequestReceived: self._request,
            http2.DataReceived: self._data,
            http2.TrailersReceived: self._trailers,
            http2.StreamReset: self._reset,
            http2.StreamClosed: self._closed,
            http2.SettingsReceived: self._settings_received,
            http2.PingReceived: self._ping_received,
            http2.WindowUpdated: self._window_updated,
            http2.PingAcknowledged: self._ping_acknowledged,
            http2.ConnectionEnded: self._ended,
        }

    # Sockets.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio; over TLS the handshake is done."""
        super().connection_made(transport)
        if self._closing:  # by `give_way` or `abort`, which had no transport yet
            self.abort()
            return
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            certificate = tls.getpeercert()
            self.peer_certificate = dict(certificate) if certificate else None
            if tls.selected_alpn_protocol() == "h2":
                self._start()
        if self._server.draining:
            self.drain()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._closing = True
        self._paused = True
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self.counters.streams -= 1
            stream.ended(StreamEnd.LOST)
        self._writers.clear()
        self._turns.clear()
        self._released()

    def received(self, data: memoryview) -> None:
        """Take bytes of the peer, of which the first say what it speaks."""
        if self._engine is not None:
            super().received(data)
        elif not self._closing:
            self._first_bytes += bytes(data)
            self._tell_protocols_apart()

    # Turns: neither what came in one read, nor what stands behind it in the socket, keeps others waiting.

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        filled = nbytes == self._read_bytes
        self._requests = 0
        super().buffer_updated(nbytes)
        # libuv reads a socket up to 32 times in a turn for as long as the buffer is filled.
        if filled and self._requests > 1 and not self._turns:
            self._give_turn()

    def _dispatch(self, events: Sequence[http2.Event]) -> None:
        reset = {event.stream_id for event in events if type(event) is http2.StreamReset}
        if reset:
            self._reset_ahead |= reset
        if self._turns:
            self._turns.add(events)
            return
        if len(events) > REQUESTS_A_TURN:
            self._turns.add(events)
            events = self._turns.take()
            if self._turns:
                self._give_turn()
        super()._dispatch(events)

    def _give_turn(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
        self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if self._turns:
            events = self._turns.take()
            self._busy = True
            try:
                super()._dispatch(events)
            finally:
                self._busy = False
            self.flush()
        transport = self._transport
        if self._turns:
            self._loop.call_soon(self._take_turn)
        elif transport is not None and not transport.is_closing():
            transport.resume_reading()

    def _tell_protocols_apart(self) -> None:
        first = self._first_bytes
        speaks = protocol_of(first)
        if speaks is Speaks.UNDECIDED:
            return
        self._first_bytes = b""
        if speaks is Speaks.HTTP2:
            self._start()
            if self._draining:
                # Nothing of it was begun: its caller repeats all of it on another connection.
                self.engine.goaway()
                self.close(linger=True)
                return
            super().received(memoryview(first))
        elif speaks is Speaks.NEITHER:
            self.counters.violations += 1
            self.close()
        elif self._transport is not None:
            self.counters.http1 += 1
            self._transport.write(HTTP1_ANSWER)
            self.close()

    def _start(self) -> None:
        self._engine = self._server.make_engine(Role.SERVER)
        self.flush()

    def _violated(self, violation: http2.PeerViolation) -> None:
        self.counters.violations += 1
        self.close()

    # What events mean.

    def _request(self, event: http2.RequestReceived) -> None:
        stream_id, fields, ended = event
        self._requests += 1
        if stream_id in self._reset_ahead:
            # Nobody waits for an answer. It counts as if it had been begun: its head was read.
            if not self._resets.take(self.last_heard):
                self._too_many("resets")
            return
        counters, limits = self.counters, self.limits
        size = 0
        for name, value in fields:
            size += len(name) + len(value) + 32
        try:
            if size > limits.header_bytes:
                counters.passed("header_bytes")
                text = f"Received metadata larger than max ({size} vs. {limits.header_bytes})"
                raise HeadRefused(200, Code.RESOURCE_EXHAUSTED, text)
            if counters.streams >= limits.streams:
                counters.passed("streams")
                raise HeadRefused(200, Code.UNAVAILABLE, f"the server has {limits.streams} calls: try again")
            head = RequestHead(fields)
        except HeadRefused as refused:
            counters.refused_heads += 1
            self._refuse(stream_id, refused, ended=ended)
            return
        stream = self._streams[stream_id] = Stream(self, stream_id, head, self.last_heard)
        counters.streams += 1
        counters.opened += 1
        if not self.guarded(self._server.handler, stream):
            stream.abort(Code.UNKNOWN, "the server failed")
        if ended:
            stream.data(b"", half_closed=True)

    def _refuse(self, stream_id: int, refused: HeadRefused, *, ended: bool) -> None:
        try:
            self.engine.send_response(stream_id, refusal_fields(refused), end_stream=True)
        except http2.StreamGone:  # reset by a frame that came together with its head
            return
        if not ended:
            self.reset_when_sent(stream_id)

    def _data(self, event: http2.DataReceived) -> None:
        stream_id, data, ended = event
        stream = self._streams.get(stream_id)
        if stream is None:
            # Of a refused or forgotten stream, and the connection's window has to come back all the same.
            self.engine.acknowledge(stream_id, len(data))
            if data or ended:
                return
        elif stream.data(data, half_closed=ended):
            self._brought += len(data)
            if self.counters.held_bytes > self.limits.held_bytes:
                self.counters.passed("held_bytes")
                stream.abort(Code.RESOURCE_EXHAUSTED, "the server holds as many bytes of messages as it may: try again")
            return
        earned = self._brought // _BYTES_A_SMALL_FRAME
        self._paid_frames = max(self._paid_frames, earned - _MOST_PAID_FRAMES)
        if self._paid_frames < earned:
            self._paid_frames += 1
        elif not self._small_frames.take(self.last_heard):
            self._too_many("small_frames")

    def _trailers(self, event: http2.TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.data(b"", half_closed=True)

    def _reset(self, event: http2.StreamReset) -> None:
        self._reset_ahead.discard(event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is not None and not stream.finished and not self._resets.take(self.last_heard):
            self._too_many("resets")

    def _closed(self, event: http2.StreamClosed) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is None:
            return
        self.counters.streams -= 1
        if not self._streams:
            self._idle_since = self.last_heard
        if event.stream_id in self._cut:
            self._cut.discard(event.stream_id)
            stream.ended(StreamEnd.CUT)
        else:
            # Both answered and reset by us with NO_ERROR are well; a caller's CANCEL after its answer is too late.
            stream.ended(StreamEnd.ANSWERED if stream.finished and not event.error else StreamEnd.CANCELLED)

    @property
    def _trusted(self) -> bool:
        return self._read_bytes != _STRANGERS_READ_BYTES

    @property
    def loss(self) -> Loss:
        """What would be lost with it."""
        if self._streams:
            return Loss.KNOWN_CALLERS_CALLS if self._trusted else Loss.STRANGERS_CALLS
        return Loss.IDLE if self._trusted else Loss.NOTHING

    def trust(self) -> None:
        """A caller of it is known."""
        self._read_bytes = RECEIVE_BUFFER

    def refused(self) -> None:
        """A call ended before any of its messages was asked for."""
        if not self._trusted and not self._refusals.take(self.last_heard):
            self._too_many("refusals")

    def _settings_received(self, _event: http2.SettingsReceived) -> None:
        self._greeted = True
        if not self._settings.take(self.last_heard):
            self._too_many("settings")

    def _ping_received(self, _event: http2.PingReceived) -> None:
        # gRPC's clients measure the way with PINGs while bytes go over it, and servers forgive those. A large answer is
        # one send, and a PING for each frame of it.
        if self._sends != self._sends_at_ping or self._written - self._written_at_ping > _BYTES_A_PING:
            self._sends_at_ping = self._sends
            self._pings = Allowance(self.limits.pings, self.last_heard)
        self._written_at_ping = self._written
        if not self._pings.take(self.last_heard):
            self._too_many("pings", b"too_many_pings")

    def _window_updated(self, _event: http2.WindowUpdated) -> None:
        if self._paid_updates < self._written // _BYTES_AN_UPDATE + _UPDATES_A_SEND * self._sends:
            self._paid_updates += 1
        elif not self._window_updates.take(self.last_heard):
            self._too_many("window_updates")

    def _ping_acknowledged(self, event: http2.PingAcknowledged) -> None:
        if event.opaque == _DRAIN:
            self._refuse_streams()

    def _ended(self, event: http2.ConnectionEnded) -> None:
        if event.error:
            self.counters.violations += 1
        self.close(linger=not event.error)

    def _too_many(self, limit: str, debug: bytes = b"") -> None:
        if not self._closing:
            self.counters.passed(limit)
            self.goaway(ErrorCode.ENHANCE_YOUR_CALM, debug or f"too many {limit}".encode())

    # What streams ask for.

    def touched(self) -> None:
        """Something was given to the engine to send."""
        self._sends += 1
        self.schedule_flush()

    def account(self, amount: int) -> None:
        """Count so many bytes more, or less, as held."""
        self.counters.held_bytes += amount

    def cut(self, stream_id: int, error: ErrorCode) -> None:
        """Reset a stream, whatever is queued of it."""
        if self._engine is not None and not self._closing:
            self._cut.add(stream_id)
            self._engine.reset(stream_id, error)
            self.take_resets()
            self.schedule_flush()

    # What the clock says.

    def check_times(self, now: float) -> None:
        """End what is behind its times: the connection, or streams of it."""
        if self._closing:
            if now - self._closing_since > _LINGER:
                self.abort()
            return
        limit = self._late(now)
        if limit is not None:
            self.counters.passed(limit)
            self.abort()
            return
        for stream in list(self._streams.values()):
            stream.check_times(now)
        if self._engine is None:
            return
        if not self._streams and not self._draining and now - self._idle_since > self.limits.idle:
            self.counters.passed("idle")
            self.drain()
        elif not self._draining and now - self._accepted_at > self.limits.age:
            self.counters.passed("age")
            self.drain()
        elif self._pinged_at is None and self._questionable(now):
            self._pinged_at = now
            self._engine.ping(_KEEPALIVE)
            self.schedule_flush()

    def _questionable(self, now: float) -> bool:
        """Whether a PING is due: a peer within a frame can't answer it."""
        if now - self.last_heard > self.limits.keepalive:
            return True
        return self.incomplete_since is not None and now - self.incomplete_since > self.limits.frame

    def _late(self, now: float) -> str | None:
        limits = self.limits
        if not self._greeted and now - self._accepted_at > limits.preface:
            return "preface"
        if self.stuck_for(now) > limits.unread_answers:
            return "unread_answers"
        if self.unsent > limits.unread_answer_bytes:
            return "unread_answer_bytes"
        if self._pinged_at is not None and now - self._pinged_at > limits.keepalive_answer:
            return "keepalive_answer" if self.incomplete_since is None else "frame"
        return None

    # The end.

    def give_way(self) -> None:
        """End it at once, to make room for another."""
        self.gives_way = True
        self.goaway(ErrorCode.NO_ERROR, b"another connection needs the place")
        self._loop.call_later(_LINGER_IN_THE_WAY, self.abort)

    def drain(self) -> None:
        """Take no more calls, without losing one that is on its way: two GOAWAYs, a round trip apart."""
        if self._draining or self._closing:
            return
        self._draining = True
        if self._engine is None:
            # Its first words may be on their way; they are answered by a GOAWAY.
            self._loop.call_later(self.limits.drain_notice, self._close_silent)
            return
        self._engine.shutdown_notice()
        self.flush()  # PINGs overtake: its answer is to say that the notice was read
        self._engine.ping(_DRAIN)
        self.schedule_flush()
        self._loop.call_later(self.limits.drain_notice, self._refuse_streams)

    def _close_silent(self) -> None:
        if self._engine is None:
            self.close()

    def _refuse_streams(self) -> None:
        if self._draining and not self._closing and self._engine is not None:
            self._engine.goaway()
            self.flush()

"""One connection of HTTP/1.1: a request after the other, and what it may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from multimodal_contract.wire import Buffer
from triton_proxy.http1 import head as heads
from triton_proxy.http1.head import HeadReader, HeadRefused, RequestHead
from triton_proxy.http1.limits import HttpLimits
from triton_proxy.http1.request import HttpRequest, RequestEnd
from triton_proxy.http2.endpoint import RECEIVE_BUFFER, TAKE
from triton_proxy.http2.giving_way import Loss
from triton_proxy.http2.limits import Allowance, Counters, Unsent

if TYPE_CHECKING:
    from triton_proxy.http1.server import HttpServer

# Of a connection without a known caller, so much at once, as over HTTP/2.
_STRANGERS_READ_BYTES = 1024
# How long, and for how many bytes that nobody looks at, a peer is given to read its last answer.
_LINGER = 5.0
_LINGER_BYTES = 64 << 20
_LINGER_READ_BYTES = 64 << 10


class HttpConnection(asyncio.BufferedProtocol):
    """A caller's connection.

    Attributes:
        peer: its address as gRPC writes it.
        loop: the loop that owns it.
        gives_way: whether another connection needs its place.
    """

    def __init__(self, server: HttpServer, peer: str, released: Callable[[], None]) -> None:
        """A socket was accepted.

        Args:
            server: whose it is.
            peer: see the attribute.
            released: is called once, when the socket is gone.
        """
        self.peer = peer
        self.loop = server.loop
        self._server = server
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._read_bytes = _STRANGERS_READ_BYTES
        self._pending = bytearray()
        self._searched = 0
        self._request: HttpRequest | None = None
        self.gives_way = False
        self._since = self.loop.time()  # when the last request ended, or the socket came
        self._head_since: float | None = None
        self._reading = True
        self._paused = False
        self._closing = False
        self._closing_since = 0.0
        self._lingered = 0
        self._last = False
        self._draining = server.draining
        self._written = 0
        self._unsent = Unsent()
        self._writable: Callable[[], None] | None = None
        self._refusals = Allowance(server.limits.refusals, self._since)

    @property
    def limits(self) -> HttpLimits:
        """The server's."""
        return self._server.limits

    @property
    def counters(self) -> Counters:
        """The server's."""
        return self._server.counters

    @property
    def was_made(self) -> bool:
        """Whether asyncio gave it its socket; then it will also take it back."""
        return self._transport is not None

    @property
    def pending(self) -> int:
        """Bytes of the next request's head, and of what was sent ahead of an answer."""
        return len(self._pending)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def loss(self) -> Loss:
        """What would be lost with it."""
        if self._closing:
            return Loss.NOTHING
        known = self._read_bytes != _STRANGERS_READ_BYTES
        if self._request is not None:
            return Loss.KNOWN_CALLERS_CALLS if known else Loss.STRANGERS_CALLS
        return Loss.IDLE if known else Loss.NOTHING

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio; over TLS the handshake is done."""
        # uvloop's are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=TAKE)
        if self._closing:  # by `give_way` or `abort`, which had no transport yet
            self.abort()
        elif self._server.draining:
            self.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._server.buffer[: self._read_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._closing:
            self._lingered += nbytes
            if self._lingered > _LINGER_BYTES:
                self.abort()
            return
        data = bytes(self._server.buffer[:nbytes])
        if self._request is None:
            self._pending += data
            self._next()
        else:
            self._request.feed(data)
            self.read_on()

    def eof_received(self) -> bool:
        """See asyncio. A peer that sends no more is taken for one that reads no more, as other servers do."""
        return False

    def pause_writing(self) -> None:
        """See asyncio."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio."""
        self._paused = False
        writable, self._writable = self._writable, None
        if writable is not None:
            self.guarded(writable)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._closing = self._paused = True
        self._writable = None
        self._end_request(RequestEnd.LOST)
        self._released()

    # Requests.

    def _next(self) -> None:
        """Begins the next request, where its head is there."""
        if self._closing or self._request is not None:
            return
        pending = self._pending
        if self._draining:
            self.close()
            return
        # Empty lines before a request are skipped (RFC 9112, 2.2).
        while pending.startswith(b"\r\n"):
            del pending[:2]
            self._searched = 0
        if not pending:
            self._head_since = None
            self.read_on()
            return
        if self._head_since is None:
            self._head_since = self.loop.time()
        at = pending.find(heads.END, self._searched)
        limit = self.limits.head_bytes
        if at > limit or (at < 0 and len(pending) > limit):
            self.counters.passed("head_bytes")
            text = f"the request's head is over the limit of {limit} bytes; send fewer or shorter fields"
            self._refuse_head(HeadRefused(431, text))
            return
        if at < 0:
            self._searched = max(len(pending) - len(heads.END) + 1, 0)
            self.read_on()
            return
        size = at + len(heads.END)
        raw, rest = bytes(pending[:size]), bytes(pending[size:])
        self._pending, self._searched, self._head_since = bytearray(), 0, None
        reader = HeadReader(self.limits.fields)
        try:
            head = reader.read(raw)
        except HeadRefused as refused:
            if refused.status == 431:
                self.counters.passed("fields")
            self._refuse_head(refused)
            return
        self._begin(head, reader, rest)

    def _begin(self, head: RequestHead, reader: HeadReader, rest: bytes) -> None:
        request = self._request = HttpRequest(self, head, reader)
        self.counters.streams += 1
        self.counters.opened += 1
        if rest:
            request.feed(rest)
        if not self.guarded(self._server.handler, request):
            self.last()
            self.answer_error(request, 500, "the server failed")
        self.read_on()

    def _refuse_head(self, refused: HeadRefused) -> None:
        self.counters.refused_heads += 1
        request = self._request = HttpRequest(self, _UNREAD, HeadReader(0))
        self.counters.streams += 1
        self._last = True
        self.answer_error(request, refused.status, refused.text)

    def answer_error(self, request: HttpRequest, status: int, text: str) -> None:
        """Answers in the engine's own words, unless an answer has begun: then the peer is cut off."""
        if request.begun:
            self.abort()
            return
        request.respond(status, (("content-type", "application/json"),), (request.error_body(status, text),), None)

    def _end_request(self, end: RequestEnd) -> None:
        request, self._request = self._request, None
        if request is not None:
            self.counters.streams -= 1
            request.ended(end)

    # What requests ask for.

    def trust(self) -> None:
        """A caller of it is known."""
        self._read_bytes = RECEIVE_BUFFER

    def last(self) -> None:
        """The connection ends with the request that is under way."""
        self._last = True

    def closes_after(self, request: HttpRequest) -> bool:
        """Whether the connection ends with a request."""
        return self._last or self._draining or not request.head.keep_alive or not request.complete

    def ahead(self, data: bytes) -> None:
        """Keeps what the peer sent ahead of its answer."""
        self._pending += data

    def account(self, amount: int) -> None:
        """Counts so many bytes more, or less, as held."""
        self.counters.held_bytes += amount

    def guarded(self, callback: Callable[..., object], *arguments: Any) -> bool:
        """Calls what is not the engine's; False if it raised."""
        return self._server.callbacks.guarded(callback, *arguments)

    def read_on(self) -> None:
        """Reads, or does not, as the request and what was sent ahead of its answer have it."""
        request, transport = self._request, self._transport
        if transport is None or self._closing or transport.is_closing():
            return
        known = self._read_bytes == RECEIVE_BUFFER
        most = self.limits.pipelined_bytes if known else _STRANGERS_READ_BYTES
        wanted = request is None or not (request.held_back or len(self._pending) >= most)
        if wanted and not self._reading:
            self._reading = True
            transport.resume_reading()
        elif not wanted and self._reading:
            self._reading = False
            transport.pause_reading()

    def write(self, data: Buffer) -> None:
        """Sends bytes."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            self._written += len(data)

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Calls back when the socket has taken all but a little; one at a time, in another turn of the loop."""
        if self._paused:
            self._writable = callback
        else:
            self.loop.call_soon(self._if_open, callback)

    def _if_open(self, callback: Callable[[], None]) -> None:
        if self._request is not None:
            self.guarded(callback)

    def answered(self, request: HttpRequest) -> None:
        """A request's answer is sent."""
        if request is not self._request:
            return
        closes = self.closes_after(request)
        refused = not request.wanted and self._read_bytes == _STRANGERS_READ_BYTES
        self._end_request(RequestEnd.ANSWERED)
        self._since = self.loop.time()
        if refused and not self._refusals.take(self._since):
            self.counters.passed("refusals")
            closes = True
        if closes:
            self.close(linger=True)
        else:
            self._next()

    # What the clock says.

    def check_times(self, now: float) -> None:
        """Ends what is behind its time."""
        transport = self._transport
        if transport is None:
            return
        if self._closing:
            if now - self._closing_since > _LINGER:
                self.abort()
            return
        if self._unsent.age(self._written, self.unsent, now) > self.limits.unread_answers:
            self.counters.passed("unread_answers")
            self.abort()
        elif self._request is not None:
            self._request.check_times(now)
        else:
            self._check_silence(now)

    def _check_silence(self, now: float) -> None:
        limits = self.limits
        if self._read_bytes == _STRANGERS_READ_BYTES:
            if now - self._since > limits.preface:
                self.counters.passed("preface")
                self.abort()
        elif self._head_since is not None:
            if now - self._head_since > limits.head:
                self.counters.passed("head")
                self.abort()
        elif now - self._since > limits.idle:
            self.counters.passed("idle")
            self.close()

    # The end.

    def drain(self) -> None:
        """Takes no more requests; the one that is under way is answered."""
        self._draining = True
        if self._request is None:
            self.close()

    def give_way(self) -> None:
        """Ends at once, to make room for another."""
        self.gives_way = True
        self.abort()

    def close(self, *, linger: bool = False) -> None:
        """Sends what is ready, and closes.

        Args:
            linger: whether to let the peer hang up first, so that it can read all that it was sent: what it has sent
                and nobody reads would make the kernel reset the connection.
        """
        transport = self._transport
        if self._closing or transport is None:
            return
        if linger and not transport.is_closing() and transport.can_write_eof():
            self._read_bytes = _LINGER_READ_BYTES
            self._closing, self._closing_since = True, self.loop.time()
            if not self._reading:
                transport.resume_reading()
            transport.write_eof()
        else:
            self._closing, self._closing_since = True, self.loop.time()
            transport.close()

    def abort(self) -> None:
        """Closes at once, whatever the socket has not taken."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()


# Of a request that could not be read.
_UNREAD = RequestHead("", (), "", (), 0, keep_alive=False, chunks=True, expects_continue=False)

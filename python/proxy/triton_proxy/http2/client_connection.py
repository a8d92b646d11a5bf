"""One connection of the client."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from triton_proxy.http2 import connection as http2
from triton_proxy.http2.client_call import ClientCall
from triton_proxy.http2.connection import ErrorCode, Role
from triton_proxy.http2.endpoint import Endpoint

if TYPE_CHECKING:
    from triton_proxy.http2.client import Http2Client

_KEEPALIVE = b"keepaliv"
# The kernel asks after 20 s of silence whether the server is there, and gives it up 15 s later; also where what
# it was sent is not acknowledged.
_SILENCE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 35_000),
)


class ClientConnection(Endpoint):
    """A connection to the server, with the calls that are on it.

    Attributes:
        going: whether it takes no more calls: the server said GOAWAY, or it is lost.
        began: when it was made, by the loop's clock.
    """

    def __init__(self, client: Http2Client) -> None:
        super().__init__(client.loop, client.buffer, client.callbacks)
        self._client = client
        self._calls: dict[int, ClientCall] = {}
        self.going = False
        self.began = client.loop.time()
        self._max_streams = 100  # until the server says otherwise
        # Set when the server has said its settings: "" then, else why it never will.
        self._ready: asyncio.Future[str] = client.loop.create_future()
        self._handlers = {
            http2.ResponseReceived: self._response,
            http2.DataReceived: self._data,
            http2.TrailersReceived: self._trailers,
            http2.StreamClosed: self._closed,
            http2.SettingsReceived: self._settings,
            http2.GoAwayReceived: self._goaway,
            http2.ConnectionEnded: lambda _: self.close(),
        }

    @property
    def streams(self) -> int:
        """Calls that are on it."""
        return len(self._calls)

    @property
    def takes_calls(self) -> bool:
        """Whether it takes another call now."""
        return not self.going and len(self._calls) < self._max_streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        made = transport.get_extra_info("socket")
        for level, option, value in _SILENCE:
            made.setsockopt(level, option, value)
        self._engine = self._client.make_engine(Role.CLIENT)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._closing = self._paused = self.going = True
        self._tell_ready(f"the server hung up before its first SETTINGS{f': {exc}' if exc else ''}")
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lost("the connection to the server was lost")
        self._writers.clear()
        self._client.lost(self)

    async def ready(self) -> None:
        """Wait until the server has said its settings: a TLS handshake may fail at its end alone, and after ours.

        Raises:
            OSError: it has hung up instead.
        """
        reason = await self._ready
        if reason:
            raise OSError(reason)

    def _tell_ready(self, reason: str) -> None:
        if not self._ready.done():
            self._ready.set_result(reason)

    def start(self, call: ClientCall) -> bool:
        """Send a call's head; False if the engine takes no more."""
        try:
            stream_id = self.engine.send_request(call.fields)
        except http2.NoMoreStreams:
            return False
        self._calls[stream_id] = call
        call.opened(self, stream_id)
        self.schedule_flush()
        return True

    def cancel(self, stream_id: int) -> None:
        """Reset a call."""
        if self._engine is not None and not self._closing:
            self._engine.reset(stream_id, ErrorCode.CANCEL)
            self.take_resets()
            self.schedule_flush()

    def account(self, amount: int) -> None:
        """Count so many bytes more, or less, as held."""
        self._client.counters.held_bytes += amount

    def check_times(self, now: float) -> None:
        """Ask a silent server whether it is there, and leave one that does not say so."""
        if self._engine is None or self._closing:
            return
        if self._pinged_at is not None and now - self._pinged_at > self._client.keepalive_answer:
            self._client.counters.passed("keepalive_answer")
            self.abort()
        elif self._calls and self._pinged_at is None and now - self.last_heard > self._client.keepalive:
            self._pinged_at = now
            self._engine.ping(_KEEPALIVE)
            self.schedule_flush()

    def _violated(self, violation: http2.PeerViolation) -> None:
        self._client.counters.violations += 1
        self.close()

    def _response(self, event: http2.ResponseReceived) -> None:
        call = self._calls.get(event.stream_id)
        if call is not None:
            call.response(event.fields, ended=event.end_stream)
            if event.end_stream:
                self._answered(event.stream_id, call)

    def _data(self, event: http2.DataReceived) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            self.acknowledge(event.stream_id, len(event.data))
        else:
            call.data(event.data, ended=event.end_stream, now=self.last_heard)

    def _trailers(self, event: http2.TrailersReceived) -> None:
        call = self._calls.get(event.stream_id)
        if call is not None:
            call.ended(event.fields)
            self._answered(event.stream_id, call)

    def _answered(self, stream_id: int, call: ClientCall) -> None:
        # A client that got trailers and has not ended its side resets it (PROTOCOL-HTTP2, "Early Server Closure").
        if not call.half_closed:
            self.engine.reset(stream_id, ErrorCode.NO_ERROR)

    def _closed(self, event: http2.StreamClosed) -> None:
        call = self._calls.pop(event.stream_id, None)
        if call is not None:
            call.closed(event.error)
            self._client.has_room()

    def _settings(self, event: http2.SettingsReceived) -> None:
        if event.max_streams is not None:
            self._max_streams = event.max_streams
        self._tell_ready("")
        self._client.has_room()

    def _goaway(self, event: http2.GoAwayReceived) -> None:
        if not self.going:
            self.going = True
            self._client.replace(self)

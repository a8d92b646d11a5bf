"""The connection by `h2` (hyper-h2): all Python, the second judge in tests and the fallback.

h2 leaves to its user what libnghttp2 does itself: queues of bodies, cutting them into frames, saying that a stream is
over, and GOAWAY while streams go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.connection import ConnectionInputs
from h2.settings import SettingCodes, Settings

from triton_proxy.http2 import connection as http2
from triton_proxy.http2.connection import Buffer, ConnectionSettings, ErrorCode, Event, Fields, Role


class _StateMachine(h2.connection.H2ConnectionStateMachine):
    """h2 takes a connection for closed after GOAWAY, while its streams may go on (RFC 9113, 6.8)."""

    def process_input(self, input_: ConnectionInputs) -> list[h2.events.Event]:
        """Go on after GOAWAY."""
        return [] if input_ is ConnectionInputs.RECV_GOAWAY else super().process_input(input_)


class _Engine(h2.connection.H2Connection):
    """h2 throws away what it has to send when GOAWAY comes, answers of open streams and HPACK's state among it."""

    def clear_outbound_data_buffer(self) -> None:
        """Keep it."""


class _Body:
    """What is queued of one stream's body."""

    __slots__ = ("chunks", "ended", "offset", "open", "queued", "remote_ended", "sent_end", "trailers")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.offset = 0
        self.queued = 0
        self.open = False  # a head was sent, and no end
        self.ended = False
        self.sent_end = False
        self.remote_ended = False
        self.trailers: Fields | None = None


class H2Connection:
    """`connection.Connection` by hyper-h2."""

    def __init__(self, role: Role, settings: ConnectionSettings) -> None:
        client = role is Role.CLIENT
        self._engine = _Engine(
            h2.config.H2Configuration(client_side=client, header_encoding=False, normalize_inbound_headers=False)
        )
        self._engine.state_machine = _StateMachine()
        self._settings = settings
        asked = {
            SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window,
            SettingCodes.MAX_FRAME_SIZE: settings.max_frame,
            SettingCodes.MAX_CONCURRENT_STREAMS: settings.max_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: settings.header_bytes,
        }
        if client:
            asked[SettingCodes.ENABLE_PUSH] = 0
        # Values that are set later are not sent with the first SETTINGS.
        self._engine.local_settings = Settings(client=client, initial_values=asked)
        self._engine.max_inbound_frame_size = settings.max_frame
        self._engine.initiate_connection()
        self._engine.decoder.max_header_list_size = settings.header_bytes_cut
        self._engine.increment_flow_control_window(settings.connection_window - 65535)
        self._bodies: dict[int, _Body] = {}
        self._events: list[Event] = []
        self._out = bytearray()  # frames that h2 does not make
        self._staged = b""
        self._goaway = self._peer_goaway = False
        self._last_stream = http2.LARGEST_STREAM_ID
        self._over = False
        self._last_error = 0

    def feed(self, data: Buffer) -> None:
        """See `Connection`."""
        try:
            events = self._engine.receive_data(bytes(data))
        except h2.exceptions.DenialOfServiceError as e:
            raise self._violated(ErrorCode.ENHANCE_YOUR_CALM, e) from None
        except (h2.exceptions.H2Error, ValueError) as e:
            error = getattr(e, "error_code", ErrorCode.PROTOCOL_ERROR)
            raise self._violated(ErrorCode(error), e) from None
        for event in events:
            report = _REPORTS.get(type(event))
            if report is not None:
                report(self, event)
        self._end_if_done()

    def _violated(self, error: ErrorCode, cause: Exception) -> http2.PeerViolation:
        self._over = True
        self._bodies.clear()
        return http2.PeerViolation(error, str(cause))

    def events(self) -> Sequence[Event]:
        """See `Connection`."""
        events, self._events = self._events, []
        return events

    def data_to_send(self, limit: int) -> bytes:
        """See `Connection`."""
        if len(self._staged) < limit:
            self._pump(limit - len(self._staged))
            self._staged += self._engine.data_to_send() + bytes(self._out)
            self._out.clear()
        data = self._staged[:limit]
        self._staged = self._staged[limit:]
        return data

    def _pump(self, limit: int) -> None:
        for stream_id, body in list(self._bodies.items()):
            if body.open:
                limit = self._pump_stream(stream_id, body, limit)
            if limit <= 0:
                return

    def _pump_stream(self, stream_id: int, body: _Body, limit: int) -> int:
        while body.chunks and limit > 0:
            window = self._engine.local_flow_control_window(stream_id)
            chunk = body.chunks[0]
            size = min(window, self._engine.max_outbound_frame_size, len(chunk) - body.offset)
            if size <= 0:
                return limit
            end = body.offset + size
            last = body.ended and body.trailers is None and size == body.queued
            self._engine.send_data(stream_id, chunk[body.offset : end], end_stream=last)
            body.offset, body.queued, limit = end, body.queued - size, limit - size
            if end == len(chunk):
                body.chunks.popleft()
                body.offset = 0
            if last:
                self._sent_end(stream_id, body)
                return limit
        if body.ended and not body.chunks:
            if body.trailers is None:
                self._engine.end_stream(stream_id)
            else:
                self._engine.send_headers(stream_id, body.trailers, end_stream=True)
            self._sent_end(stream_id, body)
        return limit

    def _sent_end(self, stream_id: int, body: _Body) -> None:
        body.open = False
        body.sent_end = True
        self._close_if_done(stream_id, body)

    def _close_if_done(self, stream_id: int, body: _Body) -> None:
        if body.sent_end and body.remote_ended:
            self._closed(stream_id, 0)

    def _closed(self, stream_id: int, error: int) -> None:
        if self._bodies.pop(stream_id, None) is not None:
            self._events.append(http2.StreamClosed(stream_id, error))
            self._end_if_done()

    def _end_if_done(self) -> None:
        if (self._goaway or self._peer_goaway) and not self._bodies and not self._over:
            self._over = True
            self._events.append(http2.ConnectionEnded(self._last_error))

    def send_request(self, fields: Fields, *, end_stream: bool = False) -> int:
        """See `Connection`."""
        if self._over or self._peer_goaway:
            raise http2.NoMoreStreams("the connection takes no more requests")
        try:
            stream_id = self._engine.get_next_available_stream_id()
            self._engine.send_headers(stream_id, fields, end_stream=end_stream)
        except h2.exceptions.H2Error as e:
            raise http2.NoMoreStreams(str(e)) from None
        body = self._bodies[stream_id] = _Body()
        body.open, body.ended, body.sent_end = not end_stream, end_stream, end_stream
        return stream_id

    def _body(self, stream_id: int) -> _Body:
        body = self._bodies.get(stream_id)
        if body is None or body.ended:
            raise http2.StreamGone("the stream takes no more bytes")
        return body

    def send_response(self, stream_id: int, fields: Fields, *, end_stream: bool = False) -> None:
        """See `Connection`."""
        body = self._body(stream_id)
        if body.open:
            raise http2.StreamGone("the stream was answered")
        self._engine.send_headers(stream_id, fields, end_stream=end_stream)
        body.open, body.ended = not end_stream, end_stream
        if end_stream:
            self._sent_end(stream_id, body)

    def send_data(self, stream_id: int, data: Buffer, *, end_stream: bool = False) -> None:
        """See `Connection`."""
        body = self._body(stream_id)
        if not body.open:
            raise http2.StreamGone("the stream has no head")
        if data:
            body.chunks.append(bytes(data))
            body.queued += len(data)
        body.ended = end_stream

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """See `Connection`."""
        self.send_data(stream_id, b"", end_stream=True)
        self._bodies[stream_id].trailers = list(fields)

    def reset(self, stream_id: int, error: ErrorCode) -> None:
        """See `Connection`."""
        if self._over or stream_id not in self._bodies:
            return
        self._engine.reset_stream(stream_id, int(error))
        self._closed(stream_id, error)

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """See `Connection`."""
        if not self._over and amount:
            self._engine.acknowledge_received_data(amount, stream_id)

    def widen(self, stream_id: int, window: int) -> None:
        """See `Connection`."""
        try:
            more = window - self._engine.remote_flow_control_window(stream_id)
            if more > 0:
                self._engine.increment_flow_control_window(more, stream_id)
        except h2.exceptions.H2Error:
            return

    def ping(self, opaque: bytes) -> None:
        """See `Connection`."""
        if not self._over:
            self._engine.ping(opaque)

    def shutdown_notice(self) -> None:
        """See `Connection`."""
        self._out += http2.goaway_frame(http2.LARGEST_STREAM_ID, ErrorCode.NO_ERROR)

    def goaway(self, error: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """See `Connection`."""
        # h2 takes a connection for closed when it has sent a GOAWAY.
        self._last_error = int(error)
        self._goaway, self._last_stream = True, self._engine.highest_inbound_stream_id
        frame = http2.goaway_frame(self._last_stream, error) + debug
        self._out += (len(frame) - 9).to_bytes(3, "big") + frame[3:]
        self._end_if_done()

    def queued(self, stream_id: int | None = None) -> int:
        """See `Connection`."""
        if stream_id is None:
            return sum(body.queued for body in self._bodies.values())
        body = self._bodies.get(stream_id)
        return body.queued if body is not None else 0

    def end_was_sent(self, stream_id: int) -> bool:
        """See `Connection`."""
        body = self._bodies.get(stream_id)
        return body is None or body.sent_end

    # What h2 reports.

    def _request(self, event: Any) -> None:
        if event.stream_id > self._last_stream:
            self._engine.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        self._bodies[event.stream_id] = _Body()
        ended = event.stream_ended is not None
        self._events.append(http2.RequestReceived(event.stream_id, tuple(map(tuple, event.headers)), ended))
        self._remote_end(event)

    def _response(self, event: Any) -> None:
        ended = event.stream_ended is not None
        self._events.append(http2.ResponseReceived(event.stream_id, tuple(map(tuple, event.headers)), ended))
        self._remote_end(event)

    def _trailers(self, event: Any) -> None:
        self._events.append(http2.TrailersReceived(event.stream_id, tuple(map(tuple, event.headers))))
        self._remote_end(event)

    def _data(self, event: Any) -> None:
        padding = event.flow_controlled_length - len(event.data)
        if padding:
            self._engine.acknowledge_received_data(padding, event.stream_id)
        if event.stream_id not in self._bodies:
            self._engine.acknowledge_received_data(len(event.data), event.stream_id)
            return
        ended = event.stream_ended is not None
        self._events.append(http2.DataReceived(event.stream_id, event.data, ended))
        self._remote_end(event)

    def _remote_end(self, event: Any) -> None:
        body = self._bodies.get(event.stream_id)
        if body is not None and event.stream_ended is not None:
            body.remote_ended = True
            self._close_if_done(event.stream_id, body)

    def _reset(self, event: Any) -> None:
        if event.remote_reset:
            self._events.append(http2.StreamReset(event.stream_id, int(event.error_code)))
        self._closed(event.stream_id, int(event.error_code))

    def _settings_changed(self, event: Any) -> None:
        changed = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
        self._events.append(http2.SettingsReceived(None if changed is None else changed.new_value))

    def _settings_acknowledged(self, _event: Any) -> None:
        # h2 now holds the decoder to what is advertised, which refuses the stream instead; see ConnectionSettings.
        self._engine.decoder.max_header_list_size = self._settings.header_bytes_cut
        self._events.append(http2.SettingsAcknowledged())

    def _terminated(self, event: Any) -> None:
        self._peer_goaway = True
        self._last_error = int(event.error_code)
        debug = event.additional_data or b""
        self._events.append(http2.GoAwayReceived(event.last_stream_id, int(event.error_code), debug))
        if self._engine.config.client_side:
            for stream_id in [each for each in self._bodies if each > event.last_stream_id]:
                self._closed(stream_id, ErrorCode.REFUSED_STREAM)


_REPORTS: dict[type[h2.events.Event], Callable[[H2Connection, Any], None]] = {
    h2.events.RequestReceived: H2Connection._request,
    h2.events.ResponseReceived: H2Connection._response,
    h2.events.TrailersReceived: H2Connection._trailers,
    h2.events.DataReceived: H2Connection._data,
    h2.events.StreamReset: H2Connection._reset,
    h2.events.RemoteSettingsChanged: H2Connection._settings_changed,
    h2.events.SettingsAcknowledged: H2Connection._settings_acknowledged,
    h2.events.ConnectionTerminated: H2Connection._terminated,
    h2.events.PingReceived: lambda c, e: c._events.append(http2.PingReceived(e.ping_data)),
    h2.events.PingAckReceived: lambda c, e: c._events.append(http2.PingAcknowledged(e.ping_data)),
    h2.events.WindowUpdated: lambda c, e: c._events.append(http2.WindowUpdated(e.stream_id or 0)),
}

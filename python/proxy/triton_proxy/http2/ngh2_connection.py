"""The connection by `ngh2`: libnghttp2, the HTTP/2 of curl, Apache and nghttpx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ngh2

from triton_proxy.http2 import connection as http2
from triton_proxy.http2.connection import Buffer, ConnectionSettings, ErrorCode, Event, Fields, Role

_MAX_STREAMS = int(ngh2.Setting.MAX_CONCURRENT_STREAMS)
# What nghttp2 counts for itself. We count events, for both engines alike, and nghttp2 must not come first: its default
# of 33 resets a second cuts off a client that cancels a lot.
_NO_RATE = (1 << 62, 1 << 62)
_GONE = (ngh2.StreamProtocolError, ngh2.ConnectionStateError, ngh2.ConnectionClosingError, ngh2.ConnectionProtocolError)
# nghttp2's words for a GOAWAY that names the last stream of the peer's own. RFC 9113 (6.8) means ours, of which there
# are none; grpc-go names its own whenever it closes a connection, and breaks nothing by it.
_OWN_LAST_STREAM = b"GOAWAY: invalid last_stream_id"


def _headers(event: Any) -> tuple[tuple[bytes, bytes], ...]:
    # NeverIndexedHeader is a tuple, too; it compares as one.
    fields: tuple[tuple[bytes, bytes], ...] = event.headers
    return fields


def _ended(event: ngh2.ConnectionClosed) -> http2.ConnectionEnded:
    leaves = event.debug_data == _OWN_LAST_STREAM
    return http2.ConnectionEnded(ErrorCode.NO_ERROR if leaves else event.error_code)


# Events that say nothing we need are left out.
_EVENTS: dict[type[ngh2.Event], Callable[[Any], Event]] = {
    ngh2.RequestReceived: lambda e: http2.RequestReceived(e.stream_id, _headers(e), e.end_stream),
    ngh2.ResponseReceived: lambda e: http2.ResponseReceived(e.stream_id, _headers(e), e.end_stream),
    ngh2.TrailersReceived: lambda e: http2.TrailersReceived(e.stream_id, _headers(e)),
    ngh2.DataReceived: lambda e: http2.DataReceived(e.stream_id, e.data, e.end_stream),
    ngh2.StreamReset: lambda e: http2.StreamReset(e.stream_id, e.error_code),
    ngh2.StreamClosed: lambda e: http2.StreamClosed(e.stream_id, e.error_code),
    ngh2.SettingsReceived: lambda e: http2.SettingsReceived(e.settings.get(_MAX_STREAMS)),
    ngh2.SettingsAcknowledged: lambda e: http2.SettingsAcknowledged(),
    ngh2.PingReceived: lambda e: http2.PingReceived(e.opaque_data),
    ngh2.PingAcknowledged: lambda e: http2.PingAcknowledged(e.opaque_data),
    ngh2.WindowUpdated: lambda e: http2.WindowUpdated(e.stream_id),
    ngh2.GoAwayReceived: lambda e: http2.GoAwayReceived(e.last_stream_id, e.error_code, e.debug_data),
    ngh2.ConnectionClosed: _ended,
}


class Ngh2Connection:
    """`connection.Connection` by libnghttp2."""

    def __init__(self, role: Role, settings: ConnectionSettings) -> None:
        self._engine = ngh2.Connection(
            ngh2.Role.SERVER if role is Role.SERVER else ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=False,
                peer_max_concurrent_streams=100,
                stream_reset_rate_limit=_NO_RATE,
                max_inbound_header_list_size=settings.header_bytes_cut,
                max_inbound_header_count=settings.header_fields,
            ),
        )
        asked = {
            ngh2.Setting.INITIAL_WINDOW_SIZE: settings.stream_window,
            ngh2.Setting.MAX_FRAME_SIZE: settings.max_frame,
            ngh2.Setting.MAX_CONCURRENT_STREAMS: settings.max_streams,
            ngh2.Setting.MAX_HEADER_LIST_SIZE: settings.header_bytes,
        }
        if role is Role.CLIENT:
            asked[ngh2.Setting.ENABLE_PUSH] = 0
        self._engine.initiate_connection(asked)
        self._engine.set_local_window_size(settings.connection_window)
        self._last_stream = 0
        self._ended = False
        self._violation: bytes | None = None

    def feed(self, data: Buffer) -> None:
        """See `Connection`."""
        if self._ended:
            return
        try:
            self._engine.receive_data(data)
        except ngh2.DenialOfServiceError as e:
            raise self._violated(ErrorCode.ENHANCE_YOUR_CALM, e) from None
        except (ngh2.NGH2Error, ValueError) as e:
            raise self._violated(ErrorCode.PROTOCOL_ERROR, e) from None

    def _violated(self, error: ErrorCode, cause: Exception) -> http2.PeerViolation:
        # ngh2 has given its session up, and with it the GOAWAY that would have said why.
        self._violation = http2.goaway_frame(self._last_stream, error)
        return http2.PeerViolation(error, str(cause))

    def events(self) -> Sequence[Event]:
        """See `Connection`."""
        events: list[Event] = []
        for event in self._engine.events():
            make = _EVENTS.get(type(event))
            if make is not None:
                events.append(make(event))
                if type(event) is ngh2.RequestReceived:
                    self._last_stream = event.stream_id
                elif type(event) is ngh2.ConnectionClosed:
                    self._ended = True
        return events

    def data_to_send(self, limit: int) -> bytes:
        """See `Connection`."""
        if self._violation is not None:
            frame, self._violation = self._violation, b""
            return frame
        # Without a limit ngh2 puts bodies into frames without a copy in between.
        return self._engine.data_to_send(None if self._engine.queued_body_size() <= limit else limit)

    def send_request(self, fields: Fields, *, end_stream: bool = False) -> int:
        """See `Connection`."""
        try:
            return self._engine.send_request(fields, end_stream=end_stream)
        except (*_GONE, ngh2.NoAvailableStreamIDError) as e:
            raise http2.NoMoreStreams(str(e)) from None

    def send_response(self, stream_id: int, fields: Fields, *, end_stream: bool = False) -> None:
        """See `Connection`."""
        try:
            self._engine.send_response(stream_id, fields, end_stream=end_stream)
        except _GONE as e:
            raise http2.StreamGone(str(e)) from None

    def send_data(self, stream_id: int, data: Buffer, *, end_stream: bool = False) -> None:
        """See `Connection`."""
        try:
            self._engine.send_data(stream_id, data, end_stream=end_stream)
        except _GONE as e:
            raise http2.StreamGone(str(e)) from None

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """See `Connection`."""
        try:
            self._engine.send_trailers(stream_id, fields)
        except _GONE as e:
            raise http2.StreamGone(str(e)) from None

    def reset(self, stream_id: int, error: ErrorCode) -> None:
        """See `Connection`."""
        try:
            self._engine.reset_stream(stream_id, error)
        except _GONE:
            return

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """See `Connection`."""
        try:
            self._engine.acknowledge_received_data(amount, stream_id)
        except _GONE:
            return

    def widen(self, stream_id: int, window: int) -> None:
        """See `Connection`."""
        try:
            self._engine.set_local_window_size(window, stream_id=stream_id)
        except _GONE:
            return

    def ping(self, opaque: bytes) -> None:
        """See `Connection`."""
        try:
            self._engine.ping(opaque)
        except _GONE:
            return

    def shutdown_notice(self) -> None:
        """See `Connection`."""
        try:
            self._engine.send_shutdown_notice()
        except _GONE:
            return

    def goaway(self, error: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """See `Connection`."""
        try:
            self._engine.send_goaway(error, debug_data=debug)
        except _GONE:
            return

    def queued(self, stream_id: int | None = None) -> int:
        """See `Connection`."""
        return self._engine.queued_body_size(stream_id)

    def end_was_sent(self, stream_id: int) -> bool:
        """See `Connection`."""
        if self._engine.queued_body_size(stream_id):
            return False
        try:
            # An end without bytes waits for a window, too: nghttp2 asks for the body only where one is open.
            return self._engine.remote_window_size > 0 and self._engine.stream_remote_window_size(stream_id) > 0
        except _GONE:
            return True

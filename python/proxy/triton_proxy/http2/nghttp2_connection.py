"""A client's connection by libnghttp2's own C API, which has a switch that `ngh2` does not pass on.

Triton ends some of its error texts with a blank, which RFC 9113 (8.2.1) forbids and libnghttp2 answers with a reset,
unless it is told otherwise. Nothing else is different from `ngh2_connection`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from triton_proxy.http2 import connection as http2
from triton_proxy.http2.connection import Buffer, ConnectionSettings, ErrorCode, Event, Fields, Role
from triton_proxy.http2.nghttp2_api import (
    DATA_FLAG_EOF,
    DATA_FLAG_NO_END_STREAM,
    ERR_CALLBACK_FAILURE,
    ERR_DEFERRED,
    ERR_FLOODED,
    ffi,
    lib,
)

_LOG = logging.getLogger(__name__)
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 1
_ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME, _MAX_HEADER_LIST = 2, 3, 4, 5, 6
# The 32 bytes that RFC 9113, 10.5.1, counts for each field.
_FIELD_BYTES = 32


class _Body:
    """What is to be sent of a stream that is open."""

    __slots__ = ("at", "chunks", "deferred", "end_taken", "ended", "size", "trailers")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.at = 0  # bytes of the first chunk that are taken
        self.size = 0
        self.ended = self.end_taken = False
        self.deferred = False  # libnghttp2 has asked for more, and will not ask again by itself
        self.trailers: Fields = ()


class _Session:
    """What libnghttp2's callbacks write to. It does not know its connection: that would be a circle."""

    __slots__ = ("bodies", "error", "events", "fields", "leaving", "left_bytes", "left_fields", "limits", "queued")

    def __init__(self, settings: ConnectionSettings) -> None:
        self.limits = (settings.header_bytes_cut, settings.header_fields)
        self.events: list[Event] = []
        self.fields: list[tuple[bytes, bytes]] = []
        self.left_bytes, self.left_fields = self.limits
        self.bodies: dict[int, _Body] = {}
        self.queued = 0
        self.leaving = False  # a GOAWAY came or went
        self.error = 0  # of the last


@lru_cache(256)
def _pair(name: bytes, value: bytes) -> tuple[Any, Any, Any]:
    """A header field for libnghttp2, and what must live as long."""
    kept = ffi.from_buffer(name), ffi.from_buffer(value)
    return ffi.new("nghttp2_nv *", (*kept, len(name), len(value), 0))[0], *kept


@lru_cache(64)
def _array(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[Any, list[tuple[Any, Any, Any]]]:
    pairs = [_pair(*field) for field in fields]
    return ffi.new("nghttp2_nv[]", [pair[0] for pair in pairs]), pairs


def _on_begin_headers(_session: Any, _frame: Any, user_data: Any) -> int:
    # A list that was broken off must not become part of another.
    state: _Session = ffi.from_handle(user_data)
    state.fields = []
    state.left_bytes, state.left_fields = state.limits
    return 0


def _on_header(
    _session: Any, _frame: Any, name: Any, name_size: int, value: Any, value_size: int, _flags: int, user_data: Any
) -> int:
    state: _Session = ffi.from_handle(user_data)
    state.left_bytes -= name_size + value_size + _FIELD_BYTES
    state.left_fields -= 1
    if state.left_bytes < 0 or state.left_fields < 0:
        return ERR_CALLBACK_FAILURE
    state.fields.append((ffi.unpack(name, name_size), ffi.unpack(value, value_size)))
    return 0


def _on_data_chunk(_session: Any, _flags: int, stream_id: int, data: Any, size: int, user_data: Any) -> int:
    ffi.from_handle(user_data).events.append(http2.DataReceived(stream_id, ffi.unpack(data, size), False))
    return 0


def _on_frame(_session: Any, frame: Any, user_data: Any) -> int:
    head = frame.hd
    make = _FRAMES.get(head.type)
    if make is not None:
        state: _Session = ffi.from_handle(user_data)
        event = make(state, frame, head)
        if event is not None:
            state.events.append(event)
    return 0


def _headers(state: _Session, _frame: Any, head: Any) -> Event | None:
    fields = tuple(state.fields)
    status = fields[0] if fields and fields[0][0] == b":status" else None
    if status is None:
        return http2.TrailersReceived(head.stream_id, fields)
    if status[1][:1] == b"1":
        return None
    return http2.ResponseReceived(head.stream_id, fields, bool(head.flags & _END_STREAM))


def _data(_state: _Session, _frame: Any, head: Any) -> Event | None:
    return http2.DataReceived(head.stream_id, b"", True) if head.flags & _END_STREAM else None


def _settings(_state: _Session, frame: Any, head: Any) -> Event:
    if head.flags & _ACK:
        return http2.SettingsAcknowledged()
    asked = frame.settings
    values = {entry.settings_id: entry.value for entry in (asked.iv[n] for n in range(asked.niv))}
    return http2.SettingsReceived(values.get(_MAX_STREAMS))


def _ping(_state: _Session, frame: Any, head: Any) -> Event:
    opaque = ffi.unpack(frame.ping.opaque_data, 8)
    return http2.PingAcknowledged(opaque) if head.flags & _ACK else http2.PingReceived(opaque)


def _goaway(state: _Session, frame: Any, _head: Any) -> Event:
    away = frame.goaway
    state.leaving, state.error = True, away.error_code
    debug = ffi.unpack(away.opaque_data, away.opaque_data_len) if away.opaque_data_len else b""
    return http2.GoAwayReceived(away.last_stream_id, away.error_code, debug)


_FRAMES: dict[int, Callable[[_Session, Any, Any], Event | None]] = {
    _DATA: _data,
    _HEADERS: _headers,
    _RST_STREAM: lambda _, frame, head: http2.StreamReset(head.stream_id, frame.rst_stream.error_code),
    _SETTINGS: _settings,
    _PING: _ping,
    _GOAWAY: _goaway,
    _WINDOW_UPDATE: lambda _, frame, head: http2.WindowUpdated(head.stream_id),
}


def _on_stream_close(_session: Any, stream_id: int, error: int, user_data: Any) -> int:
    state: _Session = ffi.from_handle(user_data)
    body = state.bodies.pop(stream_id, None)
    if body is not None:
        state.queued -= body.size
    state.events.append(http2.StreamClosed(stream_id, error))
    return 0


def _read(
    session: Any, stream_id: int, into: Any, most: int, flags: Any, _source: Any, user_data: Any
) -> int:  # fmt: skip
    """Puts queued bytes into a DATA frame."""
    state: _Session = ffi.from_handle(user_data)
    body = state.bodies[stream_id]
    chunks = body.chunks
    taken = 0
    while chunks and taken < most:
        chunk = chunks[0]
        size = min(len(chunk) - body.at, most - taken)
        ffi.memmove(into + taken, memoryview(chunk)[body.at : body.at + size] if size < len(chunk) else chunk, size)
        taken += size
        body.at += size
        if body.at == len(chunk):
            chunks.popleft()
            body.at = 0
    body.size -= taken
    state.queued -= taken
    if chunks:
        return taken
    if body.ended:
        body.end_taken = True
        flags[0] = DATA_FLAG_EOF
        if body.trailers:
            flags[0] |= DATA_FLAG_NO_END_STREAM
            array, _kept = _array(tuple(body.trailers))
            lib.nghttp2_submit_trailer(session, stream_id, array, len(body.trailers))
    elif not taken:
        body.deferred = True
        return ERR_DEFERRED
    return taken


def _raised(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    _LOG.error("a callback of libnghttp2 raised", exc_info=(kind, error, trace))


class _Library:
    """What all connections share: callbacks and options. libnghttp2 copies them into each session."""

    def __init__(self) -> None:
        def callback(kind: str, function: Callable[..., int]) -> Any:
            return ffi.callback(kind, function, error=ERR_CALLBACK_FAILURE, onerror=_raised)

        frame = "int(nghttp2_session *, const nghttp2_frame *, void *)"
        callbacks = {
            "on_begin_headers": callback(frame, _on_begin_headers),
            "on_header": callback(
                "int(nghttp2_session *, const nghttp2_frame *, const char *, size_t, const char *, size_t, uint8_t,"
                " void *)",
                _on_header,
            ),
            "on_frame_recv": callback(frame, _on_frame),
            "on_data_chunk_recv": callback(
                "int(nghttp2_session *, uint8_t, int32_t, const char *, size_t, void *)", _on_data_chunk
            ),
            "on_stream_close": callback("int(nghttp2_session *, int32_t, uint32_t, void *)", _on_stream_close),
        }
        read = callback("read_callback2", _read)
        self._kept = (callbacks, read)
        made = ffi.new("nghttp2_session_callbacks **")
        lib.nghttp2_session_callbacks_new(made)
        self.callbacks = made[0]
        for name, each in callbacks.items():
            getattr(lib, f"nghttp2_session_callbacks_set_{name}_callback")(self.callbacks, each)
        option = ffi.new("nghttp2_option **")
        lib.nghttp2_option_new(option)
        self.option = option[0]
        lib.nghttp2_option_set_no_auto_window_update(self.option, 1)
        lib.nghttp2_option_set_peer_max_concurrent_streams(self.option, 100)
        lib.nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(self.option, 1)
        self.provider = ffi.new("nghttp2_data_provider2 *", {"read_callback": read})


_library = cache(_Library)


class Nghttp2Connection:
    """`connection.Connection` by libnghttp2's C API; the client's side only."""

    def __init__(self, role: Role, settings: ConnectionSettings) -> None:
        if role is not Role.CLIENT:
            raise ValueError("a server keeps to RFC 9113 in what it takes: use Ngh2Connection")
        library = _library()
        self._state = _Session(settings)
        self._handle = ffi.new_handle(self._state)
        made = ffi.new("nghttp2_session **")
        lib.nghttp2_session_client_new2(made, library.callbacks, self._handle, library.option)
        self._session = ffi.gc(made[0], lib.nghttp2_session_del)
        self._provider = library.provider
        self._out = ffi.new("const char **")
        self._ended = False
        self._violation: bytes | None = None
        asked = [
            (_ENABLE_PUSH, 0),
            (_MAX_STREAMS, settings.max_streams),
            (_INITIAL_WINDOW, settings.stream_window),
            (_MAX_FRAME, settings.max_frame),
            (_MAX_HEADER_LIST, settings.header_bytes),
        ]
        lib.nghttp2_submit_settings(self._session, 0, asked, len(asked))
        lib.nghttp2_session_set_local_window_size(self._session, 0, 0, settings.connection_window)

    def feed(self, data: Buffer) -> None:
        """See `Connection`."""
        if self._ended:
            return
        # It may come as a view of a larger buffer, which is not to be copied.
        buffer = ffi.from_buffer(data)
        result = lib.nghttp2_session_mem_recv2(self._session, buffer, len(buffer))
        if result < 0:
            # libnghttp2 has given the session up, and with it the GOAWAY that would have said why.
            self._ended = True
            calm = result in (ERR_CALLBACK_FAILURE, ERR_FLOODED)
            error = ErrorCode.ENHANCE_YOUR_CALM if calm else ErrorCode.PROTOCOL_ERROR
            self._violation = http2.goaway_frame(0, error)
            raise http2.PeerViolation(error, ffi.string(lib.nghttp2_strerror(result)).decode())
        self._look_for_the_end()

    def events(self) -> Sequence[Event]:
        """See `Connection`."""
        state = self._state
        events, state.events = state.events, []
        return events

    def data_to_send(self, limit: int) -> bytes:
        """See `Connection`."""
        if self._violation is not None:
            frame, self._violation = self._violation, b""
            return frame
        if self._ended:
            return b""
        session, out = self._session, self._out
        frames: list[bytes] = []
        left = limit
        while left > 0:
            size = lib.nghttp2_session_mem_send2(session, out)
            if size <= 0:
                if size < 0:
                    self._end(ErrorCode.INTERNAL_ERROR)
                break
            frame = ffi.unpack(out[0], size)
            frames.append(frame)
            left -= size
            if frame[3] == _GOAWAY and size > 9:
                self._state.leaving, self._state.error = True, int.from_bytes(frame[13:17], "big")
        self._look_for_the_end()
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _look_for_the_end(self) -> None:
        if self._state.leaving and not self._ended:
            wants = lib.nghttp2_session_want_read(self._session) or lib.nghttp2_session_want_write(self._session)
            if not wants:
                self._end(self._state.error)

    def _end(self, error: int) -> None:
        self._ended = True
        self._state.events.append(http2.ConnectionEnded(error))

    def send_request(self, fields: Fields, *, end_stream: bool = False) -> int:
        """See `Connection`."""
        if self._ended or not lib.nghttp2_session_check_request_allowed(self._session):
            raise http2.NoMoreStreams("the connection takes no further request")
        array, _kept = _array(tuple(fields))
        provider = ffi.NULL if end_stream else self._provider
        stream_id = lib.nghttp2_submit_request2(self._session, ffi.NULL, array, len(fields), provider, ffi.NULL)
        if stream_id < 0:
            raise http2.NoMoreStreams(ffi.string(lib.nghttp2_strerror(stream_id)).decode())
        body = self._state.bodies[stream_id] = _Body()
        body.ended = body.end_taken = end_stream
        return int(stream_id)

    def send_response(self, stream_id: int, fields: Fields, *, end_stream: bool = False) -> None:
        """See `Connection`."""
        raise http2.StreamGone("a client answers nothing")

    def send_data(self, stream_id: int, data: Buffer, *, end_stream: bool = False) -> None:
        """See `Connection`."""
        body = self._writable(stream_id)
        if data:
            body.chunks.append(data if isinstance(data, bytes) else bytes(data))
            body.size += len(data)
            self._state.queued += len(data)
        body.ended = end_stream
        self._resume(stream_id, body)

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """See `Connection`."""
        body = self._writable(stream_id)
        body.ended, body.trailers = True, fields
        self._resume(stream_id, body)

    def _writable(self, stream_id: int) -> _Body:
        body = self._state.bodies.get(stream_id)
        if body is None or body.ended or self._ended:
            raise http2.StreamGone(f"stream {stream_id} takes no more bytes")
        return body

    def _resume(self, stream_id: int, body: _Body) -> None:
        if body.deferred:
            body.deferred = False
            lib.nghttp2_session_resume_data(self._session, stream_id)

    def reset(self, stream_id: int, error: ErrorCode) -> None:
        """See `Connection`."""
        if stream_id in self._state.bodies and not self._ended:
            lib.nghttp2_submit_rst_stream(self._session, 0, stream_id, error)

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """See `Connection`."""
        if not self._ended:
            lib.nghttp2_session_consume(self._session, stream_id, amount)

    def widen(self, stream_id: int, window: int) -> None:
        """See `Connection`."""
        if not self._ended:
            lib.nghttp2_session_set_local_window_size(self._session, 0, stream_id, window)

    def ping(self, opaque: bytes) -> None:
        """See `Connection`."""
        if not self._ended:
            lib.nghttp2_submit_ping(self._session, 0, opaque)

    def shutdown_notice(self) -> None:
        """See `Connection`."""

    def goaway(self, error: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """See `Connection`."""
        if not self._ended:
            # A client never serves a stream, so that the last is 0.
            lib.nghttp2_submit_goaway(self._session, 0, 0, error, debug, len(debug))

    def queued(self, stream_id: int | None = None) -> int:
        """See `Connection`."""
        if stream_id is None:
            return self._state.queued
        body = self._state.bodies.get(stream_id)
        return 0 if body is None else body.size

    def end_was_sent(self, stream_id: int) -> bool:
        """See `Connection`."""
        body = self._state.bodies.get(stream_id)
        return body is None or body.end_taken


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field as HPACK has it without its tables (RFC 7541, 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


@cache
def misfit() -> str:
    """What is wrong with this build of libnghttp2; "" where it reads an answer as Triton gives it."""
    refused = (b"grpc-message", b"Expected [3], got [2]. ")
    head, end_headers = _literal(b":status", b"200"), 4
    answer = (
        _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, end_headers, 1, head)
        + _frame(_DATA, 0, 1, b"data")
        + _frame(_HEADERS, end_headers | _END_STREAM, 1, _literal(*refused))
    )
    expected = [
        http2.SettingsReceived(None),
        http2.ResponseReceived(1, ((b":status", b"200"),), end_stream=False),
        http2.DataReceived(1, b"data", end_stream=False),
        http2.TrailersReceived(1, (refused,)),
        http2.StreamClosed(1, 0),
    ]
    try:
        connection = Nghttp2Connection(Role.CLIENT, ConnectionSettings())
        request = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"triton")]
        stream_id = connection.send_request(request)
        connection.send_data(stream_id, b"question", end_stream=True)
        sent = connection.data_to_send(1 << 16)
        connection.feed(answer)
        heard = connection.events()
    except Exception as error:  # noqa: BLE001 - whatever it is, there is another way to Triton
        return f"{type(error).__name__}: {error}"
    if not sent.endswith(_frame(_DATA, _END_STREAM, 1, b"question")):
        return "a request is not sent as it should be"
    return "" if heard == expected else f"an answer is read as {heard}"

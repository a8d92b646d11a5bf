"""One gRPC call after another on a plaintext HTTP/2 connection of its own, without copying what it carries.

grpc's Python copies a message twice on its way out and three times on its way in. Here the kernel takes it from where
it lies, and puts the answer where it stays. One call at a time, so that a thread simply waits for its answer.

Sources: RFC 9113, and gRPC's "gRPC over HTTP2" page for the message's prefix, the metadata and the status.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import hpack

from multimodal_contract import FRAME_BYTES
from multimodal_contract.wire import Buffer
from triton_proxy.inference.request import Headers
from triton_proxy.triton.direct import frames
from triton_proxy.triton.direct import status as http2_status
from triton_proxy.triton.direct.blocking_socket import CallFailed, Socket, late, unavailable
from triton_proxy.triton.direct.frames import Flag, Kind, Setting

_PREFIX = struct.Struct(">BI")
# Given back to the server's sending window at once, when so much of it is used up.
_WINDOW_GIVEN_BACK = 1 << 30
_LONGEST_HEADERS = 64 * 1024
# An answer has this much memory at once, and more as it comes: an announcement alone takes none.
_FIRST_MEMORY_BYTES = 4 * 1024 * 1024
# To read the rest of a frame that came while no call was under way.
_REST_SECS = 1.0
# RFC 9113, 6.5.2.
_SETTING_VALUES: dict[int, range] = {
    Setting.INITIAL_WINDOW_SIZE: range(frames.LARGEST_WINDOW + 1),
    Setting.MAX_FRAME_SIZE: range(frames.FIRST_FRAME_BYTES, 1 << 24),
}
_ANY = range(1 << 32)
# No gRPC server sends these to a client, or such headers as do not fit into one frame.
_UNEXPECTED = (Kind.PUSH_PROMISE, Kind.CONTINUATION)
_UNEXPECTED_FLAGS = {Kind.DATA: Flag.PADDED, Kind.HEADERS: Flag.PADDED | Flag.PRIORITY}


@dataclass
class _Answer:
    """What has come of a call's answer.

    Attributes:
        prefix: what is there of the five bytes before the message.
        message: where the message goes, once its length is known; grows as it comes.
        size: its length.
        filled: how much of it is there.
        ended: whether nothing more comes.
        failure: the status and the server's words, where it is not OK.
    """

    prefix: bytes = b""
    message: bytearray | None = None
    size: int = 0
    filled: int = 0
    ended: bool = False
    failure: tuple[grpc.StatusCode, str] | None = None


class Connection:
    """A connection to Triton for calls of one method; `abort` may come from another thread.

    Attributes:
        usable: whether another call may be begun.
    """

    def __init__(
        self, url: str, method: str, *, max_message_bytes: int, timeout_secs: float, authority: str = ""
    ) -> None:
        """Connects.

        Args:
            url: HOST:PORT.
            method: path of the unary method.
            max_message_bytes: largest answer.
            timeout_secs: longest time for connecting.
            authority: what requests say of where they go; "" for `url`.

        Raises:
            CallFailed: there is nobody, or not in time.
        """
        self._url = url
        self._max_message_bytes = max_message_bytes
        self._socket = Socket(url, time.monotonic() + timeout_secs)
        self._decoder = hpack.Decoder(_LONGEST_HEADERS)
        self._stream = -1
        # What the server lets us send on the connection and on a stream, and in a frame.
        self._window, self._stream_window, self._first_window = frames.FIRST_WINDOW, 0, frames.FIRST_WINDOW
        self._frame_bytes = frames.FIRST_FRAME_BYTES
        self._window_used = 0
        self.usable = True
        self._fields = b"".join(
            frames.literal(name, value)
            for name, value in (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", method.encode()),
                (b":authority", (authority or url).encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"user-agent", b"domino-triton-proxy"),
            )
        )
        self._greet()

    def close(self) -> None:
        """Ends the connection; a server that is at work on its call takes it for cancelled."""
        self.usable = False
        self._socket.close()

    def abort(self) -> None:
        """Ends what the connection's own thread is waiting for."""
        self.usable = False
        self._socket.abort()

    def rested(self) -> bool:
        """Reads what came while no call was under way; False where the connection has ended, or is about to."""
        try:
            self._socket.deadline = time.monotonic() + _REST_SECS
            while self.usable and self._socket.readable():
                self._read_frame(_Answer())
        except CallFailed:
            self.usable = False
        return self.usable

    def call(self, message: Sequence[Buffer], *, timeout_secs: float, headers: Headers = ()) -> bytearray:
        """Makes a call.

        Args:
            message: the serialized request, in parts.
            timeout_secs: its deadline, at most http2_status.LONGEST_SECS.
            headers: what goes beside the request; 8 KiB of ASCII at most.

        Returns:
            The serialized answer.

        Raises:
            CallFailed: the server refused, or there is no answer; the connection may not be `usable` any more.
        """
        deadline = time.monotonic() + timeout_secs
        self._socket.deadline = deadline
        self._stream += 2
        self._stream_window = self._first_window
        answer = _Answer()
        sent = False
        try:
            try:
                self._send(message, timeout_secs, headers, answer)
            except CallFailed:
                # It may have said why it goes away, or answered, before it went.
                while not answer.ended and self._socket.readable():
                    self._read_frame(answer)
                if not answer.ended:
                    raise
                self.usable = False
            sent = True
            while not answer.ended:
                self._read_frame(answer)
        except BaseException as error:
            self.usable = False
            # Triton, which knows of it, may be the one to end the call.
            if isinstance(error, CallFailed) and time.monotonic() >= deadline:
                raise late() from None
            # What lacks its end is no request yet.
            if isinstance(error, CallFailed) and not sent and error.code() is grpc.StatusCode.UNAVAILABLE:
                error.unprocessed = True
            raise
        if answer.failure is not None:
            raise CallFailed(*answer.failure)
        if answer.message is None or answer.filled < answer.size:
            raise CallFailed(grpc.StatusCode.INTERNAL, "Triton ended the call before its answer was complete")
        return answer.message

    def _greet(self) -> None:
        settings = {
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
        }
        more = frames.LARGEST_WINDOW - frames.FIRST_WINDOW
        try:
            # At once: nothing else, not even an answer to the server's own settings, may come before it.
            self._socket.write([frames.PREFACE, frames.settings(settings), frames.window_update(more)])
        except CallFailed:
            self.close()
            raise

    def _send(self, message: Sequence[Buffer], timeout_secs: float, headers: Headers, answer: _Answer) -> None:
        size = sum(map(len, message))
        pieces = frames.Pieces([_PREFIX.pack(0, size), *message])
        own = [(b"grpc-timeout", http2_status.timeout(timeout_secs))]
        own += [(name.encode(), value.encode()) for name, value in headers]
        block = self._fields + b"".join(frames.literal(name, value) for name, value in own)
        parts: list[Buffer] = [frames.frame(Kind.HEADERS, Flag.END_HEADERS, self._stream, block)]
        left = size + _PREFIX.size
        while left and not answer.ended:
            allowed = min(self._window, self._stream_window, left)
            if allowed <= 0:
                self._socket.write(parts)
                parts = []
                self._read_frame(answer)
                continue
            self._window -= allowed
            self._stream_window -= allowed
            left -= allowed
            while allowed:
                length = min(allowed, self._frame_bytes)
                allowed -= length
                last = Flag.NONE if left or allowed else Flag.END_STREAM
                parts.append(frames.header(length, Kind.DATA, last, self._stream))
                parts.extend(pieces.take(length))
        if left:
            # Answered before it was heard: for the rest of it the server would wait.
            self.usable = False
            return
        self._socket.write(parts)

    def _read_frame(self, answer: _Answer) -> None:
        length, kind, flags, stream = frames.read_header(self._socket.read(frames.HEADER_BYTES))
        known = kind not in _UNEXPECTED and not flags & _UNEXPECTED_FLAGS.get(kind, Flag.NONE)  # type: ignore[call-overload]  # a plain number is its key too
        complete = kind != Kind.HEADERS or (flags & Flag.END_HEADERS and length <= _LONGEST_HEADERS)
        if length > FRAME_BYTES or not known or not complete:
            raise unavailable(f"Triton sent a frame that is not expected: type {kind}, flags {flags}, {length} bytes")
        mine = stream == self._stream and not answer.ended
        try:
            if kind == Kind.DATA:
                self._read_data(length, flags, answer if mine else None)
            elif kind == Kind.HEADERS:
                self._read_headers(length, flags, answer if mine else None)
            elif stream == frames.CONNECTION:
                self._read_of_connection(kind, flags, self._socket.read(length), answer)
            else:
                self._read_of_stream(kind, self._socket.read(length), mine=mine)
        except struct.error:
            raise unavailable(f"Triton sent a frame of a wrong length: type {kind}, {length} bytes") from None

    def _read_data(self, length: int, flags: int, answer: _Answer | None) -> None:
        if answer is None:
            raise unavailable("Triton sent data on a stream that has ended")
        self._window_used += length
        if self._window_used >= _WINDOW_GIVEN_BACK:
            self._socket.write([frames.window_update(self._window_used)])
            self._window_used = 0
        while length and answer.message is None:
            part = self._socket.read(min(length, _PREFIX.size - len(answer.prefix)))
            answer.prefix += part
            length -= len(part)
            if len(answer.prefix) == _PREFIX.size:
                self._make_room(answer)
        if answer.message is not None:
            end = answer.filled + length
            if end > answer.size:
                raise CallFailed(grpc.StatusCode.INTERNAL, "Triton answered more than one message")
            if end > len(answer.message):
                # Twice as much each time: it is copied once at most, and by what came, not by what was announced.
                answer.message.extend(bytes(min(max(end, 2 * len(answer.message)), answer.size) - len(answer.message)))
            self._socket.read_into(memoryview(answer.message)[answer.filled : end])
            answer.filled = end
        if flags & Flag.END_STREAM:
            answer.ended = True
            answer.failure = (grpc.StatusCode.UNKNOWN, "Triton ended the call without a status")

    def _make_room(self, answer: _Answer) -> None:
        compressed, size = _PREFIX.unpack(answer.prefix)
        if compressed:
            raise CallFailed(grpc.StatusCode.INTERNAL, "Triton's answer is compressed, which was not asked for")
        if size > self._max_message_bytes:
            # grpc's own words for it.
            text = f"CLIENT: Received message larger than max ({size} vs. {self._max_message_bytes})"
            raise CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        answer.size = size
        answer.message = bytearray(min(size, _FIRST_MEMORY_BYTES))

    def _read_headers(self, length: int, flags: int, answer: _Answer | None) -> None:
        try:
            # Also where nobody asks any more: later ones refer to earlier ones.
            fields = dict(self._decoder.decode(self._socket.read(length), raw=True))
        except hpack.HPACKError as error:
            raise unavailable(f"Triton's metadata can't be read: {error}") from None
        if answer is None:
            return
        http = fields.get(b":status", b"200")
        if http != b"200":
            raise CallFailed(
                http2_status.of_http(http),
                f"what answers instead of Triton says HTTP {http.decode('ascii', 'replace')}",
            )
        answer.ended = bool(flags & Flag.END_STREAM)
        answer.failure = http2_status.of_trailers(fields) if answer.ended else None

    def _read_of_connection(self, kind: int, flags: int, payload: bytes, answer: _Answer) -> None:
        if kind == Kind.SETTINGS and not flags & Flag.ACK:
            for setting, value in frames.read_settings(payload):
                if value not in _SETTING_VALUES.get(setting, _ANY):
                    raise unavailable(f"Triton sent a setting that is not allowed: {setting} is {value}")
                if setting == Setting.INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._first_window
                    self._first_window = value
                elif setting == Setting.MAX_FRAME_SIZE:
                    self._frame_bytes = value
            self._socket.write([frames.frame(Kind.SETTINGS, Flag.ACK)])
        elif kind == Kind.PING and not flags & Flag.ACK:
            self._socket.write([frames.frame(Kind.PING, Flag.ACK, payload=payload)])
        elif kind == Kind.WINDOW_UPDATE:
            self._window += frames.read_number(payload)
        elif kind == Kind.GOAWAY:
            self.usable = False
            if frames.read_number(payload) < self._stream and not answer.ended:
                raise unavailable(f"Triton at {self._url} is shutting down", unprocessed=True)

    def _read_of_stream(self, kind: int, payload: bytes, *, mine: bool) -> None:
        if kind == Kind.WINDOW_UPDATE and mine:
            self._stream_window += frames.read_number(payload)
        elif kind == Kind.RST_STREAM and mine:
            error = frames.read_number(payload)
            unprocessed = error == frames.REFUSED_STREAM
            raise CallFailed(
                http2_status.of_reset(error),
                f"Triton at {self._url} reset the call, HTTP/2 error {error}",
                unprocessed=unprocessed,
            )

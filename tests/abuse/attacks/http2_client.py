"""A client of HTTP/2 that keeps to no rule: it sends whatever frames an attack asks for, and reads or does not read.

Source: RFC 9113.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import hpack

from attacks.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    settings,
    window_update,
)

Address = tuple[str, int]

# What holds for both ends until their settings say otherwise.
_WINDOW, _FRAME_BYTES = 65535, 16384
_LARGEST_WINDOW = (1 << 31) - 1
# Longer than a busy peer needs: to hang up earlier would give back what an attack holds.
_SEND_SECS = 15.0
_READ_BYTES = 1 << 18


@dataclass
class Answer:
    """What came back on one stream.

    Attributes:
        headers: header fields and trailers.
        bytes: bytes of DATA.
        data: the DATA itself, where the connection keeps it.
        ended: whether the peer is done with the stream.
    """

    headers: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Connection:
    """One connection; every method raises OSError once the peer has hung up or takes nothing any more.

    Attributes:
        socket: the socket.
        answers: what came, by stream.
        received: bytes that came.

    Args:
        address: of the peer.
        source: the local IP address; None for the usual one.
        values: of our SETTINGS.
        takes: whether DATA that came is given back to the windows, as a caller that reads does.
        keeps: whether DATA is kept.
        receive_buffer: bytes of the kernel's buffer; None for the usual.
        greets: whether the preface and SETTINGS are sent.
    """

    def __init__(
        self,
        address: Address,
        *,
        source: str | None = None,
        values: Mapping[int, int] | None = None,
        takes: bool = False,
        keeps: bool = False,
        receive_buffer: int | None = None,
        greets: bool = True,
    ) -> None:
        self.socket = socket.socket()
        # Closed by a reset: thousands of connections would otherwise use up the machine's ports for a minute.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(_SEND_SECS)
        self.answers: dict[int, Answer] = {}
        self.received = 0
        self._takes, self._keeps = takes, keeps
        self._next_stream = 1
        self._decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self._received = bytearray()
        self._window = self._stream_window = _WINDOW
        self._windows: dict[int, int] = {}
        self._frame_bytes = _FRAME_BYTES
        # `select.select` takes no descriptor beyond 1023.
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        self._hung_up = select.poll()
        self._hung_up.register(self.socket, select.POLLRDHUP)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect(address)
            if greets:
                self.send(PREFACE + settings(values or {}))
                if takes:
                    self.send(window_update(0, _LARGEST_WINDOW - _WINDOW))
        except OSError:
            self.socket.close()
            raise

    def send(self, raw: bytes) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(raw)

    def begin(self, block: bytes, body: bytes | None = None, *, end: bool = True) -> int:
        """Begins a call; returns its stream.

        Args:
            block: its header fields.
            body: DATA that fits into the first window; None for no DATA at all.
            end: whether the caller's side of the stream ends with that.
        """
        stream = self.reserve()
        last = END_STREAM if end else 0
        if body is None:
            self.send(frame(HEADERS, END_HEADERS | last, stream, block))
        else:
            self.send(frame(HEADERS, END_HEADERS, stream, block) + self._counted(stream, body, last))
        return stream

    def start(self, stream: int, block: bytes) -> None:
        """Sends the header fields of a call whose DATA follows.

        Args:
            stream: as `reserve` gave it.
            block: the header fields.
        """
        self.send(frame(HEADERS, END_HEADERS, stream, block))

    def reserve(self) -> int:
        """The number of a stream that was not used yet."""
        stream = self._next_stream
        self._next_stream += 2
        return stream

    def upload(self, stream: int, body: bytes, *, end: bool, until: float) -> int:
        """Sends DATA as fast as the peer's windows allow; returns how many bytes it took.

        Args:
            stream: where.
            body: the DATA.
            end: whether the stream ends with it.
            until: when to give up; a time of `time.monotonic`.
        """
        sent = 0
        while sent < len(body) and time.monotonic() < until:
            allowed = min(self._window, self._windows.get(stream, self._stream_window), self._frame_bytes)
            if allowed <= 0 or self.answer(stream).ended:
                if self.answer(stream).ended or not self.pump(0.1):
                    break
                continue
            piece = body[sent : sent + allowed]
            sent += len(piece)
            self.send(self._counted(stream, piece, END_STREAM if end and sent == len(body) else 0))
            self.pump(0)
        return sent

    def _counted(self, stream: int, piece: bytes, flags: int) -> bytes:
        self._window -= len(piece)
        self._windows[stream] = self._windows.get(stream, self._stream_window) - len(piece)
        return frame(DATA, flags, stream, piece)

    def answer(self, stream: int) -> Answer:
        """What has come on a stream so far."""
        return self.answers.setdefault(stream, Answer())

    def ended(self, stream: int, until: float) -> bool:
        """Waits until the peer is done with a stream; False where it is not by that time of `time.monotonic`."""
        while not self.answer(stream).ended and (left := until - time.monotonic()) > 0:
            self.pump(min(left, 1.0))
        return self.answer(stream).ended

    def pump(self, seconds: float) -> bool:
        """Reads what comes within a time, and answers what has to be answered.

        Args:
            seconds: how long to wait for the first byte.

        Returns:
            Whether anything came.
        """
        if not self._poll.poll(seconds * 1000):
            return False
        piece = self.socket.recv(_READ_BYTES)
        if not piece:
            raise ConnectionResetError("the peer hung up")
        self.received += len(piece)
        self._received += piece
        at, have = 0, len(self._received)
        while have - at >= 9:
            length = int.from_bytes(self._received[at : at + 3], "big")
            if have - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._received, at + 3)
            self._got(kind, flags, stream, bytes(self._received[at + 9 : at + 9 + length]))
            at += 9 + length
        del self._received[:at]
        return True

    def _got(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._got_data(stream, payload)
        elif kind == HEADERS:
            self._got_headers(stream, payload)
        elif kind == RST_STREAM:
            self.answer(stream).ended = True
        elif kind == SETTINGS and not flags & ACK:
            self._got_settings(payload)
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            self._got_window(stream, *struct.unpack(">I", payload))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.answer(stream).ended = True

    def _got_headers(self, stream: int, payload: bytes) -> None:
        # Our servers send neither CONTINUATION nor PADDED nor PRIORITY.
        try:
            headers = self._decoder.decode(payload)
        except hpack.HPACKError as error:
            raise ConnectionError(f"unreadable header fields: {error}") from error
        self.answer(stream).headers.update({str(name): str(value) for name, value in headers})

    def _got_settings(self, payload: bytes) -> None:
        for number, value in struct.iter_unpack(">HI", payload):
            if number == INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._stream_window
                self._stream_window = value
            elif number == MAX_FRAME_SIZE:
                self._frame_bytes = value
        self.send(frame(SETTINGS, ACK))

    def _got_window(self, stream: int, more: int) -> None:
        if stream:
            self._windows[stream] = self._windows.get(stream, self._stream_window) + more
        else:
            self._window += more

    def _got_data(self, stream: int, payload: bytes) -> None:
        answer = self.answer(stream)
        answer.bytes += len(payload)
        if self._keeps:
            answer.data += payload
        if self._takes and payload:
            self.send(window_update(stream, len(payload)) + window_update(0, len(payload)))

    @property
    def hung_up(self) -> bool:
        """Whether the peer has, as far as that shows without reading."""
        return bool(self._hung_up.poll(0))

    def forget(self) -> None:
        """Forgets what came on streams that have ended."""
        for stream in [stream for stream, answer in self.answers.items() if answer.ended]:
            del self.answers[stream]
            self._windows.pop(stream, None)

    def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""A gRPC call whose headers no library has looked at."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4


def raw_call(port: int, method: str, headers: Sequence[tuple[bytes, bytes]], message: bytes) -> bytes:
    """Calls a unary method with headers as they are, in HTTP/2 frames made by hand.

    Args:
        port: of a gRPC server on this machine.
        method: such as "/package.Service/Method".
        headers: names and values, shorter than 127 bytes each, beside those that every call has.
        message: the serialized request.

    Returns:
        All bytes that come back within a second of silence.
    """
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection, contextlib.suppress(TimeoutError):
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _call(1, method, headers, message))
        while piece := connection.recv(65536):
            answer += piece
    return answer


@contextlib.contextmanager
def unread_calls(
    port: int, method: str, headers: Sequence[tuple[bytes, bytes]], message: bytes, count: int
) -> Iterator[None]:
    """Calls a unary method so many times, and takes no byte of any answer until it leaves.

    Args:
        port: as in `raw_call`, and so are method, headers and message.
        method: see there.
        headers: see there.
        message: see there.
        count: how many calls.
    """
    no_window = struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, no_window))
        for number in range(count):
            connection.sendall(_call(2 * number + 1, method, headers, message))
        yield


def headers_alone(port: int, method: str, headers: Sequence[tuple[bytes, bytes]], count: int) -> socket.socket:
    """Begins a unary method so many times on one connection, and sends no message.

    Args:
        port: as in `raw_call`, and so are method and headers.
        method: see there.
        headers: see there.
        count: how many calls.

    Returns:
        The connection, which is the caller's to close.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    calls = [_head(2 * number + 1, method, headers) for number in range(count)]
    connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + b"".join(calls))
    return connection


def await_ends(connection: socket.socket, count: int) -> None:
    """Reads until so many streams of a connection have ended.

    Args:
        connection: as `headers_alone` gives it.
        count: how many.

    Raises:
        ConnectionError: the connection ended before.
    """
    with connection.makefile("rb") as answers:
        while count:
            header = answers.read(9)
            if len(header) < 9:
                raise ConnectionError(f"{count} streams did not end")
            answers.read(int.from_bytes(header[:3], "big"))
            count -= header[3] == _HEADERS and header[4] & _END_STREAM


def _call(stream: int, method: str, headers: Sequence[tuple[bytes, bytes]], message: bytes) -> bytes:
    body = struct.pack(">BI", 0, len(message)) + message
    return _head(stream, method, headers) + _frame(_DATA, _END_STREAM, stream, body)


def _head(stream: int, method: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    usual = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", method.encode()), (b":authority", b"a")]
    usual += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    # HPACK (RFC 7541, 6.2.2): literals without indexing, not Huffman-coded.
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in [*usual, *headers])
    return _frame(_HEADERS, _END_HEADERS, stream, block)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    assert len(value) < 127  # noqa: S101 - one byte holds the length
    return bytes([len(value)]) + value

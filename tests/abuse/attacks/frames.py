"""Frames of HTTP/2 and messages of gRPC, as bytes.

Sources: RFC 9113 (frames), RFC 7541 (header fields), gRPC over HTTP/2 (messages).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import hpack

Headers = Iterable[tuple[str, str]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
CANCEL = 8


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame.

    Args:
        kind: its type.
        flags: its flags.
        stream: its stream; 0 is the connection.
        payload: fewer than 2**24 bytes.
    """
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame of parameters and their values."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *item) for item in values.items()))


def window_update(stream: int, more: int) -> bytes:
    """A WINDOW_UPDATE frame for a stream, or for the connection, which is 0."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def reset(stream: int) -> bytes:
    """An RST_STREAM frame: the call is cancelled."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def fields(headers: Headers) -> bytes:
    """Header fields that no table remembers, so that the same bytes are good on every stream of every connection."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)


def call_fields(method: str, headers: Headers = ()) -> bytes:
    """The header fields of a gRPC call.

    Args:
        method: such as "/package.Service/Method".
        headers: the call's metadata.
    """
    usual = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "proxy")]
    return fields([*usual, ("content-type", "application/grpc"), ("te", "trailers"), *headers])


def message(content: bytes, *, compressed: bool = False, announced: int | None = None) -> bytes:
    """A gRPC message as it stands in DATA.

    Args:
        content: the message, or what of it is sent.
        compressed: whether it says so.
        announced: the length that it claims; None for the content's.
    """
    return struct.pack(">BI", compressed, len(content) if announced is None else announced) + content

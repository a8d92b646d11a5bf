"""HTTP/2's frames, as far as a gRPC client needs them that has one call at a time.

Sources: RFC 9113 (frames), RFC 7541 (header fields).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum, IntFlag

from multimodal_contract.wire import Buffer, varint

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
# The connection's own number, where others are a stream's.
CONNECTION = 0
LARGEST_STREAM = LARGEST_WINDOW = (1 << 31) - 1
# What holds for both ends until their settings say otherwise.
FIRST_WINDOW, FIRST_FRAME_BYTES = 65535, 16384
# Errors of streams; the first is that of one that was not looked at.
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x7, 0x8, 0xB
_HEADER = struct.Struct(">BHBBI")


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0x0
    HEADERS = 0x1
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Flag(IntFlag):
    """Flags of frames: ACK of SETTINGS and PING, the others of DATA and HEADERS."""

    NONE = 0x0
    ACK = 0x1
    END_STREAM = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    """Parameters of a SETTINGS frame."""

    ENABLE_PUSH = 0x2
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5


class Pieces:
    """A message in parts, to be taken in pieces of other lengths, without copying."""

    def __init__(self, parts: Iterable[Buffer]) -> None:
        """All of it is still to be taken."""
        self._parts = iter(parts)
        self._rest = memoryview(b"")

    def take(self, count: int) -> Iterator[memoryview]:
        """The next so many bytes, of which there must be enough."""
        while count:
            if not self._rest:
                self._rest = memoryview(next(self._parts))
            piece = self._rest[:count]
            self._rest = self._rest[count:]
            count -= len(piece)
            if piece:
                yield piece


def header(length: int, kind: Kind, flags: Flag, stream: int) -> bytes:
    """What stands before a payload of that length."""
    return _HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream)


def read_header(raw: bytes) -> tuple[int, int, int, int]:
    """Length of the payload, type, flags and stream."""
    high, low, kind, flags, stream = _HEADER.unpack(raw)
    return high << 16 | low, kind, flags, stream & LARGEST_STREAM


def frame(kind: Kind, flags: Flag = Flag.NONE, stream: int = CONNECTION, payload: bytes = b"") -> bytes:
    """A frame, header and payload."""
    return header(len(payload), kind, flags, stream) + payload


def settings(values: Mapping[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(struct.pack(">HI", setting, value) for setting, value in values.items())
    return frame(Kind.SETTINGS, payload=payload)


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Parameters and their values; raises struct.error where the length is wrong."""
    return struct.iter_unpack(">HI", payload)


def window_update(more: int) -> bytes:
    """A WINDOW_UPDATE frame for the connection."""
    return frame(Kind.WINDOW_UPDATE, payload=struct.pack(">I", more))


def read_number(payload: bytes) -> int:
    """The number that WINDOW_UPDATE and RST_STREAM are, and GOAWAY begins with; raises struct.error where it is cut."""
    (number,) = struct.unpack_from(">I", payload)
    return int(number) & LARGEST_STREAM


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that the other end need not remember, without Huffman's code (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(_length(len(text)) + text for text in (name, value))


def _length(count: int) -> bytes:
    # A prefix of seven bits (RFC 7541, 5.1); what follows a full one is written as protobuf's varints are.
    return bytes([count]) if count < 0x7F else b"\x7f" + varint(count - 0x7F)

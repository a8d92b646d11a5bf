"""Messages between the proxy and a process that works for it: each behind its length, over pipes."""

from __future__ import annotations

import struct
from typing import BinaryIO

_LENGTH = struct.Struct("<Q")


def write(to: BinaryIO, raw: bytes) -> None:
    """Writes a message."""
    to.write(_LENGTH.pack(len(raw)))
    to.write(raw)
    to.flush()


def read(source: BinaryIO, most: int | None = None) -> bytes:
    """Reads a message.

    Args:
        source: a pipe.
        most: bytes that it may have; None for any number.

    Raises:
        EOFError: the other end is gone, or sent more.
    """
    (size,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if most is not None and size > most:
        raise EOFError
    return _exactly(source, size)


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data

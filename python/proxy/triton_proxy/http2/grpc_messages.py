"""gRPC's Length-Prefixed-Messages: cut out of DATA, made, compressed and expanded.

Sources: gRPC's pages PROTOCOL-HTTP2 ("Length-Prefixed-Message") and compression.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from mm_service.status import Code
from triton_proxy.http2.connection import Buffer

PREFIX = 5
# Up to here a message is joined with its prefix, which is cheaper than two entries in a queue.
_JOINED = 16384
_COMPRESSED_IN_LOOP = 65536
_WBITS = {"gzip": 31, "deflate": 15}  # deflate is zlib's format (RFC 1950), as everywhere in gRPC


class BrokenMessage(Exception):  # noqa: N818 - named after what happened
    """A message that can't be read, which ends its call.

    Attributes:
        status: what the caller gets.
    """

    def __init__(self, status: Code, text: str) -> None:
        super().__init__(text)
        self.status = status


class RawMessage(NamedTuple):
    """A message as it came."""

    data: bytes
    compressed: bool

    @property
    def wire_size(self) -> int:
        """Bytes it had in the stream."""
        return len(self.data) + PREFIX


class MessageReader:
    """Cuts a stream's DATA into messages.

    Frames are kept as they came until the message is complete and joined then: of 5 MB that takes 0.16 ms, where a
    buffer made beforehand takes 0.28 (it is zeroed first), and five bytes of a stranger can't claim 64 MB.
    """

    __slots__ = ("_compressed", "_left", "_limit", "_parts", "_prefix", "_size", "held")

    def __init__(self, limit: int) -> None:
        """Nothing has come.

        Args:
            limit: bytes that a message may have.
        """
        self._limit = limit
        self._prefix = b""
        self._parts: list[bytes] = []
        self._left = -1  # of the message; below 0 while its prefix is missing
        self._size = 0
        self._compressed = False
        self.held = 0  # bytes of a message that is not complete yet, prefix and all

    def feed(self, data: bytes) -> list[RawMessage]:
        """Take a frame's bytes.

        Returns:
            The messages that are complete with it.

        Raises:
            BrokenMessage: the length is beyond the limit, or the flag is neither 0 nor 1.
        """
        size = len(data)
        if not self.held and size >= PREFIX:
            compressed, length = self._read_prefix(data)
            if length == size - PREFIX:  # most often: one frame, one message
                return [RawMessage(data[PREFIX:], compressed)]
        return self._feed_slowly(data)

    def _read_prefix(self, prefix: bytes) -> tuple[bool, int]:
        flag, length = prefix[0], int.from_bytes(prefix[1:PREFIX], "big")
        if flag > 1:
            raise BrokenMessage(Code.INTERNAL, f"a message's compressed-flag is {flag}: 0 or 1 is expected")
        if length > self._limit:
            text = f"Received message larger than max ({length} vs. {self._limit})"
            raise BrokenMessage(Code.RESOURCE_EXHAUSTED, text)
        return bool(flag), length

    def _feed_slowly(self, data: bytes) -> list[RawMessage]:
        messages: list[RawMessage] = []
        at, size = 0, len(data)
        while True:
            if self._left < 0:
                missing = PREFIX - len(self._prefix)
                self._prefix += data[at : at + missing]
                at += missing
                if len(self._prefix) < PREFIX:
                    self.held = len(self._prefix)
                    return messages
                self._compressed, self._size = self._read_prefix(self._prefix)
                self._left, self._prefix = self._size, b""
            part = data[at : at + self._left] if at or self._left < size else data
            at += len(part)
            self._left -= len(part)
            if part:
                self._parts.append(part)
            if self._left:
                self.held = PREFIX + self._size - self._left
                return messages
            messages.append(RawMessage(b"".join(self._parts), self._compressed))
            self._parts = []
            self._left, self.held = -1, 0
            if at >= size:
                return messages

    def end(self) -> None:
        """There is no more.

        Raises:
            BrokenMessage: a message is not complete.
        """
        if self.held:
            raise BrokenMessage(Code.INTERNAL, f"the stream ended within a message, after {self.held} bytes of it")


def expand(data: bytes, encoding: str, limit: int) -> bytes:
    """A compressed message as it was; it never has more than `limit` bytes on the way.

    Raises:
        BrokenMessage: it has more, is damaged, or the call named no encoding.
    """
    wbits = _WBITS.get(encoding)
    if wbits is None:
        text = "a message's compressed-flag is set, and grpc-encoding names no compression"
        raise BrokenMessage(Code.INTERNAL, text)
    inflate = zlib.decompressobj(wbits)
    try:
        expanded = inflate.decompress(data, limit + 1)
    except zlib.error as e:
        raise BrokenMessage(Code.INTERNAL, f"a message does not decompress as {encoding}: {e}") from None
    if len(expanded) > limit:
        text = f"Received message larger than max (more than {limit} after decompression vs. {limit})"
        raise BrokenMessage(Code.RESOURCE_EXHAUSTED, text)
    if not inflate.eof or inflate.unused_data:
        raise BrokenMessage(Code.INTERNAL, f"a message does not decompress as {encoding}: it is cut or has bytes left")
    return expanded


def compress(data: bytes, encoding: str) -> bytes:
    """A message compressed, at the speed of level 1: what is saved is bandwidth, what it costs is the proxy's CPU."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, _WBITS[encoding])
    return deflate.compress(data) + deflate.flush()


def prefix(length: int, *, compressed: bool = False) -> bytes:
    """What stands before a message of so many bytes."""
    return (b"\1" if compressed else b"\0") + length.to_bytes(4, "big")


def framed(buffers: Sequence[Buffer], encoding: str) -> Sequence[Buffer]:
    """A message with what stands before it.

    Args:
        buffers: the message, in one or more pieces.
        encoding: what to compress it by, if it is no larger than 64 KiB: beyond, the loop would stand still.

    Returns:
        What to queue: one buffer of a small message, else the pieces as they are behind the prefix.
    """
    size = sum(map(len, buffers))
    compressed = encoding != "identity" and size <= _COMPRESSED_IN_LOOP
    if compressed:
        buffers = (compress(b"".join(buffers), encoding),)
        size = len(buffers[0])
    start = prefix(size, compressed=compressed)
    return (b"".join((start, *buffers)),) if size <= _JOINED else (start, *buffers)

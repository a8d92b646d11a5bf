"""Which protocol a connection without ALPN speaks, by its first bytes."""

from __future__ import annotations

import re
from enum import Enum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4
_HTTP1_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r?")
_LONGEST_LINE = 8192
_TEXT = b"This port speaks gRPC over HTTP/2 only, and this request came by HTTP/1.\n"
HTTP1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


class Speaks(Enum):
    """What the first bytes say."""

    HTTP2 = "HTTP/2"
    HTTP1 = "HTTP/1"
    NEITHER = "neither"
    UNDECIDED = "undecided"  # more are needed


def protocol_of(first: bytes) -> Speaks:
    """What a peer speaks that began so."""
    if first.startswith(PREFACE[: len(first)]):
        return Speaks.HTTP2 if len(first) >= len(PREFACE) else Speaks.UNDECIDED
    line, newline, _ = first.partition(b"\n")
    if not newline and len(line) < _LONGEST_LINE:
        return Speaks.UNDECIDED
    return Speaks.HTTP1 if _HTTP1_LINE.fullmatch(line) is not None else Speaks.NEITHER

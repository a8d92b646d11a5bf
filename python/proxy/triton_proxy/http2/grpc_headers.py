"""gRPC's header lists: requests read and made, answers made and read.

Source: gRPC's page PROTOCOL-HTTP2 ("Requests", "Responses"), cited below by the names of its rules.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

from mm_service.status import Code
from triton_proxy.http2.connection import Fields
from triton_proxy.http2.grpc_status import encode_message

# Names in lower case; values are bytes where the name ends in `-bin`, else texts.
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

ENCODINGS = ("identity", "gzip", "deflate")
ACCEPTED = (b"grpc-accept-encoding", ",".join(ENCODINGS).encode())
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_ACCEPTING_HEAD = [*_HEAD, ACCEPTED]
_OK = (b"grpc-status", b"0")
_UNITS = {0x48: 3600.0, 0x4D: 60.0, 0x53: 1.0, 0x6D: 1e-3, 0x75: 1e-6, 0x6E: 1e-9}  # H M S m u n
_LONGEST = 99_999_999
# The call's definition, which is no metadata; grpc-* is reserved.
_DEFINITION = frozenset((b"te", b"content-type", b"host"))
_RESERVED = frozenset((b"grpc-status", b"grpc-message", b"content-type", b"te", b"grpc-encoding"))


class HeadRefused(Exception):  # noqa: N818 - named after what happened
    """A request that is answered without being looked at further.

    Attributes:
        http_status: what HTTP has to say; 200 where gRPC has.
        status: what gRPC has to say.
        text: for the caller.
        fields: beside those.
    """

    def __init__(self, http_status: int, status: Code, text: str, fields: Fields = ()) -> None:
        super().__init__(text)
        self.http_status = http_status
        self.status = status
        self.text = text
        self.fields = fields


class RequestHead:
    """What a request says of itself before its messages.

    Attributes:
        fields: the header list as it came.
        path: `/service/method`.
        authority: the host that was asked for.
        timeout: seconds that the caller waits; None for as long as it takes.
        encoding: what compresses the messages that are compressed.
    """

    __slots__ = ("_accepts", "authority", "encoding", "fields", "path", "timeout")

    def __init__(self, fields: Fields) -> None:
        """Read a header list.

        Raises:
            HeadRefused: it is no request of gRPC's, or one that can't be served.
        """
        # Of a doubled field the last counts; the engine refuses doubled pseudo-header fields.
        known = dict(fields)
        self.fields = fields
        self.path = known.get(b":path", b"").decode("latin-1")
        self.authority = known.get(b":authority", b"").decode("latin-1")
        self.encoding = known.get(b"grpc-encoding", b"identity").decode("latin-1")
        self._accepts = known.get(b"grpc-accept-encoding", b"")
        if known.get(b":method") != b"POST":
            raise HeadRefused(405, Code.INTERNAL, "gRPC is called by POST", ((b"allow", b"POST"),))
        content_type = known.get(b"content-type", b"")
        # "application/grpc" [("+proto" / "+json" / {custom})]: application/grpc-web is framed otherwise.
        if not content_type.startswith(b"application/grpc") or content_type[16:17] not in (b"", b"+", b";"):
            raise HeadRefused(415, Code.INTERNAL, "the content-type of a gRPC request is application/grpc")
        if self.encoding not in ENCODINGS:
            text = f"grpc-encoding {self.encoding!r} is not supported: use one of {', '.join(ENCODINGS)}"
            raise HeadRefused(200, Code.UNIMPLEMENTED, text, (ACCEPTED,))
        timeout = known.get(b"grpc-timeout")
        self.timeout = None if timeout is None else parse_timeout(timeout)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field; None where there is none."""
        for each, value in self.fields:
            if each == name:
                return value
        return None

    @property
    def metadata(self) -> list[tuple[str, str | bytes]]:
        """The caller's metadata, values of `-bin` decoded; what can't be decoded is left out."""
        return decode_metadata(self.fields)

    def accepts(self, encoding: str) -> bool:
        """Whether the caller reads messages compressed so."""
        return encoding == "identity" or encoding.encode() in (each.strip() for each in self._accepts.split(b","))


def parse_timeout(value: bytes) -> float:
    """The seconds of `grpc-timeout`: at most eight digits and a unit.

    Raises:
        HeadRefused: it is none.
    """
    unit = _UNITS.get(value[-1]) if value else None
    digits = value[:-1]
    if unit is None or not 1 <= len(digits) <= 8 or not digits.isdigit():
        raise HeadRefused(200, Code.INTERNAL, f"malformed grpc-timeout {value!r}: up to 8 digits and one of HMSmun")
    return int(digits) * unit


def format_timeout(secs: float) -> bytes:
    """The value of `grpc-timeout`, rounded up, so that the server does not give up first."""
    millis = max(math.ceil(secs * 1000), 1)
    return b"%dm" % millis if millis <= _LONGEST else b"%dS" % min(millis // 1000, _LONGEST)


def decode_metadata(fields: Fields) -> list[tuple[str, str | bytes]]:
    """The metadata among a header list's fields.

    A value of `-bin` may be several, joined by commas, and is base64 with or without padding.
    """
    found: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        # grpc-trace-bin and the like are metadata for tracing libraries.
        if name[:1] == b":" or name in _DEFINITION or (name[:5] == b"grpc-" and name[-4:] != b"-bin"):
            continue
        key = name.decode("latin-1")
        if name[-4:] != b"-bin":
            found.append((key, value.decode("latin-1")))
            continue
        for part in value.split(b","):
            try:
                found.append((key, base64.b64decode(part.strip() + b"=" * (-len(part.strip()) % 4), validate=True)))
            except binascii.Error:
                continue
    return found


def encode_metadata(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Metadata as fields.

    Raises:
        ValueError: a name or value that gRPC has no way to send, or keeps for itself.
    """
    fields = []
    for key, value in metadata:
        name = key.encode("ascii")
        if name in _RESERVED or not name or name != name.lower():
            raise ValueError(f"metadata can't be named {key!r}")
        if name[-4:] == b"-bin":
            raw = value if isinstance(value, bytes) else value.encode()
            fields.append((name, base64.b64encode(raw).rstrip(b"=")))
            continue
        text = value if isinstance(value, bytes) else value.encode("ascii")
        if not all(0x20 <= byte <= 0x7E for byte in text):
            raise ValueError(f"the value of {key!r} is not printable ASCII: a name ending in -bin takes any bytes")
        fields.append((name, text))
    return fields


def request_fields(
    path: str, authority: str, *, scheme: bytes, timeout: float | None, metadata: Metadata, user_agent: bytes
) -> Fields:
    """The header list of a call: reserved names first, then the timeout, then the rest of the definition."""
    given = None if timeout is None else format_timeout(timeout)
    return (*_definition(path, authority, scheme, given, user_agent), *encode_metadata(metadata))


# One call of Triton is as the other.
@lru_cache(64)
def _definition(
    path: str, authority: str, scheme: bytes, timeout: bytes | None, user_agent: bytes
) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b":method", b"POST"),
        (b":scheme", scheme),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        *(() if timeout is None else ((b"grpc-timeout", timeout),)),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", user_agent),
        ACCEPTED,
    )


def response_fields(metadata: Metadata = (), encoding: str = "identity") -> list[tuple[bytes, bytes]]:
    """Response-Headers."""
    if not metadata and encoding == "identity":
        return _ACCEPTING_HEAD
    fields = list(_ACCEPTING_HEAD)
    if encoding != "identity":
        fields.append((b"grpc-encoding", encoding.encode()))
    return fields + encode_metadata(metadata)


def trailer_fields(status: Code, text: str = "", metadata: Metadata = ()) -> list[tuple[bytes, bytes]]:
    """Trailers."""
    if status is Code.OK and not text and not metadata:
        return [_OK]
    fields = [(b"grpc-status", b"%d" % status)]
    if text:
        fields.append((b"grpc-message", encode_message(text)))
    return fields + encode_metadata(metadata)


def trailers_only_fields(status: Code, text: str = "", metadata: Metadata = ()) -> list[tuple[bytes, bytes]]:
    """Trailers-Only: an answer without messages, in one header list."""
    return [*_HEAD, *trailer_fields(status, text, metadata)]


def refusal_fields(refused: HeadRefused) -> list[tuple[bytes, bytes]]:
    """The answer to a request whose head was refused, in one header list."""
    if refused.http_status == 200:
        return [*trailers_only_fields(refused.status, refused.text), *refused.fields]
    # A caller of gRPC's reads grpc-message; others read the status (http-grpc-status-mapping).
    return [
        (b":status", b"%d" % refused.http_status),
        (b"content-type", b"application/grpc"),
        *trailer_fields(refused.status, refused.text),
        *refused.fields,
    ]

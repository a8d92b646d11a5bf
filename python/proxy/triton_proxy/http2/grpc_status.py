"""gRPC's statuses, and what HTTP and HTTP/2 say instead of one.

Sources: gRPC's pages PROTOCOL-HTTP2 ("Errors"), http-grpc-status-mapping and statuscodes.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from mm_service.status import Code
from triton_proxy.http2.connection import ErrorCode

_BY_NUMBER = {b"%d" % status: status for status in Code}
_RESETS = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}
_HTTP = {
    b"400": Code.INTERNAL,
    b"401": Code.UNAUTHENTICATED,
    b"403": Code.PERMISSION_DENIED,
    b"404": Code.UNIMPLEMENTED,
    b"429": Code.UNAVAILABLE,
    b"502": Code.UNAVAILABLE,
    b"503": Code.UNAVAILABLE,
    b"504": Code.UNAVAILABLE,
}
# What grpc-message leaves as it is: %x20-%x24 / %x26-%x7E.
_PLAIN = [b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in range(256)]
_ALL_PLAIN = re.compile("[ -$&-~]*").fullmatch
# A text longer than this takes space from the trailers, which clients bound to 8 KiB by default.
_LONGEST_MESSAGE = 4096


def of_number(value: bytes) -> Code:
    """The status that `grpc-status` names; UNKNOWN for what is none."""
    return _BY_NUMBER.get(value, Code.UNKNOWN)


def of_reset(error: int) -> Code:
    """The status that a peer's RST_STREAM stands for."""
    return _RESETS.get(ErrorCode(error), Code.INTERNAL) if error <= max(ErrorCode) else Code.INTERNAL


def of_http(status: bytes) -> Code:
    """The status that an HTTP status other than 200 stands for: no gRPC server answers so."""
    return _HTTP.get(status, Code.UNKNOWN)


def encode_message(text: str) -> bytes:
    """A text as `grpc-message` has it: UTF-8, percent-encoded, and cut where a client would not take it."""
    if len(text) <= _LONGEST_MESSAGE and _ALL_PLAIN(text):
        return text.encode()
    encoded = b"".join(map(_PLAIN.__getitem__, text[:_LONGEST_MESSAGE].encode("utf-8", "replace")))
    if len(encoded) <= _LONGEST_MESSAGE:
        return encoded
    kept = b""
    for character in text:
        more = b"".join(map(_PLAIN.__getitem__, character.encode("utf-8", "replace")))
        if len(kept) + len(more) > _LONGEST_MESSAGE:
            break
        kept += more
    return kept


def decode_message(value: bytes) -> str:
    """The text of `grpc-message`; broken escapes stay as they are."""
    return unquote(value.decode("latin-1"), errors="replace")

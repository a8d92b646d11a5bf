"""Sends one input, and says what came of it."""

from __future__ import annotations

import contextlib
import re
import socket
import struct

from fuzzing.inputs import LEFT, SILENT, Input

# An answer that takes longer is none: nothing that is sent here takes a second's work.
PATIENCE_SECS = 60.0
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LINGER = struct.pack("ii", 1, 0)


class Hung(Exception):  # noqa: N818 - what happened
    """The proxy neither answered nor hung up."""


def ask(port: int, sent: Input, waits_secs: float) -> bytes:
    """Sends an input on a connection of its own.

    Args:
        port: of 127.0.0.1.
        sent: the input.
        waits_secs: after so long without a byte the peer says that it sends no more.

    Returns:
        What came.

    Raises:
        Hung: nothing came, and no end.
    """
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECS) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        received = b""
        connection.settimeout(waits_secs)
        try:
            # The proxy may have refused what it has not read yet.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent.raw)
            if sent.leaves_after is not None:
                with contextlib.suppress(TimeoutError):
                    while len(received) < sent.leaves_after and (more := connection.recv(sent.leaves_after)):
                        received += more
                return received
            with contextlib.suppress(TimeoutError):
                received += connection.recv(1 << 16)
            connection.settimeout(PATIENCE_SECS)
            if _STATUS.match(received) and not sent.raw.startswith(b"HEAD "):
                received += _rest_of_answer(connection, received)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(1 << 16):
                received += more
        except ConnectionResetError:
            pass
        except TimeoutError:
            raise Hung(f"neither an answer nor an end in {PATIENCE_SECS:g} s; {received[:200]!r} came") from None
    return received


def outcome_of(sent: Input, received: bytes) -> str:
    """What came of an input, as a corpus has it."""
    if sent.leaves_after is not None:
        return LEFT
    found = _STATUS.match(received)
    if found is not None:
        return found.group(1).decode()
    return "frames" if received else SILENT


def _rest_of_answer(connection: socket.socket, received: bytes) -> bytes:
    """What follows up to the end of an answer whose length is said, so that no peer leaves before its end."""
    more = b""
    while b"\r\n\r\n" not in received + more:
        came = connection.recv(1 << 16)
        if not came:
            return more
        more += came
    head, _, body = (received + more).partition(b"\r\n\r\n")
    said = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    chunked = re.search(rb"(?i)\r\ntransfer-encoding: chunked", head)
    while (said and len(body) < int(said[1])) or (chunked and not body.endswith(b"0\r\n\r\n")):
        came = connection.recv(1 << 16)
        if not came:
            return more
        more, body = more + came, body + came
    return more

"""How much a connection, a peer and all of them may take over HTTP/1.1.

Each field that cuts something off has a counter of its own name in `HttpServer.statistics()`.
"""

from __future__ import annotations

from dataclasses import dataclass

from triton_proxy.http2.limits import Rate

_REFUSALS = Rate(100, 10)
_DISPLACED = Rate(32, 8)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The table. Times are seconds. What passes a limit gets what its line says, and nothing else is disturbed.

    Attributes:
        connections: sockets in all, TLS handshakes included; for the next another gives way, as in
            `http2.limits.ConnectionLimits`.
        displaced: connections that gave way to those of one address; the next of that address is closed as it is
            accepted.
        connections_per_peer: of one address. Many callers may share one behind a sidecar or NAT, hence half of all.
        head_bytes: of a request's line and fields; 431, and the connection ends.
        fields: of one request; 431, and the connection ends.
        body_bytes: of a request, before and after decompression; 413, and the connection ends.
        held_bytes: bytes of bodies that arrived and were not taken, in all; 503. A budget outside
            (`HttpRequest.on_bytes`) says wait long before.
        pipelined_bytes: what a peer may send ahead of its answer before it is not read any more.
        preface: from the accepted socket through TLS to a request's complete head, and from one request to the next
            while no caller of the connection is known; the connection is cut.
        head: from a head's first byte to its last, of a known caller; the connection is cut.
        body: from the moment when a body is read to its last byte, while we do not hold it back; 408.
        idle: a known caller's connection without a request; it is closed.
        unread_answers: the age of the oldest byte of an answer that a peer does not take; the connection is cut.
        quiet: an answer in events that has nothing to say for so long says a comment, for what stands between to keep
            the connection open.
        refusals: requests that end before their body was asked for, where none was of a known caller before; the
            connection ends.
    """

    connections: int = 1024
    connections_per_peer: int = 512
    head_bytes: int = 32 << 10
    fields: int = 100
    body_bytes: int = 64 << 20
    held_bytes: int = 512 << 20
    pipelined_bytes: int = 64 << 10
    preface: float = 10.0
    head: float = 20.0
    body: float = 120.0
    idle: float = 900.0
    unread_answers: float = 60.0
    quiet: float = 15.0
    refusals: Rate = _REFUSALS
    displaced: Rate = _DISPLACED

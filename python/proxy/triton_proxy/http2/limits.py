"""How much a connection, a peer and all of them may take, and what is counted where that ends.

Each field of `ConnectionLimits` that cuts something off has a counter of its own name in `Http2Server.statistics()`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and then so many per second."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The table. Times are seconds. What passes a limit gets what its line says, and nothing else is disturbed.

    Attributes:
        connections: sockets in all, TLS handshakes included. For the next one gives way, of the address that has the
            most: the oldest without calls, before that of a known caller one of a stranger; otherwise the oldest with
            strangers' calls alone. Where all serve known callers, the next is closed as it is accepted.
        displaced: connections that gave way to those of one address; the next of that address is closed as it is
            accepted, at a sixth of the cost, and counts as above.
        connections_per_peer: of one address; as above, one of its own gives way. Many callers may share one behind a
            sidecar or NAT, hence half of all.
        streams: calls in all; the next is answered UNAVAILABLE.
        streams_per_connection: advertised; nghttp2 resets the next (REFUSED_STREAM), which clients queue or repeat.
        header_bytes: of a request; answered RESOURCE_EXHAUSTED. gRPC suggests 8 KiB, which a Keycloak token may fill.
        message_bytes: of one message, before and after decompression; answered RESOURCE_EXHAUSTED, at its prefix.
        stream_window: bytes of a stream that a peer may send before any is acknowledged.
        connection_window: the same of a connection: what one that is not looked at can make us hold.
        held_bytes: bytes of messages that arrived and were not taken, in all; the call that passes it is answered
            RESOURCE_EXHAUSTED. A budget outside (`Stream.on_bytes`) says wait long before.
        preface: from the accepted socket through TLS to HTTP/2's first SETTINGS; the connection is cut.
        frame: from a frame's (and a header list's) first bytes to its last; then a PING is sent, which nobody can
            answer within a frame, and the connection is cut without an answer within `keepalive_answer`.
        first_message: from a call's head to its first message; answered DEADLINE_EXCEEDED.
        message: from a message's first byte to its last, while we hold no window back; answered DEADLINE_EXCEEDED.
        idle: a connection without calls; GOAWAY, as other servers do, so that clients open another when they need one.
        age: a connection, from its socket on; GOAWAY, and its calls may end.
        keepalive: a peer that was silent so long is sent a PING.
        keepalive_answer: the answer to it; the connection is cut.
        unread_answers: the age of the oldest byte of an answer that a peer does not take, by its windows or its socket;
            the connection is cut. It needs no thread: nothing waits for the byte.
        unread_answer_bytes: bytes of answers that one connection has not taken; the connection is cut.
        drain_notice: between the two GOAWAYs of a drain, if the peer does not answer the PING after the first.
        pings: PINGs while the peer is sent nothing else; GOAWAY too_many_pings, upon which gRPC's clients double their
            interval.
        settings: SETTINGS; GOAWAY.
        refusals: calls that end before any message of theirs was asked for, where none was of a known caller before;
            GOAWAY. A caller whose credential is no good is told so often enough.
        resets: calls that the peer resets: each cost us a call's beginning. GOAWAY.
        window_updates: WINDOW_UPDATEs beyond one for each kibibyte that the peer was sent, and four for each send;
            GOAWAY.
        small_frames: DATA that brings nothing: empty or below 32 bytes, and no message is complete with it; beyond one
            for each 4 KiB that the connection brought. GOAWAY.
    """

    connections: int = 1024
    connections_per_peer: int = 512
    streams: int = 4096
    streams_per_connection: int = 128
    header_bytes: int = 16384
    message_bytes: int = 64 << 20
    stream_window: int = 4 << 20
    connection_window: int = 16 << 20
    held_bytes: int = 512 << 20
    preface: float = 10.0
    frame: float = 20.0
    first_message: float = 60.0
    message: float = 120.0
    idle: float = 900.0
    age: float = math.inf
    keepalive: float = 60.0
    keepalive_answer: float = 20.0
    unread_answers: float = 60.0
    unread_answer_bytes: int = 256 << 20
    drain_notice: float = 1.0
    pings: Rate = Rate(20, 0.5)
    settings: Rate = Rate(10, 0.2)
    refusals: Rate = Rate(100, 10)
    resets: Rate = Rate(1000, 200)
    window_updates: Rate = Rate(1000, 100)
    small_frames: Rate = Rate(1000, 100)
    displaced: Rate = Rate(32, 8)


_Limits = TypeVar("_Limits")
# What a table bounds in all, not of one connection.
_IN_ALL = {"connections", "connections_per_peer", "streams", "held_bytes"}


def share(limits: _Limits, workers: int) -> _Limits:
    """A table for one of several processes that serve the same port: of what it bounds in all, a part.

    Args:
        limits: a dataclass of limits.
        workers: how many processes there are.
    """
    names = {each.name for each in fields(limits)} & _IN_ALL  # type: ignore[arg-type] # no type says dataclass
    return replace(limits, **{name: max(getattr(limits, name) // workers, 1) for name in names})  # type: ignore[type-var] # as above


class Allowance:
    """What is left of a rate."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed now."""
        self._left = min(self._rate.burst, self._left + (now - self._at) * self._rate.per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Unsent:
    """How old the oldest byte is that was queued and not sent, to the nearest sweep."""

    __slots__ = ("_mark", "_since")

    def __init__(self) -> None:
        self._mark = -1
        self._since = 0.0

    def age(self, queued_ever: int, left: int, now: float) -> float:
        """Seconds for which bytes that were queued at a former sweep are still there.

        Args:
            queued_ever: bytes that were queued since the beginning.
            left: bytes of them that are not sent.
            now: the time.
        """
        if left <= 0:
            self._mark = -1
            return 0.0
        if self._mark < 0 or queued_ever - left >= self._mark:
            self._mark = queued_ever
            self._since = now
        return now - self._since


@dataclass(slots=True)
class Counters:
    """What a server has now, and what it has seen.

    Attributes:
        connections: open sockets.
        streams: open calls.
        held_bytes: bytes of messages that arrived and were not taken.
        accepted: sockets ever.
        gone: sockets ever whose peer had closed them before they were accepted.
        opened: calls ever.
        http1: connections that spoke HTTP/1.
        handshakes_failed: TLS handshakes that came to nothing.
        violations: connections ended because the peer broke HTTP/2.
        refused_heads: requests that were none of gRPC's.
        handler_errors: exceptions of the handler or a callback.
        cut: how often each limit was passed, by its name.
    """

    connections: int = 0
    streams: int = 0
    held_bytes: int = 0
    accepted: int = 0
    gone: int = 0
    opened: int = 0
    http1: int = 0
    handshakes_failed: int = 0
    violations: int = 0
    refused_heads: int = 0
    handler_errors: int = 0
    cut: dict[str, int] = field(default_factory=dict)

    def passed(self, limit: str) -> None:
        """Count a limit that was passed."""
        self.cut[limit] = self.cut.get(limit, 0) + 1

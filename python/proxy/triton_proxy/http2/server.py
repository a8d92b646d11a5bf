"""gRPC's server on asyncio: sockets, TLS, what all connections share, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from triton_proxy.http2.callbacks import Callbacks
from triton_proxy.http2.connection import Connection, ConnectionSettings, Role
from triton_proxy.http2.endpoint import RECEIVE_BUFFER
from triton_proxy.http2.giving_way import first_to_go
from triton_proxy.http2.limits import Allowance, ConnectionLimits, Counters
from triton_proxy.http2.ngh2_connection import Ngh2Connection
from triton_proxy.http2.server_connection import ServerConnection
from triton_proxy.http2.server_stream import Stream

Handler: TypeAlias = Callable[[Stream], object]
EngineType: TypeAlias = Callable[[Role, ConnectionSettings], Connection]

# Sockets that are accepted in one turn of the loop, so that a flood does not hold up the callers that are served.
_ACCEPTED_AT_ONCE = 64
# Until the next try, when the process has no descriptors left.
_ACCEPT_AGAIN = 0.5
_SWEEP = 1.0
# What IPv4's addresses look like on a socket of both (RFC 4291, 2.5.5.2).
_MAPPED = "::ffff:"
# States of TCP (Linux' net/tcp_states.h) in which the peer sends no more.
_GONE = {b"\x07", b"\x08"}  # CLOSE, CLOSE_WAIT
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Http2Server:
    """Serves gRPC on sockets of one loop. All of it belongs to that loop's thread.

    Attributes:
        handler: is called with each `Stream` when its head came. What it raises ends its call with UNKNOWN.
        limits: see there.
        counters: what there is and was; `statistics` gives a copy.
        loop: the loop.
        buffer: for what arrives, shared by all connections.
        callbacks: how handlers are called.
        on_http1: makes the protocol of a connection that does not begin as HTTP/2 does; None answers 505.
        draining: whether it takes no more calls.
    """

    def __init__(
        self,
        handler: Handler,
        limits: ConnectionLimits | None = None,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
        engine: EngineType = Ngh2Connection,
        on_http1: Callable[[], asyncio.Protocol] | None = None,
    ) -> None:
        """Nothing is served before `listen`, which has to be called in the loop.

        Args:
            handler: see the attribute.
            limits: None for the defaults.
            ssl_context: gives the context of each new connection, for TLS; ALPN has to offer `h2`.
            engine: makes a connection's HTTP/2.
            on_http1: see the attribute.
        """
        self.handler = handler
        self.limits = limits or ConnectionLimits()
        self.counters = Counters()
        self.on_http1 = on_http1
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self.draining = False
        self._engine = engine
        self._ssl = ssl_context
        self._settings = ConnectionSettings(
            max_streams=self.limits.streams_per_connection,
            stream_window=self.limits.stream_window,
            connection_window=self.limits.connection_window,
            header_bytes=self.limits.header_bytes,
        )
        self._listening: list[socket.socket] = []
        # By host, in the order in which they came; with each the task that accepts it.
        self._peers: dict[str, dict[ServerConnection, asyncio.Task[None]]] = {}
        # Of hosts for which others gave way.
        self._displacing: dict[str, Allowance] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.callbacks = Callbacks(self.loop, self.counters)

    def listen(self, listener: socket.socket) -> None:
        """Serve a socket that listens; several may be given."""
        listener.setblocking(False)
        self._listening.append(listener)
        self.loop.add_reader(listener, self._accept, listener)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._tick)

    def statistics(self) -> Counters:
        """What there is and was, as of now."""
        return replace(self.counters, cut=dict(self.counters.cut))

    def connections(self) -> tuple[ServerConnection, ...]:
        """Those that are open."""
        return tuple(connection for peers in self._peers.values() for connection in peers)

    async def drain(self, seconds: float) -> None:
        """Take no more connections nor calls, let those that are open end, and close.

        Args:
            seconds: after which what is left is cut off, whatever peers do.
        """
        self.draining = True
        self._stop_listening()
        for connection in self.connections():
            connection.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        await self.close()

    async def close(self) -> None:
        """Cut everything off."""
        self.draining = True
        self._stop_listening()
        for peers in self._peers.values():
            for connection, task in peers.items():
                connection.abort()
                self._end_handshake(connection, task)
        # Sockets of a handshake that was cancelled close in the loop's next turns.
        await self._empty.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self.callbacks.close()

    def sweep(self, now: float) -> None:
        """End what is behind its times.

        Args:
            now: as `loop.time` has it.
        """
        for connection in self.connections():
            connection.check_times(now)

    # Sockets.

    def _stop_listening(self) -> None:
        for listener in self._listening:
            self.loop.remove_reader(listener)
            listener.close()
        self._listening.clear()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:
                if e.errno in _EXHAUSTED and listener in self._listening:
                    self.counters.passed("connections")
                    self.loop.remove_reader(listener)
                    self.loop.call_later(_ACCEPT_AGAIN, self._accept_again, listener)
                return
            if _is_gone(accepted):
                # To set up a connection costs 50 times as much: a flood of these would fill the backlog, and the kernel
                # drop the first packet of a good caller, who sends it again after a second.
                self.counters.gone += 1
                accepted.close()
            else:
                self._take(accepted, address)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listening:
            self.loop.add_reader(listener, self._accept, listener)

    def _take(self, accepted: socket.socket, address: object) -> None:
        host, peer = _peer_of(accepted, address)
        if not self._has_place(host):
            accepted.close()
            return

        def released() -> None:
            self._release(host, connection)

        accepted.setblocking(False)

        def ended(_: asyncio.Task[None]) -> None:
            if not connection.was_made:
                accepted.close()
                released()

        connection = ServerConnection(self, peer, released)
        task = self.loop.create_task(self._serve(accepted, connection))
        # Not at its own end: a task that is cancelled before its first turn comes to none.
        task.add_done_callback(ended)
        self._peers.setdefault(host, {})[connection] = task
        self.counters.connections += 1
        self.counters.accepted += 1
        self._empty.clear()

    def _has_place(self, host: str) -> bool:
        """Whether there is a place for a connection of that host, also where another has to give way."""
        own = self._peers.get(host, {})
        crowded = len(own) >= self.limits.connections_per_peer
        if not crowded and self.counters.connections < self.limits.connections:
            return True
        self.counters.passed("connections_per_peer" if crowded else "connections")
        now = self.loop.time()
        allowance = self._displacing.get(host) or Allowance(self.limits.displaced, now)
        if not allowance.take(now):
            return False
        for connections in [own] if crowded else sorted(self._peers.values(), key=len, reverse=True):
            connection = first_to_go(connection for connection in connections if not connection.gives_way)
            if connection is not None:
                connection.give_way()
                self._end_handshake(connection, connections[connection])
                self._displacing[host] = allowance
                return True
        return False

    def _end_handshake(self, connection: ServerConnection, task: asyncio.Task[None]) -> None:
        # Without TLS the connection is about to be made. uvloop, cancelled then, would make it and never say that it is
        # lost.
        if self._ssl is not None and not connection.was_made:
            task.cancel()

    async def _serve(self, accepted: socket.socket, connection: ServerConnection) -> None:
        timeout = self.limits.preface if self._ssl is not None else None
        try:
            await self.loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=None if self._ssl is None else self._ssl(),
                ssl_handshake_timeout=timeout,
            )
        except (OSError, asyncio.CancelledError) as e:
            if isinstance(e, ConnectionAbortedError):  # asyncio's, for a handshake that took too long
                self.counters.passed("preface")
            elif not connection.gives_way:
                self.counters.handshakes_failed += 1

    def _release(self, host: str, connection: ServerConnection) -> None:
        peers = self._peers[host]
        del peers[connection]
        if not peers:
            del self._peers[host]
            self._displacing.pop(host, None)
        self.counters.connections -= 1
        if not self.counters.connections:
            self._empty.set()

    def _tick(self) -> None:
        self._sweeper = self.loop.call_later(_SWEEP, self._tick)
        self.sweep(self.loop.time())

    # For connections.

    def make_engine(self, role: Role) -> Connection:
        """HTTP/2 for one connection."""
        return self._engine(role, self._settings)


def _is_gone(accepted: socket.socket) -> bool:
    """Whether the peer has closed its side already, which none does that waits for an answer over HTTP/2."""
    if accepted.family == socket.AF_UNIX:
        return False
    return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) in _GONE


def _peer_of(accepted: socket.socket, address: object) -> tuple[str, str]:
    """The host that connections are counted by, and the peer as gRPC writes it."""
    if accepted.family == socket.AF_INET and isinstance(address, tuple):
        return address[0], f"ipv4:{address[0]}:{address[1]}"
    if accepted.family == socket.AF_INET6 and isinstance(address, tuple):
        if address[0].startswith(_MAPPED):
            host = address[0].removeprefix(_MAPPED)
            return host, f"ipv4:{host}:{address[1]}"
        return address[0], f"ipv6:[{address[0]}]:{address[1]}"
    return "unix", "unix:"

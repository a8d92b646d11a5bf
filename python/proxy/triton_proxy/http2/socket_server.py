"""Sockets that listen in one loop: how many connections there may be, TLS, the clock, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar, cast

from triton_proxy.http2.callbacks import Callbacks
from triton_proxy.http2.giving_way import Losable, first_to_go
from triton_proxy.http2.limits import Allowance, Counters, Rate

# Sockets that are accepted in one turn of the loop, so that a flood does not hold up the callers that are served.
_ACCEPTED_AT_ONCE = 64
# As many times, when it listens no more: what a backlog has, and no flood without an end.
_ACCEPTED_LAST = 64
# Until the next try, when the process has no descriptors left.
_ACCEPT_AGAIN = 0.5
_SWEEP = 1.0
# What IPv4's addresses look like on a socket of both (RFC 4291, 2.5.5.2).
_MAPPED = "::ffff:"
# States of TCP (Linux' net/tcp_states.h) in which the peer sends no more.
_GONE = {b"\x07", b"\x08"}  # CLOSE, CLOSE_WAIT
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class SocketLimits(Protocol):
    """What of a table of limits concerns sockets, whatever is spoken on them. See `ConnectionLimits`."""

    @property
    def connections(self) -> int:
        """Sockets in all, TLS handshakes included."""

    @property
    def connections_per_peer(self) -> int:
        """Sockets of one address."""

    @property
    def displaced(self) -> Rate:
        """Connections that gave way to those of one address."""

    @property
    def preface(self) -> float:
        """Seconds from the accepted socket through TLS to the peer's first words."""


class ServedConnection(Losable, Protocol):
    """A connection as its server sees it; an asyncio protocol besides."""

    @property
    def gives_way(self) -> bool:
        """Whether another connection needs its place."""

    @property
    def was_made(self) -> bool:
        """Whether asyncio gave it its socket; then it will also take it back."""

    def drain(self) -> None:
        """Takes no more calls, lets those that are open end, and closes."""

    def give_way(self) -> None:
        """Ends at once, to make room for another."""

    def abort(self) -> None:
        """Closes at once."""

    def check_times(self, now: float) -> None:
        """Ends what is behind its times."""


_Connection = TypeVar("_Connection", bound=ServedConnection)


class SocketServer(ABC, Generic[_Connection]):
    """Accepts sockets within limits and looks after their connections. All of it belongs to one loop's thread.

    Attributes:
        counters: what there is and was; `statistics` gives a copy.
        loop: the loop.
        draining: whether it takes no more calls.
        callbacks: how handlers are called.
    """

    def __init__(self, limits: SocketLimits, ssl_context: Callable[[], ssl.SSLContext] | None) -> None:
        """Nothing is served before `listen`, which has to be called in the loop.

        Args:
            limits: those of sockets.
            ssl_context: gives the context of each new connection, for TLS.
        """
        self.counters = Counters()
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self._socket_limits = limits
        self._ssl = ssl_context
        self._listening: list[socket.socket] = []
        # By host, in the order in which they came; with each the task that accepts it.
        self._peers: dict[str, dict[_Connection, asyncio.Task[None]]] = {}
        # Of hosts for which others gave way.
        self._displacing: dict[str, Allowance] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.callbacks = Callbacks(self.loop, self.counters)

    @abstractmethod
    def make_connection(self, peer: str, released: Callable[[], None]) -> _Connection:
        """The protocol of a socket that was accepted.

        Args:
            peer: its address as gRPC writes it.
            released: to be called once, when the socket is gone.
        """

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

    def connections(self) -> tuple[_Connection, ...]:
        """Those that are open."""
        return tuple(connection for peers in self._peers.values() for connection in peers)

    async def drain(self, seconds: float) -> None:
        """Take no more connections nor calls, let those that are open end, and close.

        Args:
            seconds: after which what is left is cut off, whatever peers do.
        """
        # A connection that waits to be accepted would be reset with its listener, and its caller's first call fail. One
        # that is told to go away opens another elsewhere, and repeats what it sent.
        for listener in self._listening:
            for _ in range(_ACCEPTED_LAST):
                if not self._accept(listener):
                    break
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

    def _accept(self, listener: socket.socket) -> bool:
        """Whether there may be more."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as e:
                if e.errno in _EXHAUSTED and listener in self._listening:
                    self.counters.passed("connections")
                    self.loop.remove_reader(listener)
                    self.loop.call_later(_ACCEPT_AGAIN, self._accept_again, listener)
                return False
            if _is_gone(accepted):
                # To set up a connection costs 50 times as much: a flood of these would fill the backlog, and the kernel
                # drop the first packet of a good caller, who sends it again after a second.
                self.counters.gone += 1
                accepted.close()
            else:
                self._take(accepted, address)
        return True

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

        connection = self.make_connection(peer, released)
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
        crowded = len(own) >= self._socket_limits.connections_per_peer
        if not crowded and self.counters.connections < self._socket_limits.connections:
            return True
        self.counters.passed("connections_per_peer" if crowded else "connections")
        now = self.loop.time()
        allowance = self._displacing.get(host) or Allowance(self._socket_limits.displaced, now)
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

    def _end_handshake(self, connection: _Connection, task: asyncio.Task[None]) -> None:
        # Without TLS the connection is about to be made. uvloop, cancelled then, would make it and never say that it is
        # lost.
        if self._ssl is not None and not connection.was_made:
            task.cancel()

    async def _serve(self, accepted: socket.socket, connection: _Connection) -> None:
        timeout = self._socket_limits.preface if self._ssl is not None else None
        try:
            await self.loop.connect_accepted_socket(
                lambda: cast(asyncio.BaseProtocol, connection),
                accepted,
                ssl=None if self._ssl is None else self._ssl(),
                ssl_handshake_timeout=timeout,
            )
        except (OSError, asyncio.CancelledError) as e:
            if isinstance(e, ConnectionAbortedError):  # asyncio's, for a handshake that took too long
                self.counters.passed("preface")
            elif not connection.gives_way:
                self.counters.handshakes_failed += 1

    def _release(self, host: str, connection: _Connection) -> None:
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


def _is_gone(accepted: socket.socket) -> bool:
    """Whether the peer has closed its side already, which none does that waits for an answer."""
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

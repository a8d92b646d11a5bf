"""gRPC's server on asyncio: what all its connections share."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeAlias

from triton_proxy.http2.connection import Connection, ConnectionSettings, Role
from triton_proxy.http2.endpoint import RECEIVE_BUFFER
from triton_proxy.http2.limits import ConnectionLimits
from triton_proxy.http2.ngh2_connection import Ngh2Connection
from triton_proxy.http2.server_connection import ServerConnection
from triton_proxy.http2.server_stream import Stream
from triton_proxy.http2.socket_server import SocketServer

Handler: TypeAlias = Callable[[Stream], object]
EngineType: TypeAlias = Callable[[Role, ConnectionSettings], Connection]


class Http2Server(SocketServer[ServerConnection]):
    """Serves gRPC on sockets of one loop. All of it belongs to that loop's thread.

    Attributes:
        handler: is called with each `Stream` when its head came. What it raises ends its call with UNKNOWN.
        limits: see there.
        counters: what there is and was; `statistics` gives a copy.
        loop: the loop.
        buffer: for what arrives, shared by all connections.
        callbacks: how handlers are called.
        draining: whether it takes no more calls.
    """

    def __init__(
        self,
        handler: Handler,
        limits: ConnectionLimits | None = None,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
        engine: EngineType = Ngh2Connection,
    ) -> None:
        """Nothing is served before `listen`, which has to be called in the loop.

        Args:
            handler: see the attribute.
            limits: None for the defaults.
            ssl_context: gives the context of each new connection, for TLS; ALPN has to offer `h2`.
            engine: makes a connection's HTTP/2.
        """
        self.handler = handler
        self.limits = limits or ConnectionLimits()
        super().__init__(self.limits, ssl_context)
        self.buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._engine = engine
        self._settings = ConnectionSettings(
            max_streams=self.limits.streams_per_connection,
            stream_window=self.limits.stream_window,
            connection_window=self.limits.connection_window,
            header_bytes=self.limits.header_bytes,
        )

    def make_connection(self, peer: str, released: Callable[[], None]) -> ServerConnection:
        """A caller's connection."""
        return ServerConnection(self, peer, released)

    def make_engine(self, role: Role) -> Connection:
        """HTTP/2 for one connection."""
        return self._engine(role, self._settings)

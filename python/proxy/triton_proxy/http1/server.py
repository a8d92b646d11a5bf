"""HTTP/1.1's server: what all its connections share."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeAlias

from triton_proxy.http1.connection import HttpConnection
from triton_proxy.http1.limits import HttpLimits
from triton_proxy.http1.request import HttpRequest
from triton_proxy.http2.endpoint import RECEIVE_BUFFER
from triton_proxy.http2.socket_server import SocketServer

Handler: TypeAlias = Callable[[HttpRequest], object]


class HttpServer(SocketServer[HttpConnection]):
    """Serves HTTP/1.1 on sockets of one loop. All of it belongs to that loop's thread.

    Attributes:
        handler: is called with each request when its head came. What it raises ends its request with 500.
        limits: see there.
        counters: what there is and was, requests as `streams`; `statistics` gives a copy.
        buffer: for what arrives, shared by all connections.
    """

    def __init__(
        self,
        handler: Handler,
        limits: HttpLimits | None = None,
        *,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Nothing is served before `listen`, which has to be called in the loop.

        Args:
            handler: see the attribute.
            limits: None for the defaults.
            ssl_context: gives the context of each new connection, for TLS.
        """
        self.handler = handler
        self.limits = limits or HttpLimits()
        super().__init__(self.limits, ssl_context)
        self.buffer = memoryview(bytearray(RECEIVE_BUFFER))

    def make_connection(self, peer: str, released: Callable[[], None]) -> HttpConnection:
        """A caller's connection."""
        return HttpConnection(self, peer, released)

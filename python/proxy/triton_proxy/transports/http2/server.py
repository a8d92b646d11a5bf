"""The callers' listener on the HTTP/2 engine: its socket, its loop in a thread of its own, and its end."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from triton_proxy.http2.limits import ConnectionLimits, Counters, share
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.http2.server import Http2Server
from triton_proxy.http2.server_stream import Stream
from triton_proxy.serving.router import Router
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.http2.engine_call import EngineCall
from triton_proxy.transports.http2.listening import listen_locally
from triton_proxy.transports.http2.tls import ListenerTls
from triton_proxy.transports.listener import HEADER_BYTES, ListenerOptions

# Of a caller that is not known yet: a small request comes with its head, and nothing of a large one.
_STRANGERS_WINDOW_BYTES = 65_535
# Of one that is. It is given back as bytes arrive and the budget has room for them, so that it bounds what comes beyond
# that; by the round trips within a cluster, it lets a gigabyte a second through.
_WINDOW_BYTES = 512 * 1024
_CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024


class EngineServer:
    """Serves callers on the engine.

    Attributes:
        port: where it listens.
    """

    def __init__(self, loop: LoopThread, router: Router, options: ListenerOptions, threads: CallThreads) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            loop: in which everything arrives and leaves.
            router: says who is calling, and where to.
            options: what it is to do.
            threads: where calls wait and compute.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._router = router
        self._tls = None if options.certificates is None else ListenerTls(options.certificates, "h2")
        own_call = options.own_call
        self._own_method = own_call.method.encode() if own_call else b""
        limits = ConnectionLimits(
            streams_per_connection=options.streams_per_connection,
            header_bytes=HEADER_BYTES,
            message_bytes=options.readable_message_bytes,
            stream_window=_STRANGERS_WINDOW_BYTES,
            connection_window=_CONNECTION_WINDOW_BYTES,
        )
        self._limits = share(limits, options.workers)
        self._listener = options.listen(options.address, "LISTEN_ADDR")
        self._own_listener = listen_locally(own_call.path) if own_call else None
        self.port: int = self._listener.getsockname()[1]
        self._threads = threads
        self._loop = loop
        self._server: Http2Server | None = None
        self._own_server: Http2Server | None = None

    def start(self) -> None:
        """Serves from now on."""
        self._loop.run(self._listen()).result()

    def statistics(self) -> Counters | None:
        """What connections there are and were; None before the start."""
        return None if self._server is None else self._server.statistics()

    def stop(self, grace_secs: float) -> Callable[[float], None]:
        """Takes no new calls and tells callers to go away; those open may go on for so long.

        Args:
            grace_secs: after this, what is still open is cut off.

        Returns:
            Waits for the end of all calls, for so many seconds at the longest, and cuts off what is open then.
        """
        return self._loop.run_until(self._drain(grace_secs), self._cut_off)

    def _serve(self, stream: Stream) -> None:
        if self._own_method and hmac.compare_digest(stream.method.encode(), self._own_method):
            stream.answer(b"")
            return
        self._router.route_nowait(EngineCall(stream, self._loop, self._threads, _WINDOW_BYTES))

    async def _listen(self) -> None:
        self._server = Http2Server(self._serve, self._limits, ssl_context=self._tls.context if self._tls else None)
        self._server.listen(self._listener)
        if self._own_listener is not None:
            self._own_server = Http2Server(self._serve, self._limits)
            self._own_server.listen(self._own_listener)

    async def _drain(self, grace_secs: float) -> None:
        if self._own_server is not None:
            await self._own_server.close()
        if self._server is not None:
            await self._server.drain(grace_secs)

    async def _cut_off(self) -> None:
        if self._server is not None:
            await self._server.close()

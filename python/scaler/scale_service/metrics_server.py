"""A port with GET /metrics and nothing else, plaintext, with a loop of its own."""

from __future__ import annotations

import asyncio
import logging
import threading

from aiohttp import web

from scale_service.listening import Listener
from scale_service.metrics import Metrics

_PEER_SECS = 5.0
_LARGEST_FIELD = 8 * 1024


class MetricsServer:
    """Serves the metrics until it is closed.

    Attributes:
        port: where it listens.
    """

    def __init__(self, address: str, metrics: Metrics) -> None:
        """Binds the port; serves nothing yet.

        Args:
            address: HOST:PORT; port 0 takes a free one.
            metrics: writes them.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._metrics = metrics
        self._listener = Listener(address, "METRICS_LISTEN_ADDR")
        self.port = self._listener.port
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begins to serve, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        quiet = logging.getLogger(f"{__name__}.aiohttp")
        quiet.propagate = False
        server = web.Server(
            self._answer,
            access_log=None,
            logger=quiet,
            keepalive_timeout=_PEER_SECS,
            lingering_time=0.0,
            max_line_size=_LARGEST_FIELD,
            max_field_size=_LARGEST_FIELD,
            max_headers=64,
        )
        self._listener.listen(server, lambda: len(server.connections))
        await self._over.wait()
        self._listener.close()
        await server.shutdown(None)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/metrics":
            return web.Response(status=404, text="this port has /metrics and nothing else\n")
        if request.method != "GET":
            return web.Response(
                status=405, text="only GET is served here; ask GET /metrics\n", headers={"Allow": "GET"}
            )
        body, content_type = self._metrics.page(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

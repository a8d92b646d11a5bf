"""What stands before an App in Domino: serves it below a path, which it takes off, and names the viewer."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
from aiohttp import web

PREFIX = "/ada/vision/r/notebookSession/0123456789abcdef"
# Of one hop only (RFC 9110, 7.6.1), or set anew.
_HOPS = ("connection", "host", "keep-alive", "transfer-encoding")
_LARGEST_UPLOAD = 64 * 1024 * 1024


class DominoFront:
    """Serves one App, on a free port of loopback. Close it.

    Attributes:
        url: where it is served, with the prefix and a slash.
    """

    def __init__(self, upstream: str, viewer: str) -> None:
        """Start.

        Args:
            upstream: the App's address, http://HOST:PORT.
            viewer: Domino's name of the person that looks.
        """
        self._upstream = upstream
        self._viewer = viewer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.url = f"http://127.0.0.1:{port}{PREFIX}/"

    def close(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> int:
        app = web.Application(client_max_size=_LARGEST_UPLOAD)
        app.router.add_route("*", PREFIX + "/{path:.*}", self._forward)
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        # What a browser says of its user does not get through.
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in (*_HOPS, "domino-username")
        }
        headers["domino-username"] = self._viewer
        address = f"{self._upstream}/{request.raw_path.removeprefix(PREFIX + '/')}"
        body = await request.read()
        async with self._http.request(
            request.method, address, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _HOPS:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

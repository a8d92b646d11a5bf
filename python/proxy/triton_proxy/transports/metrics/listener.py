"""A port with GET /metrics and nothing else, and with a bound for each thing that a stranger in the network can do.

It has a loop of its own in a thread of its own. What it takes from calls is the interpreter's lock while an exposition
is written, half a millisecond at a time, and no more than a tenth of the time for each of the two formats.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future

from triton_proxy.http2.limits import Allowance, Rate
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.transports.http2.listening import listen

_LOG = logging.getLogger(__name__)
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# A Prometheus server has one, for as long as a scrape takes. One more takes the place of the oldest.
_MOST_CONNECTIONS = 16
# From the accepted socket to the last byte of the answer.
_CONNECTION_SECS = 5.0
# Prometheus sends 300 bytes.
_HEAD_BYTES = 8 * 1024
# Beyond it they wait to be accepted, and beyond the backlog they get no connection.
_CONNECTIONS = Rate(50, 50)
_BACKLOG = 64
_PAUSE_SECS = 0.02
# Two Prometheus servers that ask at the same time get the same; what took long to write is good for longer.
_FRESH_SECS = 1.0
_FRESH_TIMES = 10


class MetricsListener:
    """Serves what `render` writes.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        address: str,
        render: Callable[[str], bytes],
        *,
        connection_secs: float = _CONNECTION_SECS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            address: HOST:PORT; port 0 takes a free one.
            render: writes all metrics, as `PLAIN` or as `OPEN_METRICS`.
            connection_secs: longest life of a connection.
            clock: the time in seconds, for how long what was written is good.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._render = render
        self._connection_secs = connection_secs
        self._clock = clock
        self._listener = listen(address, "METRICS_LISTEN_ADDR")
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        # In the order of their coming.
        self._open: dict[asyncio.Task[None], None] = {}
        self._rendered: dict[str, tuple[float, bytes]] = {}
        self._loop: LoopThread | None = None
        self._accepting: Future[None] | None = None
        self.refused = 0

    def start(self) -> None:
        """Serves from now on."""
        self._loop = LoopThread("metrics")
        self._accepting = self._loop.run(self._accept())

    def close(self) -> None:
        """Ends it, and connections that are still open."""
        if self._loop is not None:
            self._loop.run(self._stop()).result()
            self._loop.close()
        self._listener.close()

    async def _stop(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        ending = list(self._open)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        allowance = Allowance(_CONNECTIONS, loop.time())
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                # Such as no descriptor that is free.
                _LOG.warning("a connection for metrics can't be accepted: %s", error.strerror)
                await asyncio.sleep(1.0)
                continue
            if len(self._open) >= _MOST_CONNECTIONS:
                next(iter(self._open)).cancel()
            task = loop.create_task(self._serve(connection))
            self._open[task] = None
            task.add_done_callback(self._open.pop)
            while not allowance.take(loop.time()):
                await asyncio.sleep(_PAUSE_SECS)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            served = False
            try:
                async with asyncio.timeout(self._connection_secs):
                    head = await _head(connection)
                    answer, served = self._answer(head)
                    await asyncio.get_running_loop().sock_sendall(connection, answer)
            except (OSError, TimeoutError):
                served = False
            finally:
                self.refused += not served

    def _answer(self, head: bytes | None) -> tuple[bytes, bool]:
        """The answer to a request, and whether it has metrics."""
        if head is None:
            return _response("431 Request Header Fields Too Large", "more than 8 KiB of request; send less\n"), False
        line, _, fields = head.decode("latin-1").partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request", "not HTTP/1.1; ask GET /metrics\n"), False
        if words[1].partition("?")[0] != "/metrics":
            return _response("404 Not Found", "this port has /metrics and nothing else\n"), False
        if words[0] != "GET":
            text = "only GET is served here; ask GET /metrics\n"
            return _response("405 Method Not Allowed", text, ("Allow: GET",)), False
        accepts = [
            value for name, _, value in (f.partition(":") for f in fields.split("\r\n")) if name.lower() == "accept"
        ]
        content_type = OPEN_METRICS if any("application/openmetrics-text" in value for value in accepts) else PLAIN
        try:
            rendered = self._rendered_now(content_type)
        except Exception:  # noqa: BLE001 - a mistake of ours: who scrapes has to see it, and the next may do better
            _LOG.exception("the metrics can't be written")
            return _response("500 Internal Server Error", "the proxy can't write its metrics; see its log\n"), False
        return _response("200 OK", rendered, content_type=content_type), True

    def _rendered_now(self, content_type: str) -> bytes:
        until, rendered = self._rendered.get(content_type, (0.0, b""))
        began = self._clock()
        if began >= until:
            rendered = self._render(content_type)
            done = self._clock()
            self._rendered[content_type] = done + max(_FRESH_SECS, _FRESH_TIMES * (done - began)), rendered
        return rendered


async def _head(connection: socket.socket) -> bytes | None:
    """A request's head; None where it is too long. Raises ConnectionError where it does not come to its end."""
    loop = asyncio.get_running_loop()
    head = bytearray()
    while b"\r\n\r\n" not in head:
        if len(head) >= _HEAD_BYTES:
            return None
        received = await loop.sock_recv(connection, _HEAD_BYTES - len(head))
        if not received:
            raise ConnectionError
        head += received
    return bytes(head[: head.index(b"\r\n\r\n")])


def _response(
    status: str, body: str | bytes, fields: tuple[str, ...] = (), content_type: str = "text/plain; charset=utf-8"
) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content

"""For tests: a server of HTTP/1.1 in a thread with a loop of its own, and a peer that sends any bytes whatever."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from proxy_testing.http2 import PATIENCE, ServerThread
from triton_proxy.http1.limits import HttpLimits
from triton_proxy.http1.server import Handler, HttpServer


class HttpServing(ServerThread[HttpServer]):
    """HTTP/1.1 on a port of its own."""

    def __init__(
        self,
        handler: Handler,
        limits: HttpLimits | None = None,
        *,
        loop: str = "uvloop",
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(loop, lambda: HttpServer(handler, limits, ssl_context=ssl_context))


@contextmanager
def serving(handler: Handler, limits: HttpLimits | None = None, **words: Any) -> Iterator[HttpServing]:
    """A server while a block runs."""
    running = HttpServing(handler, limits, **words)
    try:
        yield running
    finally:
        running.stop()


@dataclass
class Response:
    """An answer as it came.

    Attributes:
        status: HTTP's.
        fields: by name in lower case.
        body: all of it, without chunks' framing.
    """

    status: int
    fields: dict[str, str]
    body: bytes


class Peer:
    """The other end of a connection, which sends what a test gives it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Connects.

        Args:
            port: of 127.0.0.1.
            tls: for TLS; None is plaintext.
        """
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._buffer = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def half_close(self) -> None:
        """Sends no more."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self._socket.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", /, **fields: str) -> None:
        """Sends a request; underscores in names of fields are hyphens."""
        self.send(request(method, path, body, **fields))

    def response(self, *, to_head: bool = False) -> Response:
        """Waits for an answer.

        Args:
            to_head: whether it has no body, whatever its length says.

        Raises:
            EOFError: the connection ended before.
        """
        head = self.until(b"\r\n\r\n").decode("latin-1")
        line, *lines = head.split("\r\n")[:-2]
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        status = int(line.split()[1])
        if fields.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        elif to_head or status == 100:
            body = b""
        elif "content-length" in fields:
            body = self.exactly(int(fields["content-length"]))
        else:
            body = self.rest()
        return Response(status, fields, body)

    def chunk(self) -> bytes:
        """Waits for a chunk; b"" is the last."""
        size = int(self.until(b"\r\n"), 16)
        return self.exactly(size + 2)[:-2]

    def until(self, end: bytes) -> bytes:
        """Waits for bytes up to an end."""
        while end not in self._buffer:
            self._more()
        at = self._buffer.index(end) + len(end)
        found, self._buffer = self._buffer[:at], self._buffer[at:]
        return found

    def exactly(self, size: int) -> bytes:
        """Waits for so many bytes."""
        while len(self._buffer) < size:
            self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def rest(self) -> bytes:
        """Waits for the end of the connection, and gives what came before; a reset is an end, too."""
        try:
            while True:
                self._more()
        except (EOFError, ConnectionResetError):
            found, self._buffer = self._buffer, b""
            return found

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise EOFError(self._buffer)
        self._buffer += data


def request(method: str, path: str, body: bytes = b"", /, **fields: str) -> bytes:
    """A request's bytes; underscores in names of fields are hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name.replace('_', '-')}: {v}" for name, v in fields.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

"""An HTTP server that answers, byte by byte, what a test tells it to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service_testing.authority import Pair


@dataclass(frozen=True)
class Answer:
    """Bytes in pieces.

    Attributes:
        pieces: what is sent, one after the other; then the connection ends.
        pause: seconds between two pieces.
        first_pause: seconds before the first.
    """

    pieces: tuple[bytes, ...] = ()
    pause: float = 0
    first_pause: float = 0


def http_response(status: str, body: bytes, *headers: str) -> Answer:
    """A complete HTTP response in one piece.

    Args:
        status: such as "200 OK".
        body: the body.
        headers: more headers, such as "Location: elsewhere".
    """
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return Answer(((head + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode() + body,))


class RawServer:
    """Gives each request the answer that `answer` makes for it, each on a connection of its own.

    Attributes:
        url: where it listens.
        answer: makes the answer for a request.
        requests: the requests so far.
        finished: how many answers were sent to their last piece.
    """

    def __init__(
        self, answer: Answer | Callable[[bytes], Answer] = Answer(), tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.finished = 0
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # The caller having had enough is what some tests are about.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                piece = connection.recv(65536)
                if not piece:
                    return
                request += piece
            self.requests.append(request)
            answer = self.answer if isinstance(self.answer, Answer) else self.answer(request)
            if self._ended.wait(answer.first_pause):
                return
            for piece in answer.pieces:
                connection.sendall(piece)
                if self._ended.wait(answer.pause):
                    return
            self.finished += 1
            connection.close()

    def stop(self) -> None:
        """Ends it and every connection."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def header(request: bytes, name: str) -> str | None:
    """The value of a header of a request; None where it has none or several."""
    lines = request.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    values = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.lower() == name.lower()]
    return values[0] if len(values) == 1 else None


def tls_of(pair: Pair, folder: Path) -> ssl.SSLContext:
    """What a server with a certificate needs to speak TLS; `ssl` takes it from a file in the folder only."""
    (folder / "server.pem").write_bytes(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context

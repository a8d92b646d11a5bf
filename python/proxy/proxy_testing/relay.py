"""A relay between a client and a server, which holds back what the server sends from `hold` to `release`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

_WAIT_SECS = 20.0
_PEEK_BYTES = 1 << 16


class Relay:
    """Relays one connection to a port of this machine; as a context manager it listens within.

    Like a client too busy to read: what the server sent stays where it is, and when writing to the server fails the
    connection is gone with all that was not read.

    Attributes:
        port: where to connect instead.
    """

    def __init__(self, port: int) -> None:
        """Listens; nothing is connected yet.

        Args:
            port: of the server.
        """
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = socket.create_connection(("127.0.0.1", port))
        self._client: socket.socket | None = None
        self._open = threading.Event()
        self._open.set()
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Relay:
        threading.Thread(target=self._to_server, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._listener.close()

    def hold(self) -> None:
        """Lets nothing of the server's through any more."""
        self._open.clear()

    def release(self) -> None:
        """Lets through what was held, and what follows."""
        self._open.set()

    def wait_for(self, words: bytes) -> None:
        """Waits until the server has sent these, which are held."""
        deadline = time.monotonic() + _WAIT_SECS
        while words not in self._server.recv(_PEEK_BYTES, socket.MSG_PEEK):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server did not send {words!r}")
            time.sleep(0.01)

    def _to_server(self) -> None:
        self._client, _ = self._listener.accept()
        threading.Thread(target=self._to_client, args=(self._client,), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := self._client.recv(_PEEK_BYTES):
                self._server.sendall(data)
        self._close()

    def _to_client(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._server.recv(1, socket.MSG_PEEK):
                self._open.wait()
                client.sendall(self._server.recv(_PEEK_BYTES))
        self._close()

    def _close(self) -> None:
        for end in (self._server, self._client):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

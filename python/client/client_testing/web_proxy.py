"""A real web proxy on loopback, as corporate networks have them: it opens tunnels and keeps what it got."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress

import pytest

from client_testing.background import InBackground

# All that gRPC, urllib and others look at.
_NAMES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_EXEMPT = ("no_grpc_proxy", "no_proxy", "NO_PROXY")


class WebProxy(InBackground, socketserver.ThreadingTCPServer):
    """Serves CONNECT, and refuses all else.

    Attributes:
        asked: the first line of each request.
        carried: how many bytes went through tunnels, both ways together.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.carried = 0
        self.counting = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def in_environment(self, patch: pytest.MonkeyPatch) -> None:
        """Let every variable that names a web proxy name this one, for all addresses."""
        for name in _NAMES:
            patch.setenv(name, self.url)
        for name in _EXEMPT:
            patch.delenv(name, raising=False)


class _Handler(socketserver.StreamRequestHandler):
    server: WebProxy

    def handle(self) -> None:
        line = self.rfile.readline().decode("ascii").strip()
        self.server.asked.append(line)
        while self.rfile.readline().strip():
            pass
        method, target = line.split(" ")[:2]
        if method != "CONNECT":
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as beyond:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._carry, args=(beyond, self.connection))
            back.start()
            self._carry(self.connection, beyond)
            back.join()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self.server.counting:
                    self.server.carried += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

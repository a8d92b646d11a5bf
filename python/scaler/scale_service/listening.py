"""The REST port's socket: each connection is served with the certificates of the moment it came."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

# Connections at once, and as many handshakes; one more is closed as it comes.
_MOST_CONNECTIONS = 512
# Of one turn of the loop, so that a flood does not hold up the requests under way.
_ACCEPTED_AT_ONCE = 64
# Until the next try, when the process has no descriptors left.
_ACCEPT_AGAIN_SECS = 0.5
# For a TLS handshake.
_HANDSHAKE_SECS = 15.0


class Listener:
    """Accepts connections. After `listen` all of it belongs to the loop's thread.

    Not asyncio's `create_server`: its context is one for good, and a connection that it has just accepted when it is
    closed is forgotten with its socket open.

    Attributes:
        context: for the connections that come from now on; None for plaintext.
    """

    def __init__(self, address: str, setting: str = "LISTEN_ADDR") -> None:
        """Binds the address.

        Args:
            address: HOST:PORT; port 0 takes a free one.
            setting: that it comes from, for the error's text.

        Raises:
            RuntimeError: it can't be bound.
        """
        self.context: ssl.SSLContext | None = None
        self._socket = _bound(address, setting)
        self._socket.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def listen(self, protocol: Callable[[], asyncio.Protocol], connections: Callable[[], int]) -> None:
        """Accepts from now on.

        Args:
            protocol: makes a connection's.
            connections: how many there are.
        """
        asyncio.get_running_loop().add_reader(self._socket, self._accept, protocol, connections)

    def close(self) -> None:
        """Accepts no more; connections stay as they are."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self, protocol: Callable[[], asyncio.Protocol], connections: Callable[[], int]) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                loop.remove_reader(self._socket)
                loop.call_later(_ACCEPT_AGAIN_SECS, self._accept_again, protocol, connections)
                return
            if max(connections(), len(self._tasks)) >= _MOST_CONNECTIONS:
                accepted.close()
                continue
            accepted.setblocking(False)
            task = loop.create_task(self._serve(accepted, protocol))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _accept_again(self, protocol: Callable[[], asyncio.Protocol], connections: Callable[[], int]) -> None:
        if self._socket.fileno() >= 0:
            self.listen(protocol, connections)

    async def _serve(self, accepted: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        context = self.context
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol, accepted, ssl=context, ssl_handshake_timeout=_HANDSHAKE_SECS if context else None
            )
        except OSError:  # a handshake that came to nothing; ssl's errors are such
            accepted.close()


def _bound(address: str, setting: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # [::] takes IPv4 too, where the machine has both.
        return socket.create_server(
            (host, int(port)), family=family, backlog=1024, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except OSError as error:
        raise RuntimeError(
            f"{setting} {address} can't be bound ({error.strerror}); expected a free port of this machine; give another"
        ) from None

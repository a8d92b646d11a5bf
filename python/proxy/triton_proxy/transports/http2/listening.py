"""Sockets that listen."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TypeAlias

# As many as Linux lets through by default (net.core.somaxconn): beyond it a caller's first packet is dropped.
_BACKLOG = 4096
# Without a module for it, and with it switched off (sysctl net.ipv6.conf.all.disable_ipv6).
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


# Gives the socket for an address, whose setting it is told.
Listen: TypeAlias = Callable[[str, str], socket.socket]


def listen(address: str, setting: str, *, shared: bool = False) -> socket.socket:
    """A socket for callers.

    Args:
        address: HOST:PORT; port 0 takes a free one.
        setting: where the operator has the address from.
        shared: whether other sockets may listen there, too; each gets its share of connections (SO_REUSEPORT).

    Raises:
        RuntimeError: the address can't be bound; the text names the setting.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        try:
            return _bound(host, int(port), shared)
        except OSError as error:
            if host != "::" or error.errno not in _NO_IPV6:
                raise
            # As gRPC's own server does: all addresses of a machine without IPv6.
            return _bound("0.0.0.0", int(port), shared)  # noqa: S104 - what [::] asks for
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "; is the port taken?" if taken else f" ({error.strerror}); check the address:"
        raise RuntimeError(f"cannot listen on {address}{why} {setting} sets it") from None


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = found[0]
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        listener.bind(where)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_locally(path: str) -> socket.socket:
    """A socket for this machine alone.

    Args:
        path: its file, which must not exist.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(_BACKLOG)
    return listener

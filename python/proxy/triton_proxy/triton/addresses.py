"""At which addresses Triton is: its name is looked up again and again, since Tritons come and go."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

# Gives the addresses, each HOST:PORT, that HOST:PORT stands for; none where the name has none. Raises OSError where
# nobody can say.
Resolve = Callable[[str], Sequence[str]]

_NO_ADDRESS = (socket.EAI_NONAME, socket.EAI_NODATA)


def resolve(url: str) -> list[str]:
    """All addresses of a host, by the system's resolver, which waits for its DNS servers.

    Where the host has addresses of both families, IPv4's are given: with the others, each Triton would be there twice.

    Args:
        url: HOST:PORT.

    Returns:
        Each address as HOST:PORT; none where the name is not there or has no address.

    Raises:
        OSError: the resolver can't say.
    """
    host, port = split(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        if error.errno in _NO_ADDRESS:
            return []
        raise
    families = [family for family, *_ in found]
    wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = sorted({str(address[0]) for family, _, _, _, address in found if family is wanted})
    return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts]


def split(url: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port of HOST:PORT."""
    host, _, port = url.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_address(url: str) -> bool:
    """Whether HOST of HOST:PORT is an address already, and no name."""
    try:
        ipaddress.ip_address(split(url)[0])
    except ValueError:
        return False
    return True

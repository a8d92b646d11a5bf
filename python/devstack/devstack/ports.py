"""Free ports on this machine."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

ADDRESS = "127.0.0.1"


def free_ports(wanted: Sequence[int]) -> list[int]:
    """Fills in the ports that are left open.

    Args:
        wanted: ports; 0 stands for any.

    Returns:
        The same with each 0 replaced by a port that was free a moment ago; no two of these are alike.
    """
    with contextlib.ExitStack() as stack:
        ports = []
        for port in wanted:
            if port == 0:
                # Held until the last is chosen.
                listener = stack.enter_context(socket.socket())
                listener.bind((ADDRESS, 0))
                port = int(listener.getsockname()[1])
            ports.append(port)
    return ports

from __future__ import annotations

import socket

from devstack.ports import ADDRESS, free_ports


def test_open_ones_are_filled_in_with_free_ports_and_the_others_stay() -> None:
    ports = free_ports([0, 4711, 0, 0])

    assert ports[1] == 4711
    assert len(set(ports)) == 4
    for port in (ports[0], *ports[2:]):
        with socket.socket() as listener:
            listener.bind((ADDRESS, port))

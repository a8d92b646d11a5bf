"""The two ways to attack: to hold something for as long as one can, and to send something as often as one can.

An attacker that is cut off comes again; what it was cut off from, it counts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from attacks.http2_client import Connection
from attacks.world import Tally

_TEND_SECS = 0.1
_AGAIN_SECS = 0.2


def hold(
    tally: Tally,
    open_one: Callable[[int], Connection],
    count: int,
    *,
    reads: bool = True,
    tend: Callable[[Connection], None] | None = None,
) -> None:
    """Keeps connections, each as `open_one` made it, and opens those anew that the proxy ended.

    Args:
        tally: counts them, and says when to stop.
        open_one: opens the connection of a number, and sends on it what is to be held.
        count: how many.
        reads: whether what comes is read, and pings answered; otherwise not a byte is taken.
        tend: does something on each, again and again.
    """
    held: dict[int, Connection] = {}
    try:
        while tally.going_on:
            for number in range(count):
                if number not in held and tally.going_on:
                    try:
                        held[number] = open_one(number)
                        tally.add("opened")
                    except OSError:
                        tally.add("refused")
                        break
            tally.begun.set()
            for number, connection in list(held.items()):
                try:
                    if tend is not None:
                        tend(connection)
                    _look_at(connection, tally, reads=reads)
                except OSError:
                    held.pop(number).close()
                    tally.add("cut off")
            time.sleep(_TEND_SECS)
    finally:
        for connection in held.values():
            connection.close()


def _look_at(connection: Connection, tally: Tally, *, reads: bool) -> None:
    before = connection.received
    while reads and connection.pump(0):
        pass
    if connection.received > before:
        tally.add("bytes read", connection.received - before)
    if not reads and connection.hung_up:
        raise ConnectionResetError("the proxy hung up")


def flood(
    tally: Tally,
    open_one: Callable[[], Connection],
    step: Callable[[Connection], int],
    connections: int,
    *,
    reads: bool = True,
) -> None:
    """Takes a step on each of several connections again and again, as fast as the proxy takes it.

    Args:
        tally: counts what the steps sent, and says when to stop.
        open_one: opens a connection.
        step: sends something, and returns how many of it.
        connections: how many there are at once.
        reads: whether what comes is read.
    """

    def one() -> None:
        while tally.going_on:
            try:
                with open_one() as connection:
                    while tally.going_on:
                        tally.add("sent", step(connection))
                        while reads and connection.pump(0):
                            pass
                        connection.forget()
                        tally.begun.set()
            except OSError:
                tally.add("cut off")
                tally.begun.set()
                time.sleep(_AGAIN_SECS)

    in_threads(one, connections)


def again(tally: Tally, once: Callable[[], None], threads: int, *, pause: float = 0) -> None:
    """Does something again and again in several threads.

    Args:
        tally: counts it, and says when to stop.
        once: does it, with a connection of its own; OSError means that the proxy ended it.
        threads: how many at once.
        pause: seconds before the next time.
    """

    def one() -> None:
        while tally.going_on:
            # Some of it lasts as long as the attack.
            tally.begun.set()
            try:
                once()
                tally.add("done")
            except OSError:
                tally.add("cut off")
            time.sleep(pause)

    in_threads(one, threads)


def in_threads(one: Callable[[], None], count: int) -> None:
    """Runs it so many times at once, until all have returned."""
    threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ignoring_cuts(do: Callable[[], object]) -> None:
    """Does something that the proxy may cut short."""
    with contextlib.suppress(OSError):
        do()

"""Which connection gives way where a new one finds no place."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol, TypeVar


class Loss(IntEnum):
    """What is lost with a connection, the least first."""

    NOTHING = 0
    IDLE = 1  # of a known caller, which connects again when it needs to
    STRANGERS_CALLS = 2
    KNOWN_CALLERS_CALLS = 3  # is not lost to make room


class Losable(Protocol):
    """A connection, as far as this is about it."""

    @property
    def loss(self) -> Loss:
        """What would be lost with it."""


C = TypeVar("C", bound=Losable)


def first_to_go(connections: Iterable[C]) -> C | None:
    """The oldest of those with which the least is lost; None where each serves a known caller.

    Args:
        connections: in the order in which they came.
    """
    found, least = None, Loss.KNOWN_CALLERS_CALLS
    for connection in connections:
        loss = connection.loss
        if loss is Loss.NOTHING:
            return connection
        if loss < least:
            found, least = connection, loss
    return found

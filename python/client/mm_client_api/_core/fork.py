"""What is left of clients in a process that was forked: multiprocessing, gunicorn, PyTorch's DataLoader.

A forked process has its parent's sockets and none of its threads. gRPC promises little for that, and its releases
differ in what they do (its "fork_support" page, its issue 41768). From 1.80 on a forked process may open connections of
its own where no call was under way, before only where none was made. Elsewhere, and where `grpc.aio` was used, it can
hang, fail or abort, and disturb the parent over the sockets that they share: it must leave gRPC alone. See ADR 20.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from typing import Protocol

import grpc

from mm_client_api.errors import ConfigurationError

_ASYNCIO = (
    "an AsyncTritonClient was used before this process was forked, which gRPC's asyncio part does not survive; "
    "expected a process that was spawned, or forked before that; write multiprocessing.get_context('spawn'), or use "
    "the client in the workers only"
)
_OLD = (
    f"a client was in use before this process was forked, which grpcio {grpc.__version__} does not survive here; "
    "expected 1.80 or later without GRPC_ENABLE_FORK_SUPPORT=0, or a fork before that; upgrade, fork first, or write "
    "multiprocessing.get_context('spawn')"
)
_SURVIVES_CALLS = tuple(map(int, grpc.__version__.split(".")[:2])) >= (1, 80)
# Without grpc's handlers for forks, even a connection that was never used hangs.
_HANDLERS = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "true").lower() in ("1", "t", "true", "y", "yes")
_UNDER_WAY = (
    "a call or stream was under way when this process was forked, which gRPC does not survive; expected a fork while "
    "there is none; fork before the first call, end streams first, or write multiprocessing.get_context('spawn')"
)


class Inherited(Protocol):
    """Something that a forked process inherits."""

    def after_fork(self) -> bool:
        """Let go of connections and locks without touching them; return whether a call was under way."""


class _Process:
    """This process, as gRPC may use it."""

    def __init__(self) -> None:
        self.forks = 0
        self.asyncio_used = self.called = self.opened = False
        self.refusal = ""
        self.inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()

    def after_fork(self) -> None:
        self.forks += 1
        under_way = [thing.after_fork() for thing in self.inherited]
        if self.asyncio_used:
            self.refusal = _ASYNCIO
        elif any(under_way):
            self.refusal = _UNDER_WAY
        elif (self.called and not _SURVIVES_CALLS) or (self.opened and not _HANDLERS):
            self.refusal = _OLD


_PROCESS = _Process()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_PROCESS.after_fork)


class Origin:
    """The process that something was made in."""

    def __init__(self) -> None:
        self._forks = _PROCESS.forks

    @property
    def here(self) -> bool:
        """Whether this is that process, and none that was forked from it."""
        return self._forks == _PROCESS.forks


def renewed_after_fork(thing: Inherited) -> None:
    """Call its `after_fork` in every process that is forked from this one, for as long as it is in use."""
    _PROCESS.inherited.add(thing)


def abandon(*things: object) -> None:
    """Keep what belongs to another process from being collected, at the end of this one too: that would close it."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def note_call() -> None:
    """Note that this process is about to make a call."""
    _PROCESS.called = True


def note_asyncio() -> None:
    """Note that this process is about to use `grpc.aio`.

    Raises:
        ConfigurationError: see `check_process`.
    """
    check_process()
    _PROCESS.asyncio_used = True


def note_connection() -> None:
    """Note that this process is about to open a connection.

    Raises:
        ConfigurationError: see `check_process`.
    """
    check_process()
    _PROCESS.opened = True


def check_process() -> None:
    """Refuse to use gRPC where that could hang or disturb the parent.

    Raises:
        ConfigurationError: this process was forked at such a moment.
    """
    if _PROCESS.refusal:
        raise ConfigurationError(_PROCESS.refusal)

"""A worker: what `triton_proxy worker FD` runs, which only the supervisor starts."""

from __future__ import annotations

import json
import os
import socket
from multiprocessing.connection import Connection
from typing import Any

from mm_service import program
from mm_service.file_lock import FileLock
from triton_proxy.admission.tally import SharedTally
from triton_proxy.process import Process
from triton_proxy.settings import Settings
from triton_proxy.transports.metrics.listener import OPEN_METRICS
from triton_proxy.worker import Worker, share
from triton_proxy.workers.questions import Answering

COMMAND = "worker"
HEALTH, METRICS = b"health", b"metrics"


class _Served:
    """The process that serves, and answers its supervisor."""

    def __init__(self, settings: Settings, given: dict[str, Any], connection: Connection, output: FileLock) -> None:
        # Handed down, they would go on to the processes that this one starts.
        for fd in (*given["sockets"].values(), given["tally"], given["output"]):
            os.set_inheritable(fd, False)
        sockets = {name: socket.socket(fileno=fd) for name, fd in given["sockets"].items()}
        count, index = settings.workers, given["index"]
        worker = Worker(
            index=index,
            count=count,
            sequence_key=bytes.fromhex(given["sequence_key"]),
            tally=SharedTally(given["tally"], calls=settings.max_calls, workers=count, worker=index),
            listen=lambda _, setting: sockets[setting],
            output=output,
        )
        self._process = Process(share(settings), worker)
        self._answering = Answering(connection, {HEALTH: self._health, METRICS: self._metrics})

    def start(self) -> None:
        self._process.start()
        self._answering.start()

    def drain(self) -> None:
        self._process.drain()

    def _health(self) -> bytes:
        return json.dumps(sorted(self._process.server.statistics().health.serving)).encode()

    def _metrics(self) -> bytes:
        return self._process.scraped.render(OPEN_METRICS) if self._process.scraped else b""


def main(fd: int, drain_hangs_secs: float) -> int:
    """Runs the worker; returns its exit status, as the program's help has it.

    Args:
        fd: the socket to its supervisor, which says first what the worker has.
        drain_hangs_secs: see `program.run`.
    """
    os.set_inheritable(fd, False)
    connection = Connection(fd)
    given = json.loads(connection.recv_bytes())
    # One object for both: the kernel's lock excludes other processes only.
    output = FileLock(given["output"])
    return program.run_with(
        "triton_proxy",
        Settings,
        lambda settings: _Served(settings, given, connection, output),
        drain_hangs_secs=drain_hangs_secs,
        log_as=f"worker {given['index']}",
        log_lock=output,
    )

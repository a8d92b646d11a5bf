"""The proxy as a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from devstack.child import Child
from devstack.ports import ADDRESS, free_ports

_CHECK = "/grpc.health.v1.Health/Check"
_POLL_SECONDS = 0.05
_PORT_ATTEMPTS = 3
_CANNOT_LISTEN = 1
_LOG_TAIL_LINES = 25
# What may decide how Python runs here must not get lost on the way to a child.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


class ProxyError(Exception):
    """The proxy did not start; the text has its own words."""


def python_environment() -> dict[str, str]:
    """Returns an environment for a child that imports from where this process does, and knows nothing else of it."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # A script's own folder is no import root, though Python puts it first.
    roots = [entry for entry in sys.path if entry and Path(entry).resolve() != Path(__file__).resolve().parent]
    return {**environment, "PYTHONPATH": os.pathsep.join(roots), "PYTHONUNBUFFERED": "1"}


class Proxy:
    """A `triton_proxy` process; as a context manager it is started on entry and stopped on exit.

    Args:
        triton_url: HOST:PORT of Triton's gRPC endpoint.
        domino_host: URL of Domino's front end.
        log: file that its output is appended to.
        settings: more of the proxy's settings, by the name of the environment variable.
    """

    def __init__(
        self, triton_url: str, domino_host: str, *, log: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self._settings = {"DRAIN_SECS": "2", **(settings or {}), "TRITON_URL": triton_url, "DOMINO_HOST": domino_host}
        self._log = log
        self._port = self._health_port = self._metrics_port = self._http_port = 0
        self._child: Child | None = None

    @property
    def addr(self) -> str:
        """What MM_ADDR is to be, such as "127.0.0.1:50051"."""
        return f"{ADDRESS}:{self._port}"

    @property
    def metrics_url(self) -> str:
        """Where its metrics are."""
        return f"http://{ADDRESS}:{self._metrics_port}/metrics"

    @property
    def http_url(self) -> str:
        """What MM_HTTP_URL is to be, such as "http://127.0.0.1:8080"."""
        return f"http://{ADDRESS}:{self._http_port}"

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self, timeout: float = 30.0) -> None:
        """Starts it and waits until its health service says SERVING.

        Args:
            timeout: longest wait in seconds.

        Raises:
            ProxyError: it ended, or does not serve in time; the text has the end of its log.
        """
        deadline = time.monotonic() + timeout
        for _ in range(_PORT_ATTEMPTS):
            self._port, self._health_port, self._metrics_port, self._http_port = free_ports([0, 0, 0, 0])
            self._child = Child(
                [sys.executable, "-P", "-m", "triton_proxy"],
                env={
                    **python_environment(),
                    # Its file is read by people.
                    "LOG_FORMAT": "text",
                    **self._settings,
                    "LISTEN_ADDR": self.addr,
                    "HEALTH_LISTEN_ADDR": f"{ADDRESS}:{self._health_port}",
                    "METRICS_LISTEN_ADDR": f"{ADDRESS}:{self._metrics_port}",
                    "HTTP_LISTEN_ADDR": f"{ADDRESS}:{self._http_port}",
                },
                log=self._log,
            )
            try:
                serving = self._wait_serving(deadline)
                status = self._child.poll()
            except BaseException:
                self.stop()
                raise
            if serving:
                return
            self.stop()
            if status != _CANNOT_LISTEN:
                break
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        raise ProxyError(f"the proxy did not serve within {timeout:g} s; the end of {self._log}:\n{tail}")

    def stop(self) -> None:
        """Ends it: SIGTERM, which lets it drain, then SIGKILL."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_serving(self, deadline: float) -> bool:
        address = f"{ADDRESS}:{self._health_port}"
        with grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 100)]) as channel:
            check = channel.unary_unary(
                _CHECK,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            while self.running and time.monotonic() < deadline:
                try:
                    answer = check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return True
                except grpc.RpcError:
                    pass
                time.sleep(_POLL_SECONDS)
        return False

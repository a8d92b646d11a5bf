"""What runs in one process that serves: the server, and what it counts."""

from __future__ import annotations

from mm_service.garbage import Collector
from multimodal_contract.allocator import keep_freed_memory
from triton_proxy.app import Server, authenticator_for
from triton_proxy.server_metrics import ServerMetrics
from triton_proxy.settings import Settings
from triton_proxy.telemetry.metrics import Metrics
from triton_proxy.worker import Worker

# Large enough for what a busy proxy frees between two packets; MAX_MB_IN_FLIGHT bounds what it holds.
_KEPT_BYTES = 256 * 1024 * 1024
_ARENAS = 1


class Process:
    """The server with what is scraped of it.

    Attributes:
        server: the server.
        scraped: what it counts; None where nobody wants to know.
    """

    def __init__(self, settings: Settings, worker: Worker | None = None) -> None:
        """Binds the ports, but serves nothing yet.

        Args:
            settings: what to run with.
            worker: what this process is of several; None for the only one.

        Raises:
            RuntimeError: an address can't be bound, or certificates can't be used.
            PolicyError: the access policy is wrong.
        """
        # Before there are threads: each would get an arena of its own.
        keep_freed_memory(up_to_bytes=_KEPT_BYTES, arenas=_ARENAS)
        metrics = Metrics() if settings.metrics_listen_addr else None
        asked = metrics.identity_asked if metrics else None
        self.server = Server(settings, authenticator_for(settings, asked), metrics, worker=worker)
        self.scraped = ServerMetrics(self.server, settings, metrics, listens=worker is None) if metrics else None
        self._garbage = Collector()

    def start(self) -> None:
        """Serves from now on."""
        self.server.start()
        if self.scraped is not None:
            self.scraped.start()

    def drain(self) -> None:
        """Ends, once what was accepted is answered."""
        self.server.drain()
        if self.scraped is not None:
            self.scraped.close()
        self._garbage.close()

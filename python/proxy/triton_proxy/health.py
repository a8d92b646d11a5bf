"""`grpc.health.v1`, open to everybody: is the proxy serving, and is Triton behind it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from multimodal_contract import SERVICE_NAME
from triton_proxy.triton import Triton

# What a probe asks for to learn about Triton. The proxy itself serves while Triton is away: it then answers packets
# with the reason, which a probe that took it out of service would turn into refused connections.
TRITON_SERVICE = "inference.GRPCInferenceService"
_INTERVAL_SECS = 2.0
_PROBES_AT_ONCE = 4


class Health:
    """Keeps the states that Check and Watch tell: "" and the service for the proxy, `TRITON_SERVICE` for Triton."""

    def __init__(self, triton: Triton) -> None:
        """Nothing is told yet."""
        self._triton = triton
        self._servicer = health.HealthServicer()
        self._servicer.set(TRITON_SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._servicer.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="triton-health", daemon=True)

    def add_to(self, server: grpc.Server) -> None:
        """Serves the health methods on a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def start(self) -> None:
        """Begins to look after Triton."""
        self._watcher.start()

    def drain(self) -> None:
        """From now on nothing is serving."""
        self._ended.set()
        self._servicer.enter_graceful_shutdown()

    def _watch(self) -> None:
        while not self._ended.is_set():
            ready = self._triton.ready(_INTERVAL_SECS)
            states = health_pb2.HealthCheckResponse
            self._servicer.set(TRITON_SERVICE, states.SERVING if ready else states.NOT_SERVING)
            self._ended.wait(_INTERVAL_SECS)


class HealthListener:
    """A plaintext port with health and nothing else: Kubernetes' own gRPC probes speak no TLS.

    Attributes:
        port: where it listens.
    """

    def __init__(self, health: Health, address: str) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            health: what it tells.
            address: HOST:PORT; port 0 takes a free one.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._server = grpc.server(
            ThreadPoolExecutor(_PROBES_AT_ONCE, thread_name_prefix="health"),
            maximum_concurrent_rpcs=_PROBES_AT_ONCE,
            options=[("grpc.so_reuseport", 0)],
        )
        health.add_to(self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise RuntimeError(f"cannot listen on {address}; is the port taken? HEALTH_LISTEN_ADDR sets it") from None

    def start(self) -> None:
        """Serves from now on."""
        self._server.start()

    def close(self) -> None:
        """Ends it, and whoever still watches."""
        self._server.stop(None).wait()

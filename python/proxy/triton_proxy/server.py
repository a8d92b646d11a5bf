"""Putting the proxy together, and its life from start to drain."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import grpc

from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD
from triton_proxy.auth import Authenticator
from triton_proxy.auth.domino import DominoPrincipal
from triton_proxy.chat import Chat
from triton_proxy.door import Door
from triton_proxy.health import Health
from triton_proxy.settings import Settings
from triton_proxy.triton import Triton

_LOG = logging.getLogger(__name__)
# Health checks, and calls that are being refused, beside the streams that MAX_STREAMS counts.
_SPARE_CALLS = 16
# Published clients ping every 30 s also without calls; grpc's default would cut them off (too_many_pings).
_SHORTEST_PING_INTERVAL_MS = 10_000
# A message between the limit and this many times it is read and then refused with words of our own, which name the
# setting; beyond it grpc itself refuses, and memory stays bounded.
_READABLE_OVER_LIMIT = 4
_LAST_WORDS_SECS = 0.5


class Server:
    """The proxy as a running server."""

    def __init__(self, settings: Settings, authenticator: Authenticator) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            settings: what to run with.
            authenticator: says who is calling.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._settings = settings
        self._triton = Triton(settings.triton_url, max_message_bytes=settings.max_message_bytes)
        self._chat = Chat(self._triton, settings)
        self._health = Health(self._triton)
        calls = settings.max_streams + _SPARE_CALLS
        self._server = grpc.server(
            ThreadPoolExecutor(calls, thread_name_prefix="call"),
            maximum_concurrent_rpcs=calls,
            options=[
                ("grpc.max_send_message_length", -1),  # `chat` holds Acks to the limit and says so.
                ("grpc.max_receive_message_length", settings.max_message_bytes * _READABLE_OVER_LIMIT),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_INTERVAL_MS),
                ("grpc.so_reuseport", 0),  # A second proxy on the port is a mistake, not a helper.
            ],
        )
        self._server.add_generic_rpc_handlers(
            (Door(authenticator, {CHAT_METHOD: self._chat.stream, SEND_UNARY_METHOD: self._chat.unary}),)
        )
        self._health.add_to(self._server)
        try:
            self.port = self._server.add_insecure_port(settings.listen_addr)
        except RuntimeError:
            self.port = 0
        if self.port == 0:
            raise RuntimeError(f"cannot listen on {settings.listen_addr}; is the port taken? LISTEN_ADDR sets it")

    def start(self) -> None:
        """Serves from now on."""
        self._server.start()
        _LOG.info(
            "serving on port %d; Triton at %s, principals by %s",
            self.port,
            self._settings.triton_url,
            self._settings.domino_host,
        )

    def drain(self) -> None:
        """Stops: no new calls or packets; accepted packets are answered, for DRAIN_SECS at the longest."""
        _LOG.info("draining for at most %g s", self._settings.drain_secs)
        self._health.drain()
        stopped = self._server.stop(self._settings.drain_secs + _LAST_WORDS_SECS)
        self._chat.drain(self._settings.drain_secs)
        # The streams are done but for their status; who still watches the health would stay for ever.
        if not stopped.wait(_LAST_WORDS_SECS):
            self._server.stop(None).wait()
        self._chat.close()
        self._triton.close()
        _LOG.info("drained")


def authenticator_for(settings: Settings) -> Authenticator:
    """The authenticator that the settings ask for."""
    return DominoPrincipal(
        settings.domino_host, timeout_secs=settings.auth_timeout_secs, connections=settings.max_streams
    )

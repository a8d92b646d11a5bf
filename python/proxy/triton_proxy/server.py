"""Putting the proxy together, and its life from start to drain."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import grpc

from domino_identity import Authenticator, factory
from mm_service import tls
from mm_service.line_sink import LineSink
from mm_service.supervisor import Workers
from multimodal_contract import CHAT_METHOD, FRAME_BYTES, SEND_UNARY_METHOD
from triton_proxy import tls_grpc
from triton_proxy.access import Access, policy_file
from triton_proxy.audit import Audit
from triton_proxy.budget import PACKET_COPIES, Budget, BudgetStatistics
from triton_proxy.chat import CallStatistics, Chat
from triton_proxy.door import Door
from triton_proxy.gate import Gate
from triton_proxy.health import Health, HealthListener
from triton_proxy.intake import Shared
from triton_proxy.limits import Limits
from triton_proxy.link import LARGE_BYTES, Link
from triton_proxy.model_cache import Models
from triton_proxy.own_call import OwnCall
from triton_proxy.settings import Settings
from triton_proxy.triton import Triton
from triton_proxy.turns import ALL_TURNS

_LOG = logging.getLogger(__name__)
# Threads for calls that are being refused, beside those of MAX_STREAMS and of callers that are being asked about.
_SPARE_THREADS = 16
# Published clients ping every 30 s also without calls; grpc's default would cut them off (too_many_pings).
_SHORTEST_PING_INTERVAL_MS = 10_000
# A message that is over the limit by no more than this is read and then refused with words of our own, which name the
# setting. Beyond it grpc itself refuses: what is still arriving counts nowhere, so that each byte more is one that
# every call may take.
_READABLE_OVER_LIMIT_BYTES = 1024 * 1024
# Of one connection, beside as many calls as one principal may have: also those count that were refused and whose
# refusals nobody reads, at 16 KiB each.
_SPARE_STREAMS = 16
# Callers connect again by themselves. What is not read, or does not answer a ping, is closed in between.
_IDLE_MS = 300_000
_PING_MS = 30_000
_PING_TIMEOUT_MS = 10_000
_HANDSHAKE_MS = 10_000
_MOST_CONNECTIONS = 4096
# Calls that came and were not looked at yet. Beyond the first grpc cancels some of them by lot, good callers' too,
# beyond the second all; its own are 1000 and 3000, which one stranger's connections reach.
_PENDING_CALLS, _MOST_PENDING_CALLS = 16_384, 32_768
# The longest credential (16 KiB), and as much again for all other headers. Between grpc's soft limit and the hard one
# calls are refused at random; with one limit for both, what the proxy judges always reaches it.
_METADATA_BYTES = 32 * 1024
# A connection that has been told to go away is closed with its last stream, and cut off where the caller still sends:
# what it has not read yet is lost. grpc wants a ping answered first; what was sent before the ping has been read then.
_SETTLE_SECS = 1.0
# For callers to read their last Acks and hang up, as they do once all their calls have ended. To be hung up on while
# they still send packets would cost them what they have not read yet.
_HANG_UP_SECS = 5.0
_MB = 1024 * 1024
# What a client may send before it is read, for each stream: the next frame comes in while the one before is looked at.
# At 4 MiB one stream of 5 MB frames was 5 % slower; at 16 MiB, a few percent faster, 64 streams would take a gigabyte.
_WINDOW_BYTES = 8 * _MB

# gRPC logs values of metadata that are not UTF-8, in full: one of them may be a key with a stray byte.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: not str(record.msg).startswith("Invalid encoding"))


@dataclass(frozen=True)
class ServerStatistics:
    """What the proxy is at work on.

    Attributes:
        calls: those that have a place.
        budget: the memory of packets and answers.
    """

    calls: CallStatistics
    budget: BudgetStatistics


class Server:
    """The proxy as a running server."""

    def __init__(self, settings: Settings, authenticator: Authenticator) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            settings: what to run with.
            authenticator: says who is calling.

        Raises:
            RuntimeError: the address can't be bound; as `CertificateError` where a certificate's files can't be used.
        """
        self._settings = settings
        self._certificates = tls.for_listener(settings)
        self._triton_certificates = tls_grpc.for_triton(settings)
        link = Link(
            settings.triton_url,
            max_message_bytes=settings.max_message_bytes,
            # Each has room for so much in the budget.
            most_calls=max(settings.max_mb_in_flight * _MB // (PACKET_COPIES * LARGE_BYTES), 1),
            certificates=self._triton_certificates,
            server_name=settings.triton_server_name,
        )
        self._triton = Triton(link)
        self._models = Models(link.describe)
        self._chat = Chat(Shared(self._triton, self._models, settings))
        self._threads = Workers(settings.max_streams + ALL_TURNS + _SPARE_THREADS, "call", setting="MAX_STREAMS")
        self._own_call = OwnCall() if settings.health_listen_addr else None
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_send_message_length", -1),  # `chat` holds Acks to the limit and says so.
                ("grpc.max_receive_message_length", settings.max_message_bytes + _READABLE_OVER_LIMIT_BYTES),
                ("grpc.max_concurrent_streams", settings.max_calls_per_principal + _SPARE_STREAMS),
                ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
                ("grpc.server.max_pending_requests", _PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING_CALLS),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.keepalive_time_ms", _PING_MS),
                ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
                ("grpc.max_metadata_size", _METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
                # By itself grpc lets a stream's window grow with the speed of the line: tens of megabytes then arrive
                # before anybody reads them.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
                ("grpc.http2.max_frame_size", FRAME_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_INTERVAL_MS),
                ("grpc.so_reuseport", 0),  # A second proxy on the port is a mistake, not a helper.
            ],
        )
        self._audit = Audit(LineSink("audit"))
        self._gate = gate_for(settings, authenticator, self._audit)
        self._door = Door(
            self._gate,
            {CHAT_METHOD: self._chat.stream},
            {SEND_UNARY_METHOD: self._chat.unary},
            self._threads,
            own=self._own_call.method if self._own_call else "",
        )
        self._server.add_generic_rpc_handlers((self._door,))
        self.port = self._bind()
        if self.port == 0:
            raise RuntimeError(f"cannot listen on {settings.listen_addr}; is the port taken? LISTEN_ADDR sets it")
        self.health_listener: HealthListener | None = None
        if self._own_call is None:
            # The connection to Triton is looked after all the same.
            self._health = Health(self._triton, lambda _: True)
        else:
            self._server.add_insecure_port(self._own_call.address)
            self._health = Health(self._triton, self._own_call.answered)
            self.health_listener = HealthListener(self._health, settings.health_listen_addr)

    def start(self) -> None:
        """Serves from now on."""
        self._server.start()
        self._health.start()
        if self.health_listener is not None:
            self.health_listener.start()
        _LOG.info(
            "serving on port %d, %s; Triton at %s, %s",
            self.port,
            tls.mode(self._certificates),
            self._settings.triton_url,
            tls.mode(self._triton_certificates),
        )

    def statistics(self) -> ServerStatistics:
        """What the proxy is at work on at this moment."""
        return ServerStatistics(self._chat.statistics(), self._gate.budget.statistics())

    def _bind(self) -> int:
        """The port, or 0."""
        try:
            if self._certificates is None:
                return self._server.add_insecure_port(self._settings.listen_addr)
            credentials = tls_grpc.server_credentials(self._certificates)
            return self._server.add_secure_port(self._settings.listen_addr, credentials)
        except RuntimeError:
            return 0

    def drain(self) -> None:
        """Stops: no new calls or packets; accepted packets are answered, for DRAIN_SECS at the longest."""
        _LOG.info("draining for at most %g s", self._settings.drain_secs)
        self._health.drain()
        self._chat.drain(min(_SETTLE_SECS, self._settings.drain_secs))
        stopped = self._server.stop(self._settings.drain_secs + _HANG_UP_SECS)
        self._chat.drain(self._settings.drain_secs - _SETTLE_SECS)
        # The streams are done but for their status; a caller that does not take it would stay for ever.
        if not stopped.wait(_HANG_UP_SECS):
            self._server.stop(None).wait()
        if self.health_listener is not None:
            self.health_listener.close()
        if self._own_call is not None:
            self._own_call.close()
        self._threads.shutdown(wait=False)
        self._chat.close()
        self._models.close()
        self._triton.close()
        self._audit.close()
        _LOG.info("drained")


def gate_for(settings: Settings, authenticator: Authenticator, audit: Audit) -> Gate:
    """What all calls go through, as the settings say."""
    return Gate(
        decisions=factory.decisions_for(settings, authenticator, calls=settings.max_streams),
        access=Access(policy_file(settings.access_policy_file) if settings.access_policy_file else None),
        limits=Limits(
            calls=settings.max_calls_per_principal,
            in_flight=settings.max_in_flight_per_principal,
            per_sec=settings.max_requests_per_sec_per_principal,
        ),
        budget=Budget(settings.max_mb_in_flight, settings.max_mb_in_flight_per_principal),
        audit=audit,
    )


def authenticator_for(settings: Settings) -> Authenticator:
    """The authenticators that the settings ask for; where they ask for none, nobody gets in."""
    return factory.authenticator_for(settings, connections=settings.max_streams)

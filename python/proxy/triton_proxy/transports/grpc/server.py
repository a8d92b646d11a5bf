"""grpcio's server with the proxy's options: what it bounds by itself, and the listeners' ports."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from mm_service.supervisor import Workers
from mm_service.tls import Certificates, Pem
from multimodal_contract import FRAME_BYTES
from triton_proxy.admission.waiting_calls import MOST_WAITING
from triton_proxy.serving.router import Router
from triton_proxy.transports.grpc.router import GrpcRouter
from triton_proxy.transports.listener import HEADER_BYTES, ListenerOptions

# Threads for calls that are being refused, beside those of MAX_CALLS and of callers that are being asked about.
_SPARE_THREADS = 16
# Published clients ping every 30 s also without calls; grpc's default would cut them off (too_many_pings).
_SHORTEST_PING_INTERVAL_MS = 10_000
# Callers connect again by themselves. What is not read, or does not answer a ping, is closed in between.
_IDLE_MS = 300_000
_PING_MS = 30_000
_PING_TIMEOUT_MS = 10_000
_HANDSHAKE_MS = 10_000
_MOST_CONNECTIONS = 4096
# Calls that came and were not looked at yet. Beyond the first grpc cancels some of them by lot, good callers' too,
# beyond the second all; its own are 1000 and 3000, which one stranger's connections reach.
_PENDING_CALLS, _MOST_PENDING_CALLS = 16_384, 32_768
# What a client may send before it is read, for each stream: the next frame comes in while the one before is looked at.
# At 4 MiB one stream of 5 MB frames was 5 % slower; at 16 MiB, a few percent faster, 64 streams would take a gigabyte.
_WINDOW_BYTES = 8 * 1024 * 1024


class GrpcServer:
    """The callers' listener.

    Attributes:
        port: where it listens.
    """

    def __init__(self, router: Router, options: ListenerOptions) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            router: says who is calling, and where to.
            options: what it is to do.

        Raises:
            RuntimeError: the address can't be bound, or the machine does not give so many threads.
        """
        self._threads = Workers(options.most_calls + MOST_WAITING + _SPARE_THREADS, "call", setting="MAX_CALLS")
        # One for each call that is served: where it is read.
        self._readers = Workers(options.most_calls, "reader", setting="MAX_CALLS")
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_send_message_length", -1),  # `serving` holds answers to the limit and says so.
                ("grpc.max_receive_message_length", options.readable_message_bytes),
                ("grpc.max_concurrent_streams", options.streams_per_connection),
                ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
                ("grpc.server.max_pending_requests", _PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING_CALLS),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.keepalive_time_ms", _PING_MS),
                ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
                # Between grpc's soft limit and the hard one calls are refused at random; with one limit for both, what
                # the proxy judges always reaches it.
                ("grpc.max_metadata_size", HEADER_BYTES),
                ("grpc.absolute_max_metadata_size", HEADER_BYTES),
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
        own = options.own_call.method if options.own_call else ""
        self._server.add_generic_rpc_handlers((GrpcRouter(router, self._readers, own),))
        self.port = self._bind(options.address, options.certificates)
        if self.port == 0:
            raise RuntimeError(f"cannot listen on {options.address}; is the port taken? LISTEN_ADDR sets it")
        if options.own_call is not None:
            self._server.add_insecure_port(options.own_call.address)

    def start(self) -> None:
        """Serves from now on."""
        self._server.start()

    def stop(self, grace_secs: float) -> Callable[[float], None]:
        """Takes no new calls and tells callers to go away; those open may go on for so long.

        Args:
            grace_secs: after this, what is still open is cut off.

        Returns:
            Waits for the end of all calls, for so many seconds at the longest, and cuts off what is open then.
        """
        stopped = self._server.stop(grace_secs)

        def wait(longest_secs: float) -> None:
            # A caller that does not take its status would stay for ever.
            if not stopped.wait(longest_secs):
                self._server.stop(None).wait()

        return wait

    def close(self) -> None:
        """Gives the threads back; call it when no call is left."""
        self._threads.shutdown(wait=False)
        self._readers.shutdown(wait=False)

    def _bind(self, address: str, certificates: Certificates | None) -> int:
        """The port, or 0."""
        try:
            if certificates is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(certificates))
        except RuntimeError:
            return 0


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """A listener's credentials; each new connection gets the certificate that the files hold by then.

    With authorities, clients without a certificate of theirs don't get in.
    """

    def configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authorities or None)

    in_use = certificates.current

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal in_use
        pem = certificates.look()
        if pem is in_use:
            return None
        in_use = pem
        return configuration(pem)

    return grpc.dynamic_ssl_server_credentials(
        configuration(in_use),
        renewed,  # type: ignore[arg-type]  # grpc's text allows None, for no change
        require_client_authentication=certificates.mutual,
    )

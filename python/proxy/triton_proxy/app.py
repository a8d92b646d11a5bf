"""Putting the proxy together, and its life from start to drain."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from domino_identity import Authenticator, factory
from domino_identity.decisions import DecisionsStatistics
from domino_identity.factory import AuthenticatorStatistics, ConfiguredAuthenticator
from domino_identity.http import Asked
from mm_service import tls
from mm_service.line_sink import LineSink, LineSinkStatistics
from mm_service.watched_file import WatchedFileStatistics
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb
from triton_proxy import certificates
from triton_proxy.access.access import Access, AccessStatistics, policy_file
from triton_proxy.admission.admission import Admission
from triton_proxy.admission.budget import PACKET_COPIES, Budget, BudgetStatistics
from triton_proxy.admission.quotas import Quotas, QuotaStatistics
from triton_proxy.http2.limits import Counters
from triton_proxy.http2.loop_thread import LoopStatistics, LoopThread
from triton_proxy.models.model_cache import Models, ModelsStatistics
from triton_proxy.models.planner import Sequence
from triton_proxy.models.sequence_ids import SequenceIds
from triton_proxy.protocols.kserve import methods as kserve
from triton_proxy.protocols.kserve.protocol import InferProtocol
from triton_proxy.protocols.kserve.queries import QueryProtocol
from triton_proxy.protocols.multimodal.protocol import MultimodalProtocol
from triton_proxy.protocols.reflection.protocol import REFLECTION_METHODS, ReflectionProtocol
from triton_proxy.protocols.rest.routes import ROUTES
from triton_proxy.serving.active_calls import ActiveCalls, CallStatistics
from triton_proxy.serving.pipeline import Backend, CallLimits
from triton_proxy.serving.router import Method, Router, RouterStatistics
from triton_proxy.settings import Settings
from triton_proxy.telemetry.audit import Audit
from triton_proxy.telemetry.metrics import Metrics
from triton_proxy.telemetry.observer import Observer, Observers
from triton_proxy.telemetry.spans import Spans, TraceStatistics
from triton_proxy.telemetry.trace import Sampler
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.grpc.server import GrpcServer
from triton_proxy.transports.http.server import RestServer
from triton_proxy.transports.http2.health import (
    TRITON_SERVICE,
    Health,
    HealthListener,
    HealthStatistics,
    ProbeStatistics,
)
from triton_proxy.transports.http2.server import EngineServer
from triton_proxy.transports.listener import ListenerOptions
from triton_proxy.transports.own_call import OwnCall
from triton_proxy.triton.addresses import Resolve
from triton_proxy.triton.client import Triton
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.endpoint import LARGE_BYTES
from triton_proxy.triton.triton_statistics import TritonStatistics
from triton_proxy.version import VERSION
from triton_proxy.worker import Worker

_LOG = logging.getLogger(__name__)
# A connection that was asked to go away is closed with its last stream, and cut off where the caller still sends:
# what it has not read yet is lost. grpc wants a ping answered first; what was sent before the ping has been read then.
_SETTLE_SECS = 1.0
# For callers to read their last Acks and hang up, as they do once all their calls have ended. To be hung up on while
# they still send packets would cost them what they have not read yet.
_HANG_UP_SECS = 5.0
# For the last calls' spans; a collector that is away has had its time.
_LAST_SPANS_SECS = 1.0
_MB = 1024 * 1024

# gRPC logs values of metadata that are not UTF-8, in full: one of them may be a key with a stray byte.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: not str(record.msg).startswith("Invalid encoding"))


@dataclass(frozen=True)
class ServerStatistics:
    """What the proxy is at work on, each part as it says itself.

    Attributes:
        listener: connections of callers; None before the start, and on grpcio, which tells nothing.
        rest: those of callers over HTTP; None where there is no REST.
        loop: how promptly the engine's loop does what is due; None where nothing is on the engine.
        certificates: the listener's; None for plaintext.
        listener_certificate_ends_at: when it ends, in seconds since the epoch; None for plaintext.
        triton_certificate_ends_at: the same of the one that is shown to Triton; None where there is none.
        authenticators: who is asked about callers; None where a test says who is calling.
        router: calls whose callers are not known yet.
        decisions: what is known of callers.
        calls: those that have a place.
        quotas: what principals have under way.
        budget: the memory of packets and answers.
        access: the policy's file.
        models: what is known of models.
        triton: what is asked of Triton.
        health: what is serving.
        probes: calls on the probes' port; None where there is none.
        audit: lines of the audit log.
        traces: calls and requests that are traced; None where none is.
    """

    listener: Counters | None
    rest: Counters | None
    loop: LoopStatistics | None
    certificates: WatchedFileStatistics | None
    listener_certificate_ends_at: float | None
    triton_certificate_ends_at: float | None
    authenticators: AuthenticatorStatistics | None
    router: RouterStatistics
    decisions: DecisionsStatistics
    calls: CallStatistics
    quotas: QuotaStatistics
    budget: BudgetStatistics
    access: AccessStatistics
    models: ModelsStatistics
    triton: TritonStatistics
    health: HealthStatistics
    probes: ProbeStatistics | None
    audit: LineSinkStatistics
    traces: TraceStatistics | None


class Server:
    """The proxy as a running server."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        metrics: Metrics | None = None,
        *,
        resolve: Resolve | None = None,
        worker: Worker | None = None,
    ) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            settings: what to run with.
            authenticator: says who is calling.
            metrics: counts; None where nobody wants to know.
            resolve: gives the addresses of TRITON_URL; None for the system's resolver.
            worker: what this process is of several, whose probes are answered elsewhere; None for the only one.

        Raises:
            RuntimeError: the address can't be bound; as `CertificateError` where a certificate's files can't be used.
        """
        self._settings = settings
        self._worker = worker = worker or Worker()
        self._certificates = tls.for_listener(settings)
        self._triton_certificates = certificates.for_triton(settings)
        # Health and REST are on the engine's loop always.
        http2 = "http2" in (settings.grpc_server, settings.triton_calls)
        engine = http2 or settings.health_listen_addr or settings.http_listen_addr
        self._loop = LoopThread("http2") if engine else None
        connection = TritonConnection(
            settings.triton_url,
            max_message_bytes=settings.max_message_bytes,
            # Each has memory for so much in the budget.
            most_calls=max(settings.max_mb_in_flight * _MB // (PACKET_COPIES * LARGE_BYTES), 1),
            certificates=self._triton_certificates,
            server_name=settings.triton_server_name,
            loop=self._loop if settings.triton_calls == "http2" else None,
            cancel_delay_secs=settings.triton_cancel_delay_secs,
            resolve=resolve,
            wait_secs=settings.triton_wait_secs,
        )
        self._triton = Triton(connection)
        self._models = Models(self._triton.describe)
        ids: SequenceIds[Sequence] = SequenceIds(worker.sequence_key, worker=worker.index, workers=worker.count)
        self._calls = ActiveCalls(
            Backend(self._triton, self._models, _limits(settings), ids, awaited=connection.awaited)
        )
        self._audit = Audit(LineSink("audit", shared=worker.output))
        self._spans = _spans(settings)
        heard = [each for each in (self._audit, metrics, self._spans) if each is not None]
        observer = self._audit if len(heard) == 1 else Observers(heard)
        self._authenticator = authenticator
        self._admission = admission_for(settings, authenticator, observer, worker)
        self._own_call = OwnCall() if settings.health_listen_addr else None
        self._router = Router(self._admission, self._calls, _methods(settings), kserve.forbidden, workers=worker.count)
        methods = (*self._router.methods, *(route.name for route in ROUTES))
        if metrics is not None:
            metrics.serve(methods, self._models.describes)
        if self._spans is not None:
            self._spans.serve(methods)
        self._draining, self._drained = threading.Lock(), False
        # The connection to Triton is looked after in any case.
        self._health = Health(self._triton, self._own_call.answered if self._own_call else lambda _: True)
        self.health_listener: HealthListener | None = None
        self._rest: RestServer | None = None
        self._threads: CallThreads | None = None
        try:
            if settings.grpc_server == "http2" or settings.http_listen_addr:
                self._threads = CallThreads.start(settings.max_calls)
            self._listener = self._listen()
            if self._loop is not None and self._threads is not None and settings.http_listen_addr:
                self._rest = self._listen_for_rest(self._loop, self._threads)
            if self._loop is not None and settings.health_listen_addr and worker.count == 1:
                self.health_listener = HealthListener(self._health, settings.health_listen_addr, self._loop)
        except BaseException:
            if self._threads is not None:
                self._threads.close()
            if self._loop is not None:
                self._loop.close()
            raise
        self.port = self._listener.port

    def _listen(self) -> EngineServer | GrpcServer:
        settings = self._settings
        options = ListenerOptions(
            address=settings.listen_addr,
            certificates=self._certificates,
            max_message_bytes=settings.max_message_bytes,
            most_calls=settings.max_calls,
            most_calls_per_principal=settings.max_calls_per_principal,
            own_call=self._own_call,
            listen=self._worker.listen,
            workers=self._worker.count,
        )
        if settings.grpc_server == "http2" and self._loop is not None and self._threads is not None:
            return EngineServer(self._loop, self._router, options, self._threads)
        return GrpcServer(self._router, options)

    def _listen_for_rest(self, loop: LoopThread, threads: CallThreads) -> RestServer:
        return RestServer(
            loop,
            self._router,
            self._calls,
            self._models,
            self._settings.http_listen_addr,
            certificates=self._certificates,
            max_message_bytes=self._settings.max_message_bytes,
            threads=threads,
            ready=lambda: bool(self._health.serving("") and self._health.serving(TRITON_SERVICE)),
            listen=self._worker.listen,
            workers=self._worker.count,
        )

    @property
    def http_port(self) -> int | None:
        """Where REST is served; None where it is off."""
        return None if self._rest is None else self._rest.port

    @property
    def methods(self) -> frozenset[str]:
        """Full names of the methods that callers may call."""
        return frozenset(self._router.methods)

    def start(self) -> None:
        """Serves from now on."""
        self._listener.start()
        if self._rest is not None:
            self._rest.start()
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
        if self._rest is not None:
            _LOG.info("REST on port %d, likewise", self._rest.port)

    def look_at_files(self) -> None:
        """Looks whether the listener's certificate and the access policy have changed, as each call does."""
        if self._certificates is not None:
            self._certificates.look()
        self._admission.access.look()

    def statistics(self) -> ServerStatistics:
        """What the proxy is at work on at this moment."""
        authenticator = self._authenticator
        return ServerStatistics(
            listener=self._listener.statistics() if isinstance(self._listener, EngineServer) else None,
            rest=self._rest.statistics() if self._rest else None,
            loop=self._loop.statistics() if self._loop else None,
            certificates=self._certificates.statistics() if self._certificates else None,
            listener_certificate_ends_at=self._certificates.ends_at if self._certificates else None,
            triton_certificate_ends_at=self._triton_certificates.ends_at if self._triton_certificates else None,
            authenticators=authenticator.statistics() if isinstance(authenticator, ConfiguredAuthenticator) else None,
            router=self._router.statistics(),
            decisions=self._admission.decisions.statistics(),
            calls=self._calls.statistics(),
            quotas=self._admission.quotas.statistics(),
            budget=self._admission.budget.statistics(),
            access=self._admission.access.statistics(),
            models=self._models.statistics(),
            triton=self._triton.statistics(),
            health=self._health.statistics(),
            probes=self.health_listener.statistics() if self.health_listener else None,
            audit=self._audit.statistics(),
            traces=self._spans.statistics() if self._spans else None,
        )

    def drain(self) -> None:
        """Stops: no new calls or packets; accepted packets are answered, for DRAIN_SECS at the longest. Only once."""
        with self._draining:
            if not self._drained:
                self._drain()
            self._drained = True

    def _drain(self) -> None:
        _LOG.info("draining for at most %g s", self._settings.drain_secs)
        self._health.drain()
        self._calls.drain(min(_SETTLE_SECS, self._settings.drain_secs))
        waits = [
            listener.stop(self._settings.drain_secs + _HANG_UP_SECS)
            for listener in (self._listener, self._rest)
            if listener is not None
        ]
        self._calls.drain(self._settings.drain_secs - _SETTLE_SECS)
        # The calls are done but for their status.
        for wait in waits:
            wait(_HANG_UP_SECS)
        if self.health_listener is not None:
            self.health_listener.close()
        if self._own_call is not None:
            self._own_call.close()
        if isinstance(self._listener, GrpcServer):
            self._listener.close()
        if self._rest is not None:
            self._rest.close()
        if self._threads is not None:
            self._threads.close()
        self._calls.close()
        self._models.close()
        self._triton.close()
        if self._loop is not None:
            self._loop.close()
        if self._spans is not None:
            self._spans.close(_LAST_SPANS_SECS)
        self._audit.close()
        _LOG.info("drained")


def admission_for(settings: Settings, authenticator: Authenticator, observer: Observer, worker: Worker) -> Admission:
    """What all calls of a worker go through, as the settings say."""
    return Admission(
        decisions=factory.decisions_for(settings, authenticator, calls=settings.max_calls, workers=worker.count),
        access=Access(policy_file(settings.access_policy_file) if settings.access_policy_file else None),
        quotas=Quotas(
            calls=settings.max_calls_per_principal,
            in_flight=settings.max_in_flight_per_principal,
            per_sec=settings.max_requests_per_sec_per_principal,
            tally=worker.tally,
        ),
        budget=Budget(settings.max_mb_in_flight, settings.max_mb_in_flight_per_principal),
        observer=observer,
        sampler=Sampler(settings.otel_traces_sampler_arg) if settings.otel_exporter_otlp_endpoint else None,
    )


def _spans(settings: Settings) -> Spans | None:
    if not settings.otel_exporter_otlp_endpoint:
        return None
    # Imported where traces are on, and nowhere else: docs/adr/0037.
    from triton_proxy.traces.otlp import OtlpExporter

    exporter = OtlpExporter(
        settings.otel_exporter_otlp_endpoint,
        service=settings.otel_service_name,
        version=VERSION,
        name_principals=settings.trace_principals,
    )
    return Spans(exporter)


def _methods(settings: Settings) -> dict[str, Method]:
    multimodal = MultimodalProtocol(require_model_version=settings.require_model_version)
    methods = {
        CHAT_METHOD: Method(multimodal, unary=False),
        SEND_UNARY_METHOD: Method(multimodal, unary=True),
        kserve.MODEL_INFER_METHOD: Method(InferProtocol(streamed=False), unary=True),
        kserve.MODEL_STREAM_INFER_METHOD: Method(InferProtocol(streamed=True), unary=False),
        **{name: Method(QueryProtocol(method), unary=True) for name, method in kserve.QUERY_METHODS.items()},
    }
    reflection = ReflectionProtocol((pb.DESCRIPTOR, kserve.DESCRIPTOR), methods.keys())
    return methods | {name: Method(reflection, unary=False) for name in REFLECTION_METHODS}


def _limits(settings: Settings) -> CallLimits:
    return CallLimits(
        max_message_bytes=settings.max_message_bytes,
        stream_window=settings.stream_window,
        default_timeout_secs=settings.default_timeout_secs,
        max_timeout_secs=settings.max_timeout_secs,
        auth_timeout_secs=settings.auth_timeout_secs,
        most_calls=settings.max_calls,
    )


def authenticator_for(settings: Settings, asked: Asked | None = None) -> Authenticator:
    """The authenticators that the settings ask for; where they ask for none, nobody gets in.

    Args:
        settings: what to run with.
        asked: hears of each question about who is calling.
    """
    return factory.authenticator_for(settings, connections=settings.max_calls, asked=asked)

"""Putting the service together, and its life from start to drain."""

from __future__ import annotations

import logging
import threading

from domino_identity import Authenticator, factory
from mm_service import tls
from mm_service.line_sink import LineSink
from mm_service.policy_file import watched_policy
from scale_service import cluster
from scale_service.audit import Audit
from scale_service.authentication import Authentication
from scale_service.autoscaler import Autoscaler, Pace
from scale_service.demand import Proxies
from scale_service.grpc_server import GrpcServer
from scale_service.metrics import Metrics, Sources
from scale_service.metrics_server import MetricsServer
from scale_service.operations import Operations
from scale_service.policy import Policy
from scale_service.rest import RestServer, RestStatistics
from scale_service.settings import Settings
from scale_service.values import Target

_LOG = logging.getLogger(__name__)
_STDOUT = 1


def authenticator_for(settings: Settings) -> Authenticator:
    """The authenticators that the settings ask for."""
    return factory.authenticator_for(settings, connections=2 * settings.max_requests)


class Server:
    """The scale service as a running server.

    Attributes:
        port: where REST is served.
        grpc_port: where gRPC is served.
        metrics_port: where its metrics are; 0 where they are nowhere.
        autoscaler: scales to zero and back; None where it is off.
    """

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        *,
        audit_fd: int = _STDOUT,
        pace: Pace | None = None,
    ) -> None:
        """Binds its port, but serves nothing yet.

        Args:
            settings: what to run with.
            authenticator: says who is calling.
            audit_fd: where the audit log goes.
            pace: how often the proxies are asked, with IDLE_COOLDOWN_SECS.

        Raises:
            PolicyError: the policy can't be used.
            RuntimeError: the address can't be bound, there is no API server, or certificates can't be used.
        """
        self._settings = settings
        policy = None
        if settings.scale_policy_file:
            policy = watched_policy("scale policy", settings.scale_policy_file, Policy.parse)
        else:
            _LOG.warning("SCALE_POLICY_FILE is not set: nobody may do anything")
        configuration = cluster.at(settings.kubernetes_url) if settings.kubernetes_url else cluster.in_cluster()
        metrics = Metrics()
        api_server = cluster.Cluster(
            settings.namespace,
            configuration,
            timeout_secs=settings.kubernetes_timeout_secs,
            asked=metrics.kubernetes,
        )
        certificates = tls.for_listener(settings)
        self._audit = Audit(LineSink("audit", audit_fd))
        operations = Operations(
            api_server,
            policy,
            self._audit,
            {
                "inference-server": Target(settings.inference_server_deployment, "triton"),
                "proxy": Target(settings.proxy_deployment, "proxy"),
            },
            stuck_after_secs=settings.stuck_after_secs,
        )
        decisions = factory.decisions_for(settings, authenticator, calls=2 * settings.max_requests)
        self._rest = RestServer(
            settings.listen_addr,
            operations,
            Authentication(decisions),
            certificates,
            max_requests=settings.max_requests,
            max_progress_streams=settings.max_progress_streams,
            progress_every_secs=settings.progress_every_secs,
            answered=metrics.request,
        )
        self.port = self._rest.port
        self._grpc = GrpcServer(
            settings.grpc_listen_addr,
            operations,
            Authentication(decisions),
            # Each looks for renewed files by itself.
            tls.for_listener(settings),
            max_requests=settings.max_requests,
            progress_every_secs=settings.progress_every_secs,
            answered=metrics.request,
        )
        self.grpc_port = self._grpc.port
        self.autoscaler: Autoscaler | None = None
        if settings.idle_cooldown_secs:
            self.autoscaler = Autoscaler(
                operations,
                Proxies(api_server, settings.proxy_deployment, settings.proxy_metrics_port),
                cooldown_secs=settings.idle_cooldown_secs,
                replicas=settings.idle_replicas,
                pace=pace,
            )
        metrics.serve(
            Sources(
                self._rest.statistics,
                self._audit.statistics,
                None if policy is None else lambda: policy.statistics().stale,
                None if self.autoscaler is None else self.autoscaler.statistics,
            )
        )
        self._metrics: MetricsServer | None = None
        if settings.metrics_listen_addr:
            self._metrics = MetricsServer(settings.metrics_listen_addr, metrics)
        self.metrics_port = self._metrics.port if self._metrics else 0

    def start(self) -> None:
        """Begins to serve."""
        self._rest.start()
        self._grpc.start()
        if self._metrics is not None:
            self._metrics.start()
        if self.autoscaler is not None:
            self.autoscaler.start()
        _LOG.info("serving REST on port %d, gRPC on port %d", self.port, self.grpc_port)

    def statistics(self) -> RestStatistics:
        """What it is at work on at this moment."""
        return self._rest.statistics()

    def drain(self) -> None:
        """Ends: what is under way is answered, for DRAIN_SECS at the longest."""
        if self.autoscaler is not None:
            self.autoscaler.close()
        grpc = threading.Thread(target=self._grpc.drain, args=[self._settings.drain_secs])
        grpc.start()
        self._rest.drain(self._settings.drain_secs)
        grpc.join()
        if self._metrics is not None:
            self._metrics.close()
        self._audit.close()

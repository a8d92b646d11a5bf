"""The scale service's settings; those of its callers' identity and of its certificates come with the libraries."""

from __future__ import annotations

import re
from dataclasses import dataclass

from domino_identity.settings import IdentitySettings
from mm_service import parse
from mm_service.settings import setting
from mm_service.tls import TlsSettings

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def kubernetes_name(text: str) -> str:
    """A name as Kubernetes gives it to a namespace or a Deployment here."""
    if not _NAME.fullmatch(text):
        raise ValueError("expected a name of lower-case letters, digits and - in between, of at most 63 characters")
    return text


@dataclass(frozen=True)
class Settings(IdentitySettings, TlsSettings):
    """What the scale service runs with."""

    namespace: str = setting(None, kubernetes_name, "Namespace of the installation.")
    inference_server_deployment: str = setting(None, kubernetes_name, "Name of Triton's Deployment.")
    proxy_deployment: str = setting(None, kubernetes_name, "Name of the proxy's Deployment.")
    scale_policy_file: str = setting(
        "",
        parse.optional(parse.file),
        "YAML file that says who may do what within which bounds, read anew when it changes; without it nobody may do"
        " anything.",
    )
    kubernetes_url: str = setting(
        "",
        parse.optional(parse.http_url),
        "The API server, as `kubectl proxy` offers it to a developer; without it the one of the cluster that the"
        " service runs in, as the ServiceAccount of its pod.",
    )
    kubernetes_timeout_secs: float = setting(
        "10", parse.seconds(0.1, 60), "Longest wait for one answer of the API server."
    )
    listen_addr: str = setting("[::]:8000", parse.address, "Where REST is served; port 0 takes a free one.")
    grpc_listen_addr: str = setting("[::]:50052", parse.address, "Where gRPC is served; port 0 takes a free one.")
    metrics_listen_addr: str = setting(
        "[::]:9090",
        parse.unless_off(parse.address),
        "Where Prometheus finds GET /metrics, always plaintext; off for nowhere.",
    )
    max_requests: int = setting(
        "16",
        parse.integer(1, 256),
        "Requests worked on at once, of REST and of gRPC each, by a thread each; as many wait, and more are refused.",
    )
    max_progress_streams: int = setting(
        "32",
        parse.integer(1, 1000),
        "Callers that follow a rollout over REST at once; more are refused. Over gRPC it is half of MAX_REQUESTS.",
    )
    progress_every_secs: float = setting(
        "1", parse.seconds(0.05, 60), "How often the API server is asked for a caller that follows a rollout."
    )
    stuck_after_secs: float = setting(
        "120",
        parse.seconds(0, 3600),
        "A rollout is called stuck once one of Kubernetes' reasons has stood so long; longer than a node takes to come"
        " where nodes are added on demand.",
    )
    idle_cooldown_secs: float = setting(
        "0",
        parse.seconds(0, 7 * 86400),
        "After so long without a request the inference server is scaled to zero, and back on the next one; the proxies"
        " tell by their metrics. 0 for never.",
    )
    idle_replicas: int = setting(
        "1", parse.integer(1, 1000), "Replicas of the inference server after the request that ends IDLE_COOLDOWN_SECS."
    )
    proxy_metrics_port: int = setting(
        "9090", parse.integer(1, 65535), "Where each of the proxy's pods has its metrics, for IDLE_COOLDOWN_SECS."
    )
    drain_secs: float = setting("10", parse.seconds(0, 600), "After SIGTERM, longest time for requests under way.")
    log_level: str = setting("INFO", parse.log_level, "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = setting(
        "auto",
        parse.one_of("auto", "json", "text"),
        "json (a line for each), text, or auto: text where standard error is a terminal, else json.",
    )

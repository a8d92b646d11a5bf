"""The proxy's settings; those of its callers' identity and of its certificates come with the libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domino_identity.settings import IdentitySettings
from mm_service import parse, settings
from mm_service.settings import setting
from mm_service.tls import TlsSettings


@dataclass(frozen=True)
class TritonSettings:
    """Where Triton is, and how the proxy and Triton know each other."""

    triton_url: str = setting(
        None,
        parse.address,
        "Triton's gRPC endpoint. Every address of its host is a Triton, and gets its share; for a Service of"
        " Kubernetes' with several pods, the headless one.",
    )
    triton_ca_file: str = setting(
        "",
        parse.optional(parse.ca_file),
        "PEM file of the authorities that Triton's certificate comes from; set, the connection to Triton is TLS.",
    )
    triton_cert_file: str = setting(
        "",
        parse.optional(parse.file),
        "PEM file of the certificate that is shown to Triton, for mutual TLS; needs TRITON_KEY_FILE, TRITON_CA_FILE.",
        ("TRITON_KEY_FILE", "TRITON_CA_FILE"),
    )
    triton_key_file: str = setting(
        "",
        parse.optional(parse.file),
        "PEM file of the private key of TRITON_CERT_FILE, without a password.",
        ("TRITON_CERT_FILE",),
    )
    triton_server_name: str = setting(
        "",
        str,
        "Name that Triton's certificate must have, where it is not the host of TRITON_URL; needs TRITON_CA_FILE.",
        ("TRITON_CA_FILE",),
    )
    triton_cancel_delay_secs: float = setting(
        "30",
        parse.seconds(0, 3600),
        "Longest time after which Triton is told of an inference that nobody waits for any more; half of it is the"
        " shortest. Triton 2.51 dies of a cancel that meets its answer: 0, at once, is for one that is known not to.",
    )
    triton_wait_secs: float = setting(
        "0",
        parse.seconds(0, 86400),
        "Longest wait of a request while TRITON_URL has no address, as after scaling to zero: it is held until there is"
        " a Triton, within its call's deadline. 0 for no wait: it fails at once.",
    )
    triton_calls: str = setting(
        "http2",
        parse.one_of("http2", "grpcio"),
        "What makes inferences of small requests: http2, the proxy's own engine, or grpcio, the plain and slower way"
        " to fall back on. Large requests have connections of their own.",
    )


@dataclass(frozen=True)
class Settings(IdentitySettings, TlsSettings, TritonSettings):
    """What the proxy runs with."""

    listen_addr: str = setting("[::]:50051", parse.address, "Where the proxy listens; port 0 takes a free one.")
    http_listen_addr: str = setting(
        "[::]:8080",
        parse.unless_off(parse.address),
        "Where the proxy listens for REST v2 over HTTP/1.1, with the certificates of LISTEN_ADDR; port 0 takes a free"
        " one, and off serves no REST.",
    )
    grpc_server: str = setting(
        "http2",
        parse.one_of("http2", "grpcio"),
        "What serves callers: http2, the proxy's own engine on libnghttp2, or grpcio, the plain and slower way to fall"
        " back on.",
    )
    workers: int = setting(
        "1",
        parse.integer(1, 64),
        "Processes that serve LISTEN_ADDR and HTTP_LISTEN_ADDR, for a machine where one core is the bound. Limits of"
        " calls, principals and strangers are those of all together; MAX_MB_IN_FLIGHT and"
        " MAX_MB_IN_FLIGHT_PER_PRINCIPAL each worker's own. More than one needs GRPC_SERVER=http2.",
    )
    health_listen_addr: str = setting(
        "",
        parse.optional(parse.address),
        "A second place with grpc.health.v1 and nothing else, always plaintext, for Kubernetes' gRPC probes.",
    )
    metrics_listen_addr: str = setting(
        "[::]:9090",
        parse.unless_off(parse.address),
        "Where Prometheus finds GET /metrics, always plaintext; off for nowhere, and nothing is counted then.",
    )
    otel_exporter_otlp_endpoint: str = setting(
        "",
        parse.optional(parse.http_url),
        "OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://collector:4318; without it nothing"
        " is traced.",
    )
    otel_traces_sampler_arg: float = setting(
        "0.01",
        parse.share,
        "Of calls that come without a trace, the share that begins one; a call with a trace is traced where its caller"
        " traces it.",
    )
    otel_service_name: str = setting("triton-proxy", str, "Name of the proxy in traces, service.name.")
    trace_principals: bool = setting(
        "false",
        parse.boolean,
        "Whether a call's span names its caller, as enduser.id; without it traces name nobody.",
    )
    max_message_mb: int = setting(
        "64",
        parse.integer(1, 1024),
        "Largest gRPC message in MiB, both ways and on all ends: give clients the same value.",
    )
    require_model_version: bool = setting(
        "true",
        parse.boolean,
        "Whether a packet without model_version is refused; false lets Triton choose the version.",
    )
    default_timeout_secs: float = setting(
        "60",
        parse.seconds(0.1, 86400),
        "Longest inference where a packet's timeout_secs is 0.",
    )
    max_timeout_secs: float = setting(
        "600",
        parse.seconds(0.1, 86400),
        "Longest inference whatever a packet's timeout_secs says: what waits for Triton holds memory.",
    )
    stream_window: int = setting(
        "8",
        parse.integer(1, 256),
        "Packets of one stream that are worked on at once; beyond it the stream is not read.",
    )
    max_calls: int = setting(
        "256",
        parse.integer(1, 10000),
        "Calls served at once. One more takes the place of the oldest that never sent a packet; where there is none, it"
        " is refused with RESOURCE_EXHAUSTED.",
        formerly=("MAX_STREAMS",),
    )
    max_calls_per_principal: int = setting(
        "80",
        parse.integer(1, 10000),
        "Calls of one principal that are open at once; each may have MAX_MESSAGE_MB on its way here.",
    )
    access_policy_file: str = setting(
        "",
        parse.optional(parse.file),
        "YAML file that says who may use which models, read anew when it changes; without it every valid "
        "principal may use every model.",
    )
    max_in_flight_per_principal: int = setting(
        "256",
        parse.integer(1, 100000),
        "Packets of one principal that are under way at once, on all its calls.",
    )
    max_requests_per_sec_per_principal: float = setting(
        "0",
        parse.per_second(1e6),
        "Packets per second of one principal; 0 for any number.",
    )
    max_mb_in_flight_per_principal: int = setting(
        "128",
        parse.integer(1, 1048576),
        "MiB of MAX_MB_IN_FLIGHT that one principal may have; beyond it its own streams are not read. Twice"
        " MAX_MESSAGE_MB, or the largest packets are refused.",
    )
    max_mb_in_flight: int = setting(
        "320",
        parse.integer(1, 1048576),
        "MiB that the packets of all callers under way take, each twice its size, and answers not yet taken; beyond it"
        " streams are not read.",
    )
    drain_secs: float = setting(
        "20",
        parse.seconds(0, 3600),
        "After SIGTERM, longest time for answering the packets already accepted.",
    )
    log_level: str = setting("INFO", parse.log_level, "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = setting(
        "auto",
        parse.one_of("auto", "json", "text"),
        "json (a line for each), text, or auto: text where standard error is a terminal, else json.",
    )

    @property
    def max_message_bytes(self) -> int:
        """MAX_MESSAGE_MB in bytes."""
        return self.max_message_mb * 1024 * 1024


TABLE = settings.table(Settings)


def load(environment: Mapping[str, str]) -> Settings:
    """Reads the settings; see `mm_service.settings.load`.

    Raises:
        SettingsError: with one line for each setting that is missing or wrong.
    """
    return settings.load(Settings, environment)

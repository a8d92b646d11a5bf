"""The port for Kubernetes' probes: health in plaintext whatever the listener speaks, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD
from proxy_testing.authority import Authority, SecretVolume
from triton_proxy.auth import Credential, Principal
from triton_proxy.server import Server
from triton_proxy.settings import load

OURS = Authority("ours")
TIMEOUT = 30


class Everybody:
    """Lets everybody in: what the probes' port refuses must not depend on who asks."""

    def authenticate(self, credential: Credential, deadline: float) -> Principal:
        return Principal("ann", admin=False)


def server(**environment: str) -> Server:
    return Server(
        load(
            {
                "TRITON_URL": "127.0.0.1:1",
                "LISTEN_ADDR": "127.0.0.1:0",
                "HEALTH_LISTEN_ADDR": "127.0.0.1:0",
                **environment,
            }
        ),
        Everybody(),
    )


@pytest.fixture
def mutual_tls(tmp_path: Path) -> Iterator[Server]:
    volume = SecretVolume(tmp_path / "tls")
    volume.put(OURS.issue("127.0.0.1"), OURS.pem)
    running = server(
        TLS_CERT_FILE=volume.path("tls.crt"),
        TLS_KEY_FILE=volume.path("tls.key"),
        TLS_CLIENT_CA_FILE=volume.path("ca.crt"),
    )
    running.start()
    yield running
    running.drain()


def probes(running: Server) -> grpc.Channel:
    assert running.health_listener is not None
    return grpc.insecure_channel(f"127.0.0.1:{running.health_listener.port}", [("grpc.use_local_subchannel_pool", 1)])


def test_a_probe_needs_neither_tls_nor_a_certificate(mutual_tls: Server) -> None:
    with probes(mutual_tls) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("method", [CHAT_METHOD, SEND_UNARY_METHOD, "/inference.GRPCInferenceService/ModelInfer"])
def test_nothing_else_is_served_there(mutual_tls: Server, method: str) -> None:
    with probes(mutual_tls) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method, request_serializer=bytes)(
            b"", metadata=(("x-domino-api-key", "k"),), timeout=TIMEOUT
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_probe_sees_the_drain() -> None:
    running = server()
    running.start()
    with probes(running) as channel:
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running.drain()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError):
            next(watch)


def test_a_taken_port_is_named(mutual_tls: Server) -> None:
    with pytest.raises(RuntimeError) as caught:
        server(HEALTH_LISTEN_ADDR=f"127.0.0.1:{mutual_tls.port}")
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{mutual_tls.port}; is the port taken? HEALTH_LISTEN_ADDR sets it"
    )

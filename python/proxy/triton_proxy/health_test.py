"""The port for Kubernetes' probes: health in plaintext whatever the listener speaks, and nothing else."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from domino_identity import Credential, Principal
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, SERVICE_NAME
from proxy_testing.raw_call import await_ends, headers_alone, raw_call, unread_calls
from proxy_testing.whole import health_of, until
from service_testing.authority import Authority, SecretVolume
from triton_proxy.health import CHECK_METHOD, LIVENESS_SERVICE, TRITON_SERVICE, Health, HealthListener, HealthStatistics
from triton_proxy.server import Server
from triton_proxy.settings import load
from triton_proxy.triton import Triton

OURS = Authority("ours")
TIMEOUT = 30
WATCH_METHOD = "/grpc.health.v1.Health/Watch"


class Everybody:
    """Lets everybody in: what the probes' port refuses must not depend on who asks."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        return Principal("ann", admin=False)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Away(Triton):
    """A Triton that nobody can ask."""

    def __init__(self) -> None:
        """Has no connection."""

    def ready(self, timeout_secs: float) -> bool:
        return False


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


@contextmanager
def listener(clock: Clock) -> Iterator[HealthListener]:
    """A port for probes without a proxy behind it."""
    health = Health(Away(), lambda _: True)
    listening = HealthListener(health, "127.0.0.1:0", clock)
    listening.start()
    try:
        yield listening
    finally:
        listening.close()


def probes(port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])


def port_of(running: Server) -> int:
    assert running.health_listener is not None
    return running.health_listener.port


def failure(port: int, method: str, message: bytes) -> tuple[grpc.StatusCode, str | None]:
    with probes(port) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method, request_serializer=bytes)(
            message, metadata=(("x-domino-api-key", "k"),), timeout=TIMEOUT
        )
    return caught.value.code(), caught.value.details()


def test_a_probe_needs_neither_tls_nor_a_certificate(mutual_tls: Server) -> None:
    until(lambda: health_of(mutual_tls))
    assert health_of(mutual_tls, SERVICE_NAME)
    assert health_of(mutual_tls, LIVENESS_SERVICE)
    assert not health_of(mutual_tls, TRITON_SERVICE)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (b"\x0a\x05other", grpc.StatusCode.NOT_FOUND, "no such service; an empty name asks for the proxy"),
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest"),
        (b"\x0a\x01\xff", grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest"),
        (
            bytes(1025),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (1025 vs. 1024)",
        ),
    ],
)
def test_what_no_probe_asks_is_refused(message: bytes, code: grpc.StatusCode, text: str) -> None:
    with listener(Clock()) as listening:
        assert failure(listening.port, CHECK_METHOD, message) == (code, text)


def test_a_message_that_is_large_once_it_is_expanded_is_refused() -> None:
    with listener(Clock()) as listening:
        packed = gzip.compress(bytes(10_000_000))
        answer = raw_call(listening.port, CHECK_METHOD, [(b"grpc-encoding", b"gzip")], packed, compressed=True)
        # RESOURCE_EXHAUSTED.
        assert b"grpc-status\x018" in answer


@pytest.mark.parametrize(
    "method", [CHAT_METHOD, SEND_UNARY_METHOD, WATCH_METHOD, "/inference.GRPCInferenceService/ModelInfer"]
)
def test_nothing_else_is_served_there(mutual_tls: Server, method: str) -> None:
    assert failure(port_of(mutual_tls), method, b"") == (
        grpc.StatusCode.UNIMPLEMENTED,
        "this port serves grpc.health.v1.Health/Check and nothing else",
    )


def test_calls_whose_message_does_not_come_leave_room_for_probes() -> None:
    clock = Clock()
    with listener(clock) as listening:
        connections = [headers_alone(listening.port, CHECK_METHOD, [], 16) for _ in range(40)]
        try:
            until(lambda: listening.statistics() == HealthStatistics(waiting=256, answered=0, refused=384))
            with probes(listening.port) as channel:
                channel.unary_unary(CHECK_METHOD, request_serializer=bytes)(b"", timeout=TIMEOUT)
            clock.now += 5
            # Those that did not give way are late.
            for connection in connections:
                await_ends(connection, 16)
            assert listening.statistics() == HealthStatistics(waiting=0, answered=1, refused=640)
        finally:
            for connection in connections:
                connection.close()


def test_a_caller_that_reads_nothing_holds_up_no_probe() -> None:
    with (
        listener(Clock()) as listening,
        unread_calls(listening.port, WATCH_METHOD, [], b"", 16),
        probes(listening.port) as channel,
    ):
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK_METHOD, request_serializer=bytes)
        for _ in range(20):
            check(b"", timeout=TIMEOUT)


def test_a_probe_sees_the_drain_and_liveness_does_not() -> None:
    running = server()
    running.start()
    until(lambda: health_of(running))
    running._health.drain()
    assert not health_of(running)
    assert health_of(running, LIVENESS_SERVICE)
    running.drain()


def test_a_listener_that_does_not_answer_is_not_serving() -> None:
    answers = True
    health = Health(Away(), lambda _: answers, interval_secs=0.01)
    health.start()
    until(lambda: health.serving("") is True)
    answers = False
    until(lambda: health.serving("") is False)
    assert health.serving(LIVENESS_SERVICE) is True
    answers = True
    until(lambda: health.serving("") is True)
    health.drain()


def test_a_taken_port_is_named(mutual_tls: Server) -> None:
    with pytest.raises(RuntimeError) as caught:
        server(HEALTH_LISTEN_ADDR=f"127.0.0.1:{mutual_tls.port}")
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{mutual_tls.port}; is the port taken? HEALTH_LISTEN_ADDR sets it"
    )

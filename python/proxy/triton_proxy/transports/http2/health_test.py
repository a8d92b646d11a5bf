"""The port for Kubernetes' probes: health in plaintext whatever the listener speaks, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, SERVICE_NAME, pb
from proxy_testing.http2 import RawPeer, Serving
from proxy_testing.in_process import Everybody, Proxy, in_process, packet, served
from proxy_testing.raw_call import await_ends, headers_alone, unread_calls
from proxy_testing.triton import SLOW
from service_testing.authority import Authority, SecretVolume
from service_testing.waiting import until
from triton_proxy.app import Server
from triton_proxy.http2.limits import ConnectionLimits
from triton_proxy.transports.http2.health import (
    CHECK_METHOD,
    HEALTH_LIMITS,
    LIVENESS_SERVICE,
    TRITON_SERVICE,
    Health,
    HealthService,
    HealthStatistics,
    ProbeStatistics,
)
from triton_proxy.triton.client import Triton

OURS = Authority("ours")
TIMEOUT = 30
WATCH_METHOD = "/grpc.health.v1.Health/Watch"


class Away(Triton):
    """A Triton that nobody can ask."""

    def __init__(self) -> None:
        """Has no connection."""

    def ready(self, timeout_secs: float) -> bool:
        return False


@pytest.fixture
def mutual_tls(tmp_path: Path) -> Iterator[Proxy]:
    volume = SecretVolume(tmp_path / "tls")
    volume.put(OURS.issue("127.0.0.1"), OURS.pem)
    environment = {
        "HEALTH_LISTEN_ADDR": "127.0.0.1:0",
        "TLS_CERT_FILE": volume.path("tls.crt"),
        "TLS_KEY_FILE": volume.path("tls.key"),
        "TLS_CLIENT_CA_FILE": volume.path("ca.crt"),
    }
    with in_process(environment, Everybody()) as proxy:
        yield proxy


class Probed(Serving):
    """A port for probes without a proxy behind it.

    Attributes:
        service: what is served there.
    """

    def __init__(self, limits: ConnectionLimits = HEALTH_LIMITS) -> None:
        """Serves from now on."""
        self.service = HealthService(Health(Away(), lambda _: True))
        super().__init__(self.service, limits)


@pytest.fixture
def probed() -> Iterator[Probed]:
    running = Probed()
    yield running
    running.stop()


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


def test_a_probe_needs_neither_tls_nor_a_certificate(mutual_tls: Proxy) -> None:
    until(lambda: mutual_tls.healthy())
    assert mutual_tls.healthy(SERVICE_NAME)
    assert mutual_tls.healthy(LIVENESS_SERVICE)
    assert not mutual_tls.healthy(TRITON_SERVICE)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (b"\x0a\x05other", grpc.StatusCode.NOT_FOUND, "no such service; an empty name asks for the proxy"),
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest"),
        (b"\x0a\x01\xff", grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest"),
        (
            bytes(1025),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (1025 vs. 1024)",
        ),
    ],
)
def test_what_no_probe_asks_is_refused(probed: Probed, message: bytes, code: grpc.StatusCode, text: str) -> None:
    assert failure(probed.port, CHECK_METHOD, message) == (code, text)
    assert probed.service.statistics() == ProbeStatistics(waiting=0, answered=0, refused=1)


@pytest.mark.parametrize("size", [10_000_000, 100_000])
def test_a_message_that_is_large_once_it_is_expanded_is_refused(probed: Probed, size: int) -> None:
    # The first has more than 1 KiB as it comes, the second has not.
    with probes(probed.port) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(CHECK_METHOD, request_serializer=bytes)(
            bytes(size), compression=grpc.Compression.Gzip, timeout=TIMEOUT
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in (caught.value.details() or "")


@pytest.mark.parametrize(
    "method", [CHAT_METHOD, SEND_UNARY_METHOD, WATCH_METHOD, "/inference.GRPCInferenceService/ModelInfer"]
)
def test_nothing_else_is_served_there(mutual_tls: Proxy, method: str) -> None:
    assert failure(port_of(mutual_tls.server), method, b"") == (
        grpc.StatusCode.UNIMPLEMENTED,
        "this port serves grpc.health.v1.Health/Check and nothing else",
    )


def test_a_probe_is_answered_while_messages_of_others_do_not_come(probed: Probed) -> None:
    connections = [headers_alone(probed.port, CHECK_METHOD, [], 16) for _ in range(40)]
    try:
        until(lambda: probed.service.statistics() == ProbeStatistics(waiting=256, answered=0, refused=384))
        with probes(probed.port) as channel:
            channel.unary_unary(CHECK_METHOD, request_serializer=bytes)(b"", timeout=TIMEOUT)
        probed.later(6)
        # Those that did not give way are late.
        for connection in connections:
            await_ends(connection, 16)
        until(lambda: probed.service.statistics() == ProbeStatistics(waiting=0, answered=1, refused=640))
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.2", "127.0.0.3"]], ids=["its own", "others"])
@pytest.mark.parametrize("ask", [False, True], ids=["silent", "asking"])
def test_a_probe_finds_a_place_whatever_connections_an_address_holds(hosts: list[str], ask: bool) -> None:
    probed = Probed(replace(HEALTH_LIMITS, connections=16, connections_per_peer=8))
    with ExitStack() as stack:
        stack.callback(probed.stop)
        for number in range(24):
            peer = stack.enter_context(RawPeer(probed.port, host=hosts[number % len(hosts)], greet=ask))
            if ask:
                peer.call(1, CHECK_METHOD)
        channel = stack.enter_context(probes(probed.port))
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK_METHOD, request_serializer=bytes)
        check(b"", timeout=TIMEOUT)


@pytest.mark.parametrize(("secs", "limit"), [(6, "preface"), (11, "idle")])
def test_a_connection_that_asks_nothing_is_closed(probed: Probed, secs: float, limit: str) -> None:
    with RawPeer(probed.port, greet=limit != "preface") as peer:
        probed.until_counted(connections=1)
        probed.later(secs)
        assert peer.closed() if limit == "preface" else peer.goaway() == (0, b"")
    probed.until_counted(connections=0, **{limit: 1})


def test_a_caller_that_reads_nothing_holds_up_no_probe(probed: Probed) -> None:
    with unread_calls(probed.port, WATCH_METHOD, [], b"", 16), probes(probed.port) as channel:
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK_METHOD, request_serializer=bytes)
        for _ in range(20):
            check(b"", timeout=TIMEOUT)


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_a_probe_sees_the_drain_and_liveness_does_not(transport: str) -> None:
    with served(GRPC_SERVER=transport, DRAIN_SECS=TIMEOUT) as proxy:
        until(proxy.healthy)
        asked = proxy.begin(packet(SLOW))
        assert proxy.triton.begun.wait(TIMEOUT)
        drain = threading.Thread(target=proxy.server.drain)
        drain.start()
        until(lambda: not proxy.healthy())
        assert proxy.healthy(LIVENESS_SERVICE)
        proxy.triton.finish.set()
        drain.join()
        assert asked.result(TIMEOUT).status == pb.OK


def test_a_listener_that_does_not_answer_is_not_serving() -> None:
    answers = True
    health = Health(Away(), lambda _: answers, interval_secs=0.01)
    health.start()
    until(lambda: health.serving("") is True)
    answers = False
    until(lambda: health.serving("") is False)
    assert health.serving(LIVENESS_SERVICE) is True
    assert health.statistics().unanswered >= 2
    answers = True
    until(lambda: health.serving("") is True)
    assert health.statistics() == HealthStatistics(
        frozenset(["", SERVICE_NAME, LIVENESS_SERVICE]), unanswered=0, draining=False
    )
    health.drain()
    assert health.statistics() == HealthStatistics(frozenset([LIVENESS_SERVICE]), unanswered=0, draining=True)


def test_a_taken_port_is_named(mutual_tls: Proxy) -> None:
    taken = in_process({"HEALTH_LISTEN_ADDR": f"127.0.0.1:{mutual_tls.server.port}"}, Everybody())
    with pytest.raises(RuntimeError) as caught:
        taken.__enter__()
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{mutual_tls.server.port}; is the port taken? HEALTH_LISTEN_ADDR sets it"
    )

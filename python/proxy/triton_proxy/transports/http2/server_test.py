"""The callers' listener on the engine: where it listens, what else may come to its port, and how it ends."""

from __future__ import annotations

import errno
import gzip
import socket
import threading
from pathlib import Path

import grpc
import pytest

from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb
from proxy_testing.http2 import DATA, PING, RawPeer, frame
from proxy_testing.in_process import ANN, LET_IN, Everybody, in_process, outcome
from service_testing.authority import Authority, SecretVolume
from service_testing.waiting import TIMEOUT, until
from triton_proxy.http2.first_bytes import HTTP1_ANSWER


def let_in(address: str) -> bool:
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return outcome(channel, ANN)[0] is LET_IN[0]


@pytest.mark.parametrize(
    ("listen", "hosts"),
    [
        ("[::]:0", ["127.0.0.1", "[::1]"]),
        ("[::1]:0", ["[::1]"]),
        ("0.0.0.0:0", ["127.0.0.1"]),
        ("localhost:0", ["localhost"]),
    ],
)
@pytest.mark.parametrize("kind", ["http2", "grpcio"])
def test_it_listens_where_it_is_to(listen: str, hosts: list[str], kind: str) -> None:
    with in_process({"LISTEN_ADDR": listen, "GRPC_SERVER": kind}, Everybody()) as proxy:
        assert [let_in(f"{host}:{proxy.server.port}") for host in hosts] == [True] * len(hosts)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_on_a_machine_without_ipv6_it_listens_at_all_addresses_of_ipv4(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutIpv6(socket.socket):
        def bind(self, address: object) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(number, "no IPv6")
            super().bind(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    with in_process({"LISTEN_ADDR": "[::]:0"}, Everybody()) as proxy:
        assert let_in(f"127.0.0.1:{proxy.server.port}")
    text = r"^cannot listen on \[::1\]:0 \(no IPv6\); check the address: LISTEN_ADDR sets it$"
    with pytest.raises(RuntimeError, match=text):
        in_process({"LISTEN_ADDR": "[::1]:0"}, Everybody()).__enter__()


def test_what_speaks_http1_is_told_that_this_port_does_not() -> None:
    with (
        in_process({}, Everybody()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.server.port), TIMEOUT) as caller,
    ):
        caller.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert caller.makefile("rb").read() == HTTP1_ANSWER


def test_each_new_connection_gets_the_certificate_that_the_files_hold_by_then(tmp_path: Path) -> None:
    first, second = Authority("first"), Authority("second")
    volume = SecretVolume(tmp_path / "tls")
    volume.put(first.issue("127.0.0.1"), first.pem)
    environment = {"TLS_CERT_FILE": volume.path("tls.crt"), "TLS_KEY_FILE": volume.path("tls.key")}
    with in_process(environment, Everybody()) as proxy:

        def secure(authority: Authority) -> grpc.Channel:
            options = [("grpc.use_local_subchannel_pool", 1)]
            return grpc.secure_channel(
                f"127.0.0.1:{proxy.server.port}", grpc.ssl_channel_credentials(authority.pem), options
            )

        with secure(first) as before:
            assert outcome(before, ANN)[0] is grpc.StatusCode.OK
            volume.put(second.issue("127.0.0.1"), second.pem)
            with secure(second) as after:
                assert outcome(after, ANN)[0] is grpc.StatusCode.OK
            # A connection that is there stays.
            assert outcome(before, ANN)[0] is grpc.StatusCode.OK


def flood(port: int, over: threading.Event, attack: str) -> None:
    """Sends for ever, on connections made anew where one is ended."""
    while not over.is_set():
        try:
            with RawPeer(port) as peer:
                stream = 1
                while not over.is_set():
                    if attack == "pings":
                        peer.send(frame(PING, 0, 0, bytes(8)))
                    else:
                        peer.call(stream, SEND_UNARY_METHOD, ("x-domino-api-key", "ann"))
                        stream += 2
        except OSError:
            continue


@pytest.mark.parametrize("attack", ["pings", "heads"])
def test_a_peer_that_sends_for_ever_does_not_hold_up_the_drain(attack: str) -> None:
    over = threading.Event()
    with in_process({"DRAIN_SECS": 1}, Everybody()) as proxy:
        attacker = threading.Thread(target=flood, args=(proxy.server.port, over, attack))
        attacker.start()
        try:
            assert let_in(f"127.0.0.1:{proxy.server.port}")
            draining = threading.Thread(target=proxy.server.drain)
            draining.start()
            # It ends at all: within its own seconds, those for hanging up, and what a busy machine takes.
            draining.join(TIMEOUT)
            assert not draining.is_alive()
        finally:
            over.set()
            attacker.join(TIMEOUT)
        assert not attacker.is_alive()
    until(lambda: not any(thread.name == "http2" for thread in threading.enumerate()))


def test_a_compressed_packet_that_is_larger_than_what_it_holds_leaves_nothing_in_the_budget() -> None:
    with in_process({}, Everybody()) as proxy, RawPeer(proxy.server.port) as peer:
        peer.call(1, CHAT_METHOD, ("grpc-encoding", "gzip"), *ANN)
        compressed = gzip.compress(pb.DataPacket(meta=pb.Meta(correlation_id="c")).SerializeToString())
        for _ in range(20):
            peer.send(frame(DATA, 0, 1, b"\1" + len(compressed).to_bytes(4, "big") + compressed))
            assert peer.until(DATA, 1) is not None
            until(lambda: proxy.server.statistics().budget.arriving == 0)

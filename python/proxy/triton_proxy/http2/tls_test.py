"""TLS, mutual TLS, certificates that are loaded again, and ALPN, on both loops."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import grpc
import pytest

from proxy_testing.http2 import LOOPS, PATIENCE, LoopThread, RawPeer, Serving, serving
from service_testing.authority import Authority, Pair
from triton_proxy.http2.client import Http2Client
from triton_proxy.http2.first_bytes import HTTP1_ANSWER
from triton_proxy.http2.server_stream import Stream


def server_context(folder: Path, pair: Pair, clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    load(folder, context, pair)
    if clients is not None:
        context.load_verify_locations(cadata=clients.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load(folder: Path, context: ssl.SSLContext, pair: Pair) -> None:
    (folder / "tls.pem").write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(folder / "tls.pem")


class Echo:
    def __init__(self) -> None:
        self.certificates: list[dict[str, object] | None] = []

    def __call__(self, stream: Stream) -> None:
        self.certificates.append(stream.peer_certificate)
        stream.on_message(stream.answer)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(run: Serving, credentials: grpc.ChannelCredentials, data: bytes) -> bytes:
    sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(run.address, credentials, sizes) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/s.S/Unary")
        return call(data, timeout=PATIENCE)


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_calls_over_tls(tmp_path: Path, loop: str, size: int) -> None:
    authority = Authority("ours")
    context = server_context(tmp_path, authority.issue("127.0.0.1"))
    with serving(Echo(), ssl_context=lambda: context, loop=loop) as run:
        credentials = grpc.ssl_channel_credentials(authority.pem)
        assert ask(run, credentials, bytes(size)) == bytes(size)


def test_mutual_tls_tells_the_handler_the_caller_s_certificate(tmp_path: Path, loop: str) -> None:
    authority, callers = Authority("ours"), Authority("theirs")
    caller = callers.issue("caller")
    context = server_context(tmp_path, authority.issue("127.0.0.1"), callers)
    handler = Echo()
    with serving(handler, ssl_context=lambda: context, loop=loop) as run:
        with_caller = grpc.ssl_channel_credentials(authority.pem, caller.key, caller.certificate)
        assert ask(run, with_caller, b"hello") == b"hello"
        assert handler.certificates[0] is not None
        assert handler.certificates[0]["subject"] == ((("commonName", "caller"),),)
        with pytest.raises(grpc.RpcError) as failed:
            ask(run, grpc.ssl_channel_credentials(authority.pem), b"hello")
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        run.until(lambda: run.server.counters.handshakes_failed > 0)
        run.until_counted(connections=0)


def test_a_certificate_that_is_loaded_again_is_the_next_caller_s(tmp_path: Path, loop: str) -> None:
    old, new = Authority("old"), Authority("new")
    context = server_context(tmp_path, old.issue("127.0.0.1"))
    with serving(Echo(), ssl_context=lambda: context, loop=loop) as run:
        assert ask(run, grpc.ssl_channel_credentials(old.pem), b"1") == b"1"
        run.run(lambda: load(tmp_path, context, new.issue("127.0.0.1")))
        assert ask(run, grpc.ssl_channel_credentials(new.pem), b"2") == b"2"


def test_our_client_calls_over_tls(tmp_path: Path, loop: str) -> None:
    authority = Authority("ours")
    context = server_context(tmp_path, authority.issue("127.0.0.1"))
    with serving(Echo(), ssl_context=lambda: context, loop=loop) as run:
        trusting = ssl.create_default_context(cadata=authority.pem.decode())
        trusting.set_alpn_protocols(["h2"])
        asking = LoopThread(LOOPS[loop]())
        client = asking.run(lambda: Http2Client("127.0.0.1", run.port, ssl_context=trusting, connections=1))
        reply = asking.wait(lambda: client.unary("/s.S/Unary", bytes(3_000_000), timeout=PATIENCE))
        assert reply.message == bytes(3_000_000)
        asking.wait(client.close)
        asking.stop()


def test_http1_over_tls_is_told_what_this_port_speaks(tmp_path: Path, loop: str) -> None:
    authority = Authority("ours")
    context = server_context(tmp_path, authority.issue("127.0.0.1"))
    with serving(Echo(), ssl_context=lambda: context, loop=loop) as run:
        trusting = ssl.create_default_context(cadata=authority.pem.decode())
        trusting.set_alpn_protocols(["http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", run.port)) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            answer = b""
            while more := client.recv(4096):
                answer += more
        assert answer == HTTP1_ANSWER


def test_a_handshake_that_never_begins_is_counted_and_does_not_hold_up_a_drain(tmp_path: Path, loop: str) -> None:
    authority = Authority("ours")
    context = server_context(tmp_path, authority.issue("127.0.0.1"))
    with serving(Echo(), ssl_context=lambda: context, loop=loop) as run:
        with RawPeer(run.port, greet=False) as silent:
            run.until_counted(connections=1)
            run.wait(lambda: run.server.drain(0.05))
            assert silent.closed()
        run.until_counted(connections=0)

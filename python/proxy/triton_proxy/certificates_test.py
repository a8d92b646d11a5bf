"""Certificates of the listener: who gets in, and what happens when the files change."""

from __future__ import annotations

import datetime
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from mm_service.tls import CertificateError
from mm_service.watched_file import WatchedFileStatistics
from multimodal_contract import pb, pb_grpc
from proxy_testing.both_servers import grpc_server  # noqa: F401 - a fixture of all tests here
from proxy_testing.in_process import Everybody, in_process
from proxy_testing.open_stream import OpenStream
from service_testing.authority import Authority, Pair, SecretVolume
from triton_proxy.app import Server

OURS = Authority("ours")
OTHERS = Authority("of others")
HOST = "127.0.0.1"
TIMEOUT = 30
KEY = (("x-domino-api-key", "k"),)
ENDED = datetime.timedelta(hours=-1)


@pytest.fixture
def volume(tmp_path: Path) -> SecretVolume:
    return SecretVolume(tmp_path / "tls")


@contextmanager
def serving(volume: SecretVolume, *, mutual: bool = False) -> Iterator[Server]:
    environment = {
        "TLS_CERT_FILE": volume.path("tls.crt"),
        "TLS_KEY_FILE": volume.path("tls.key"),
        "TLS_CLIENT_CA_FILE": volume.path("ca.crt") if mutual else "",
    }
    with in_process(environment, Everybody()) as proxy:
        yield proxy.server


def trusting(authority: Authority, own: Pair | None = None) -> grpc.ChannelCredentials:
    if own is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, own.key, own.certificate)


def connected(server: Server, credentials: grpc.ChannelCredentials | None, name: str = "") -> grpc.Channel:
    options: list[tuple[str, int | str]] = [("grpc.use_local_subchannel_pool", 1)]
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    address = f"{HOST}:{server.port}"
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def gets_in(server: Server, credentials: grpc.ChannelCredentials | None, name: str = "") -> bool:
    """Whether a new connection is good for a call."""
    note = pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id="note"))
    with connected(server, credentials, name) as channel:
        try:
            ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(note, metadata=KEY, timeout=TIMEOUT)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return bool(ack.correlation_id == "note")


def shown_by(server: Server, port: int | None = None, speaks: str = "h2") -> int:
    """Serial number of the certificate that a new connection gets."""
    context = ssl.create_default_context(cadata=OURS.pem.decode())
    context.set_alpn_protocols([speaks])
    with (
        socket.create_connection((HOST, port or server.port), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def open_stream(channel: grpc.Channel) -> OpenStream:
    return OpenStream(channel, KEY, TIMEOUT)


def answers(stream: OpenStream, cid: str) -> bool:
    ack = stream.ask(pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id=cid)))
    return (ack.correlation_id, ack.status) == (cid, pb.OK)


def ends_well(stream: OpenStream) -> bool:
    stream.end()
    return list(stream.call) == [] and stream.call.code() is grpc.StatusCode.OK


def test_a_client_gets_in_where_it_can_check_the_certificate(volume: SecretVolume) -> None:
    volume.put(OURS.issue("proxy.test"))
    with serving(volume) as server:
        assert gets_in(server, trusting(OURS), "proxy.test")
        assert not gets_in(server, trusting(OTHERS), "proxy.test")
        assert not gets_in(server, trusting(OURS), "other.test")
        assert not gets_in(server, trusting(OURS))
        assert not gets_in(server, None)
        with connected(server, trusting(OURS), "proxy.test") as channel:
            stream = open_stream(channel)
            assert answers(stream, "c")
            assert ends_well(stream)


def test_without_certificates_the_proxy_speaks_plaintext(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with in_process({"TRITON_URL": f"{HOST}:1"}, Everybody()) as proxy:
        server = proxy.server
        assert gets_in(server, None)
        assert not gets_in(server, trusting(OURS))
        assert f"serving on port {server.port}, plaintext; Triton at {HOST}:1, plaintext" in caplog.text


def test_a_certificate_that_ends_while_the_proxy_serves(volume: SecretVolume) -> None:
    volume.put(OURS.issue(HOST))
    with serving(volume) as server:
        assert gets_in(server, trusting(OURS))
        volume.put(OURS.issue(HOST, lasts=datetime.timedelta(seconds=2)))
        deadline = time.monotonic() + TIMEOUT
        while gets_in(server, trusting(OURS)):
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, False),
        (OTHERS.issue("client"), False),
        (OURS.issue("client", lasts=ENDED), False),
        (OURS.issue("client"), True),
    ],
    ids=["none", "of others", "ended", "right"],
)
def test_mutual_tls_lets_in_who_shows_a_certificate_of_the_authority(
    volume: SecretVolume, own: Pair | None, expected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    volume.put(OURS.issue(HOST), OURS.pem)
    with serving(volume, mutual=True) as server:
        assert gets_in(server, trusting(OURS, own)) is expected
        assert not gets_in(server, None)
        assert f"serving on port {server.port}, mutual TLS;" in caplog.text


def test_new_connections_get_the_new_certificate_and_open_streams_go_on(volume: SecretVolume) -> None:
    before, after = OURS.issue(HOST), OURS.issue(HOST)
    volume.put(before)
    with serving(volume) as server, connected(server, trusting(OURS)) as channel:
        stream = open_stream(channel)
        assert answers(stream, "before")
        assert shown_by(server) == before.serial_number
        volume.put(after)
        assert shown_by(server) == after.serial_number
        assert shown_by(server) == after.serial_number
        assert answers(stream, "after")
        volume.put(OTHERS.issue(HOST))
        assert not gets_in(server, trusting(OURS))
        assert gets_in(server, trusting(OTHERS))
        assert answers(stream, "long after")
        assert ends_well(stream)


@pytest.mark.parametrize("first", ["gRPC", "REST", "metrics"])
def test_all_listeners_show_the_new_certificate_whichever_was_asked_first(volume: SecretVolume, first: str) -> None:
    before, after = OURS.issue(HOST), OURS.issue(HOST)
    volume.put(before)
    with serving(volume) as server:
        listeners = {"gRPC": (server.port, "h2"), "REST": (server.http_port, "http/1.1")}
        assert {shown_by(server, *each) for each in listeners.values()} == {before.serial_number}
        volume.put(after)
        if first == "metrics":
            server.look_at_files()
            assert server.statistics().certificates == WatchedFileStatistics(1, 0, stale=False)
        for name in sorted(listeners, key=lambda name: name != first):
            assert shown_by(server, *listeners[name]) == after.serial_number


def test_new_authorities_hold_for_new_connections(volume: SecretVolume) -> None:
    pair = OURS.issue(HOST)
    volume.put(pair, OURS.pem)
    ours, theirs = trusting(OURS, OURS.issue("client")), trusting(OURS, OTHERS.issue("client"))
    with serving(volume, mutual=True) as server:
        assert gets_in(server, ours)
        assert not gets_in(server, theirs)
        volume.put(pair, OURS.pem + OTHERS.pem)
        assert gets_in(server, ours)
        assert gets_in(server, theirs)
        volume.put(pair, OTHERS.pem)
        assert not gets_in(server, ours)
        assert gets_in(server, theirs)
        # Were it taken, gRPC would let in every holder of a public authority's certificate.
        volume.put(pair, b"")
        assert not gets_in(server, ours)
        assert gets_in(server, theirs)


def swapped() -> Pair:
    return Pair(OURS.issue(HOST).certificate, OURS.issue(HOST).key)


BROKEN: dict[str, tuple[Callable[[], Pair], str]] = {
    "mismatch": (swapped, "TLS_KEY_FILE ({key}) is not the key of the first certificate in TLS_CERT_FILE ({crt})"),
    "ended": (lambda: OURS.issue(HOST, lasts=ENDED), "TLS_CERT_FILE ({crt}) holds a certificate that ended at 20"),
    "no certificate": (
        lambda: Pair(b"half a fi", OURS.issue(HOST).key),
        "TLS_CERT_FILE ({crt}) holds no PEM certificate, or one that can't be read",
    ),
    "no key": (
        lambda: Pair(OURS.issue(HOST).certificate, OURS.issue(HOST).key[:90]),
        "TLS_KEY_FILE ({key}) holds no PEM private key; expected one without a password",
    ),
    "empty": (lambda: Pair(b"", b""), "TLS_CERT_FILE ({crt}) holds no PEM certificate, or one that can't be read"),
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, volume: SecretVolume) -> tuple[Pair, str]:
    make, text = BROKEN[request.param]
    return make(), text.format(crt=volume.path("tls.crt"), key=volume.path("tls.key"))


def quotes(text: str, key: bytes) -> bool:
    """Whether a line of the key is in the text, apart from those that say that it is one."""
    lines = [line for line in key.decode().splitlines() if not line.startswith("-----")]
    return any(line and line in text for line in lines)


def test_files_that_cannot_be_used_stop_the_start(volume: SecretVolume, broken: tuple[Pair, str]) -> None:
    pair, text = broken
    volume.put(pair)
    with pytest.raises(CertificateError) as caught, serving(volume):
        pass
    assert str(caught.value).startswith(text)
    assert not quotes(repr(caught.value), pair.key)


def test_broken_new_files_leave_the_old_in_use_and_are_told_once(
    volume: SecretVolume, broken: tuple[Pair, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good, better = OURS.issue(HOST), OURS.issue(HOST)
    pair, text = broken
    volume.put(good)
    with serving(volume) as server:
        volume.put(pair)
        for _ in range(3):
            assert shown_by(server) == good.serial_number
        assert caplog.text.count(text) == 1
        assert caplog.text.count("what was read before stays in use") == 1
        volume.put(better)
        assert shown_by(server) == better.serial_number
        assert f"certificate {better.serial_number:x} until" in caplog.text
        # The same trouble once more is news again.
        volume.put(pair)
        assert shown_by(server) == better.serial_number
        assert caplog.text.count(text) == 2
    assert not any(quotes(caplog.text, key) for key in (good.key, better.key, pair.key))


def test_files_that_are_gone_leave_the_old_in_use(volume: SecretVolume, caplog: pytest.LogCaptureFixture) -> None:
    good = OURS.issue(HOST)
    volume.put(good)
    with serving(volume) as server:
        Path(volume.path("tls.key")).unlink()
        assert shown_by(server) == good.serial_number
        assert f"TLS_KEY_FILE ({volume.path('tls.key')}) can't be read: No such file or directory" in caplog.text

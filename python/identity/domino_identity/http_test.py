"""What the connection itself must guarantee: TLS that is checked, and a limit on time and size."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from domino_identity.http import Client, NoAnswer, Timed, _end
from identity_testing.raw_server import RawServer, http_response, tls_of
from mm_service.tls import CertificateError
from service_testing.authority import Authority

OK = http_response("200 OK", b"{}")


@dataclass(frozen=True)
class Tls:
    """A server's certificate, and a file of the authority that it comes from."""

    server: ssl.SSLContext
    ca_file: str


def tls(folder: Path, address: str) -> Tls:
    authority = Authority("of a test")
    (folder / "ca.pem").write_bytes(authority.pem)
    return Tls(tls_of(authority.issue(address), folder), str(folder / "ca.pem"))


@pytest.fixture
def ours(tmp_path: Path) -> Tls:
    return tls(tmp_path, "127.0.0.1")


def test_the_right_authority(ours: Tls) -> None:
    with RawServer(OK, tls=ours.server) as server:
        client = Client(connections=1, ca_bundle=ours.ca_file)
        assert client.get(server.url, {}, timeout_secs=5) == (200, b"{}")


@pytest.mark.parametrize(("status", "answered"), [("200 OK", True), ("401 Unauthorized", True), ("502 Bad", False)])
def test_who_wants_to_hear_of_questions_hears_of_each(status: str, answered: bool) -> None:
    heard: list[tuple[str, bool, bool]] = []

    def asked(server: str, secs: float, *, answered: bool) -> None:
        heard.append((server, 0 < secs < 60, answered))

    with RawServer(http_response(status, b"{}")) as server:
        Timed(Client(connections=1), "domino", asked).get(server.url, {}, timeout_secs=5)
        Timed(Client(connections=1), "domino", None).get(server.url, {}, timeout_secs=5)
    with pytest.raises(NoAnswer):
        Timed(Client(connections=1), "keycloak", asked).get(server.url, {}, timeout_secs=5)
    assert heard == [("domino", True, answered), ("keycloak", True, False)]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_foreign_authority_never_sees_the_request(ours: Tls, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, ours.ca_file)
    with RawServer(OK, tls=ours.server) as server:
        with pytest.raises(NoAnswer, match="SSLError"):
            Client(connections=1).get(server.url, {"X-Domino-Api-Key": "k"}, timeout_secs=5)
        assert server.requests == []


def outcome(client: Client, server: RawServer) -> str:
    """What a request on a new connection gets."""
    try:
        return str(client.get(server.url, {}, timeout_secs=5)[0])
    except NoAnswer as error:
        return str(error)


def test_new_authorities_hold_for_new_connections_and_what_is_broken_for_none(
    ours: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = itertools.count()
    file = Path(ours.ca_file)
    good, other = file.read_bytes(), Authority("another").pem
    with RawServer(OK, tls=ours.server) as server:
        client = Client(connections=1, ca_bundle=ours.ca_file, clock=lambda: float(next(seconds)))
        assert outcome(client, server) == "200"
        file.write_bytes(other)
        assert outcome(client, server) == "SSLError"
        for broken in (b"", b"half a certificate", good[:200]):
            file.write_bytes(broken)
            assert outcome(client, server) == "SSLError"
        file.write_bytes(good)
        assert outcome(client, server) == "200"
        file.unlink()
        assert outcome(client, server) == "200"
    holds_none = f"DOMINO_CA_FILE ({file}) holds no PEM certificate, or one that can't be read"
    assert [record.getMessage().partition(": ")[2] for record in caplog.records if record.levelname == "ERROR"] == [
        holds_none,
        f"DOMINO_CA_FILE ({file}) can't be read: No such file or directory",
    ]


@pytest.mark.parametrize("content", [b"", b"half a certificate", None])
def test_authorities_that_cannot_be_used_stop_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(CertificateError, match=r"^DOMINO_CA_FILE \(.*ca.pem\) (holds no PEM|can't be read: No such)"):
        Client(connections=1, ca_bundle=str(tmp_path / "ca.pem"))


def test_a_certificate_for_somewhere_else(tmp_path: Path) -> None:
    other = tls(tmp_path, "127.0.0.2")
    with RawServer(OK, tls=other.server) as server:
        with pytest.raises(NoAnswer, match="SSLError"):
            Client(connections=1, ca_bundle=other.ca_file).get(server.url, {}, timeout_secs=5)
        assert server.requests == []


def test_ending_a_connection_does_not_end_its_tls(ours: Tls) -> None:
    """Else what comes next would be taken in as if it had been decrypted."""
    with RawServer(OK, tls=ours.server) as server:
        context = ssl.create_default_context(cafile=ours.ca_file)
        plain = socket.create_connection(("127.0.0.1", server.port))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            _end(connection)
            assert connection.version() is not None
            assert connection.recv(10) == b""


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    client = Client(connections=1)
    with RawServer(OK) as server:
        for _ in range(20):
            client.get(server.url, {}, timeout_secs=60)
    client.close()
    assert threading.active_count() <= before + 1

"""Another server than the proxy knows its callers by the two libraries alone, without triton_proxy and grpc."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from identity_testing.raw_server import Answer, RawServer, header, http_response, tls_of
from identity_testing.realm import SigningKey, claims, jwks
from service_testing.authority import Authority, SecretVolume

TIMEOUT = 60
OURS, DOMINOS = Authority("ours"), Authority("Domino's")
ADDRESS = "127.0.0.1"
KEY = SigningKey("rsa")
ANN = "s3cret-key-of-ann"


def domino(request: bytes) -> Answer:
    """Domino's front end and its realm's keys."""
    if request.startswith(b"GET /v4/auth/principal "):
        known = header(request, "X-Domino-Api-Key") == ANN
        told = {"isAnonymous": False, "canonicalName": "ann"} if known else {"isAnonymous": True}
        return http_response("200 OK", json.dumps(told).encode())
    return http_response("200 OK", jwks(KEY.jwk()))


@dataclass(frozen=True)
class Response:
    status: int
    text: str
    retry_after: str | None


@dataclass(frozen=True)
class Served:
    """The server in a process of its own.

    Attributes:
        port: where it listens.
        process: its process.
        domino: knows its callers.
        volume: of its certificate.
    """

    port: int
    process: subprocess.Popen[str]
    domino: RawServer
    volume: SecretVolume

    def connection(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cadata=OURS.pem.decode())
        return http.client.HTTPSConnection(ADDRESS, self.port, timeout=TIMEOUT, context=context)

    def get(self, headers: Mapping[str, str]) -> Response:
        with contextlib.closing(self.connection()) as connection:
            connection.request("GET", "/", headers=dict(headers))
            response = connection.getresponse()
            return Response(response.status, response.read().decode(), response.headers["Retry-After"])

    def shown(self) -> int:
        """Serial number of the certificate that a new connection gets."""
        with contextlib.closing(self.connection()) as connection:
            connection.connect()
            der = connection.sock.getpeercert(binary_form=True)
        assert isinstance(der, bytes)
        return x509.load_der_x509_certificate(der).serial_number


def started(settings: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "identity_testing.small_server"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path), **settings},
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    volume = SecretVolume(tmp_path / "tls")
    volume.put(OURS.issue(ADDRESS))
    (tmp_path / "domino.pem").write_bytes(DOMINOS.pem)
    with RawServer(domino, tls=tls_of(DOMINOS.issue(ADDRESS), tmp_path)) as stand_in:
        settings = {
            "DOMINO_HOST": stand_in.url,
            "DOMINO_CA_FILE": str(tmp_path / "domino.pem"),
            "KEYCLOAK_ISSUER": str(claims()["iss"]),
            "KEYCLOAK_JWKS_URL": stand_in.url + "/certs",
            "AUTH_CACHE_SECS": "0",
            "TLS_CERT_FILE": volume.path("tls.crt"),
            "TLS_KEY_FILE": volume.path("tls.key"),
        }
        with started(settings) as process:
            try:
                assert process.stdout is not None
                yield Served(int(process.stdout.readline()), process, stand_in, volume)
            finally:
                process.kill()


def test_callers_are_named_or_refused(served: Served) -> None:
    assert served.get({"X-Domino-Api-Key": ANN}) == Response(200, "ann", None)
    token = KEY.token(claims(preferred_username="bob"))
    assert served.get({"Authorization": f"Bearer {token}"}) == Response(200, "bob", None)
    assert served.get({"X-Domino-Api-Key": "s3cret-of-nobody"}) == Response(
        401, "Domino does not accept these credentials; check that the API key or token is current", None
    )
    assert served.get({}) == Response(
        401,
        "missing credentials: send header x-domino-api-key (a Domino API key) or authorization ('Bearer <token>')",
        None,
    )


def test_a_dead_domino_is_503_and_soon_with_the_time_to_wait(served: Served) -> None:
    assert served.get({"X-Domino-Api-Key": ANN}).status == 200
    served.domino.answer = http_response("503 Service Unavailable", b"")
    key = {"X-Domino-Api-Key": ANN}
    down = Response(503, "Domino can't say who is calling just now; try again", None)
    assert [served.get(key) for _ in range(5)] == [down] * 5
    # Now and then one is the probe.
    refused = next(answer for answer in (served.get(key) for _ in range(100)) if answer != down)
    assert (refused.status, refused.text) == (503, "Domino has not answered for a while; try again in some seconds")
    assert refused.retry_after in {"1", "2", "3", "4", "5", "6"}


def test_new_connections_get_the_new_certificate(served: Served) -> None:
    for _ in range(2):
        pair = OURS.issue(ADDRESS)
        served.volume.put(pair)
        assert served.shown() == pair.serial_number


def test_neither_the_proxy_nor_grpc_is_loaded(served: Served) -> None:
    assert served.get({"X-Domino-Api-Key": ANN}).status == 200
    served.process.send_signal(signal.SIGTERM)
    out, log = served.process.communicate(timeout=TIMEOUT)
    assert (served.process.returncode, out) == (0, "[]\n")
    assert "s3cret" not in log


def test_wrong_settings_of_both_libraries_are_listed_at_once() -> None:
    with started({"DOMINO_HOST": "domino", "TLS_CERT_FILE": __file__, "LISTEN_ADDR": "here"}) as process:
        _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert errors.splitlines() == [
        f"small_server: TLS_CERT_FILE is {__file__!r}: expected TLS_KEY_FILE to be set with it",
        "DOMINO_HOST is 'domino': expected http://HOST[:PORT] or https://HOST[:PORT]",
        "LISTEN_ADDR is 'here': expected HOST:PORT, such as triton-inference-server:8001 or [::]:50051",
    ]

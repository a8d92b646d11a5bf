"""Certificate files that change, and what Python's own `ssl` makes of them."""

from __future__ import annotations

import datetime
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mm_service.tls import CertificateError, Certificates, File, Pem, TlsSettings, for_listener, mode, server_context
from mm_service.watched_file import WatchedFileStatistics
from service_testing.authority import Authority, Pair, PrivateKey, SecretVolume

OURS, OTHERS = Authority("ours"), Authority("of others")
HOST = "127.0.0.1"
TIMEOUT = 30
ENDED = datetime.timedelta(hours=-1)


@pytest.fixture
def volume(tmp_path: Path) -> SecretVolume:
    return SecretVolume(tmp_path / "tls")


def listener(volume: SecretVolume, *, mutual: bool = False) -> Certificates:
    certificates = for_listener(
        TlsSettings(volume.path("tls.crt"), volume.path("tls.key"), volume.path("ca.crt") if mutual else "")
    )
    assert certificates is not None
    return certificates


def end_of(pair: Pair) -> float:
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()


def shown(pem: Pem, client: ssl.SSLContext) -> int | None:
    """Serial number of the certificate that a client accepts; None where one end refuses the other."""
    with socket.create_server((HOST, 0)) as server, ThreadPoolExecutor(1) as pool:

        def serve() -> bool:
            with server.accept()[0] as plain:
                plain.settimeout(TIMEOUT)
                try:
                    with server_context(pem).wrap_socket(plain, server_side=True) as connection:
                        return connection.recv(1) == b"x"
                except OSError:
                    return False

        served = pool.submit(serve)
        der: bytes | None = None
        with socket.create_connection(server.getsockname(), TIMEOUT) as plain:
            try:
                with client.wrap_socket(plain, server_hostname=HOST) as connection:
                    connection.sendall(b"x")
                    der = connection.getpeercert(binary_form=True)
            except OSError:
                der = None
        return x509.load_der_x509_certificate(der).serial_number if served.result(TIMEOUT) and der else None


def trusting(authority: Authority, folder: Path, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if own is not None:
        (folder / "own.pem").write_bytes(own.key + own.certificate)
        context.load_cert_chain(folder / "own.pem")
    return context


def test_a_server_shows_the_certificate_of_the_files(volume: SecretVolume, tmp_path: Path) -> None:
    pair = OURS.issue(HOST)
    volume.put(pair)
    certificates = listener(volume)
    assert mode(certificates) == "TLS"
    assert shown(certificates.current, trusting(OURS, tmp_path)) == pair.serial_number
    assert shown(certificates.current, trusting(OTHERS, tmp_path)) is None


@pytest.mark.parametrize(
    ("own", "gets_in"),
    [
        (None, False),
        (OTHERS.issue("client"), False),
        (OURS.issue("client", lasts=ENDED), False),
        (OURS.issue("client"), True),
    ],
    ids=["none", "of others", "ended", "right"],
)
def test_with_authorities_a_client_needs_a_certificate_of_theirs(
    volume: SecretVolume, tmp_path: Path, own: Pair | None, gets_in: bool
) -> None:
    volume.put(OURS.issue(HOST), OURS.pem)
    certificates = listener(volume, mutual=True)
    assert mode(certificates) == "mutual TLS"
    assert (shown(certificates.current, trusting(OURS, tmp_path, own)) is not None) is gets_in


def test_without_a_certificate_a_listener_speaks_plaintext() -> None:
    assert for_listener(TlsSettings("", "", "")) is None
    assert mode(None) == "plaintext"


def test_renewed_files_are_given_once_and_broken_ones_never(volume: SecretVolume) -> None:
    before, after = OURS.issue(HOST), OURS.issue(HOST, lasts=datetime.timedelta(days=9))
    volume.put(before)
    certificates = listener(volume)
    assert certificates.renewed() is None
    assert certificates.ends_at == end_of(before)
    volume.put(after)
    renewed = certificates.renewed()
    assert renewed is not None
    assert (renewed, renewed.certificate) == (certificates.current, after.certificate)
    assert certificates.ends_at == end_of(after)
    assert certificates.renewed() is None
    volume.put(Pair(after.certificate, before.key))
    assert certificates.renewed() is None
    assert certificates.current == renewed
    assert certificates.statistics() == WatchedFileStatistics(changes=1, failures=1, stale=True)


def test_files_that_cannot_be_used_raise_and_quote_no_key(volume: SecretVolume) -> None:
    pair = OURS.issue(HOST, lasts=ENDED)
    volume.put(pair)
    with pytest.raises(CertificateError) as caught:
        listener(volume)
    assert str(caught.value).startswith(f"TLS_CERT_FILE ({volume.path('tls.crt')}) holds a certificate that ended at ")
    assert pair.key.splitlines()[1].decode() not in repr(caught.value)


# Of OpenSSL's security level 2, which Debian's has by default: 112 bits.
WEAK: list[PrivateKey] = [
    rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
    ec.generate_private_key(ec.SECP192R1()),
]
REFUSED = (
    "OpenSSL refuses the certificate, its key or the authorities: ee key too small; expected a key of 2048 bits (RSA) "
    "or 224 bits (EC) at the least, and signatures by SHA-256 or better; issue them anew like that"
)


@pytest.mark.parametrize("key", WEAK, ids=["RSA", "EC"])
def test_a_key_that_openssl_refuses_is_refused_in_our_words(volume: SecretVolume, key: PrivateKey) -> None:
    weak = OURS.issue(HOST, key=key)
    with pytest.raises(CertificateError) as caught:
        server_context(Pem(weak.certificate, weak.key))
    assert str(caught.value) == REFUSED
    volume.put(weak)
    with pytest.raises(CertificateError) as caught:
        listener(volume)
    files = f"TLS_CERT_FILE ({volume.path('tls.crt')}) and TLS_KEY_FILE ({volume.path('tls.key')})"
    assert str(caught.value) == f"{files}: {REFUSED}"


def test_a_renewed_key_that_openssl_refuses_leaves_the_one_of_before(
    volume: SecretVolume, caplog: pytest.LogCaptureFixture
) -> None:
    good = OURS.issue(HOST)
    volume.put(good)
    certificates = listener(volume)
    volume.put(OURS.issue(HOST, key=WEAK[0]))
    assert certificates.renewed() is None
    assert certificates.current.certificate == good.certificate
    assert "what was read before stays in use: TLS_CERT_FILE" in caplog.text
    assert REFUSED in caplog.text


def test_authorities_that_openssl_cannot_read_are_refused_in_our_words() -> None:
    pair = OURS.issue(HOST)
    with pytest.raises(CertificateError) as caught:
        server_context(Pem(pair.certificate, pair.key, b"nothing"))
    assert str(caught.value).startswith("OpenSSL refuses the certificate, its key or the authorities: ")


@dataclass(frozen=True)
class SwappedUnderHand(File):
    """A file after whose reading the volume changes, while there is something to change to."""

    volume: SecretVolume
    coming: list[Pair]

    def read(self) -> bytes:
        content = super().read()
        if self.coming:
            self.volume.put(self.coming.pop())
        return content


def test_files_that_change_while_they_are_read_are_read_again(
    volume: SecretVolume, caplog: pytest.LogCaptureFixture
) -> None:
    volume.put(OURS.issue(HOST))
    certificate = SwappedUnderHand("TLS_CERT_FILE", volume.path("tls.crt"), volume, [OURS.issue(HOST)])
    certificates = Certificates(
        "listener", certificate=certificate, key=File("TLS_KEY_FILE", volume.path("tls.key")), authorities=File("", "")
    )
    later, latest = OURS.issue(HOST), OURS.issue(HOST)
    certificate.coming.extend([latest, later])
    volume.put(OURS.issue(HOST))
    renewed = certificates.renewed()
    assert renewed is not None
    assert renewed.certificate == latest.certificate
    assert renewed.key == latest.key
    certificate.coming.extend(OURS.issue(HOST) for _ in range(100))
    assert certificates.renewed() is None
    assert "changed while they were read" in caplog.text
    assert latest.key not in caplog.text.encode()

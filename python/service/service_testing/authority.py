"""Authorities that issue certificates of any kind, and files that change as Kubernetes changes them."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey"
_HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    @property
    def serial_number(self) -> int:
        """The certificate's."""
        return x509.load_pem_x509_certificate(self.certificate).serial_number


class Authority:
    """A certificate authority; its own certificate is `pem`."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(Encoding.PEM)

    def issue(self, *names: str, lasts: datetime.timedelta = _HOUR, key: PrivateKey | None = None) -> Pair:
        """A certificate for DNS names and addresses.

        Args:
            names: the names and addresses.
            lasts: from now on; below zero it has ended.
            key: its key; None makes a good one.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_named(names[0]), self._name, key.public_key(), lasts)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Pair(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


class SecretVolume:
    """A folder in which all files change at once, by the swap of a link, as those of a mounted Secret do."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._versions = itertools.count()

    def path(self, name: str) -> str:
        """Where a file is."""
        return str(self._folder / name)

    def put(self, pair: Pair, authorities: bytes = b"") -> None:
        """Replaces the files with those of a Secret of the type kubernetes.io/tls, as cert-manager writes it."""
        files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authorities}
        version = f"..{next(self._versions)}"
        (self._folder / version).mkdir()
        for name, content in files.items():
            (self._folder / version / name).write_bytes(content)
        swap = self._folder / "..data_tmp"
        swap.symlink_to(version)
        swap.rename(self._folder / "..data")
        for name in files:
            if not (self._folder / name).is_symlink():
                (self._folder / name).symlink_to(Path("..data", name))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, lasts: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _HOUR)
        .not_valid_after(now + lasts)
    )

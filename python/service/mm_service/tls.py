"""Certificates from files: checked at the start and again whenever the files have changed."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mm_service import parse
from mm_service.settings import setting
from mm_service.watched_file import WatchedFile, WatchedFileStatistics

_LOG = logging.getLogger(__name__)
_UNUSABLE = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True)
class TlsSettings:
    """The certificate files of a server's listener."""

    tls_cert_file: str = setting(
        "",
        parse.optional(parse.file),
        "PEM file of the server's certificate, with those between it and its authority behind it; set, clients"
        " have to use TLS. Needs TLS_KEY_FILE.",
        ("TLS_KEY_FILE",),
    )
    tls_key_file: str = setting(
        "",
        parse.optional(parse.file),
        "PEM file of the private key of TLS_CERT_FILE, without a password.",
        ("TLS_CERT_FILE",),
    )
    tls_client_ca_file: str = setting(
        "",
        parse.optional(parse.ca_file),
        "PEM file of the authorities that clients' certificates must come from; set, none gets in without one.",
        ("TLS_CERT_FILE",),
    )


class CertificateError(RuntimeError):
    """Certificate files can't be used; the text says which and why, and quotes nothing of them."""


@dataclass(frozen=True)
class File:
    """A PEM file.

    Attributes:
        setting: the setting that names it, for the operator to read.
        path: where it is; "" where the setting is not set.
    """

    setting: str
    path: str

    def __str__(self) -> str:
        return f"{self.setting} ({self.path})"

    def read(self) -> bytes:
        """Its content; b"" where the setting is not set.

        Raises:
            CertificateError: it can't be read.
        """
        if not self.path:
            return b""
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except OSError as error:
            raise CertificateError(f"{self} can't be read: {error.strerror}") from None


@dataclass(frozen=True)
class Pem:
    """What the files of one end held at one moment.

    Attributes:
        certificate: our certificate, then those between it and its authority; b"" for none.
        key: the certificate's private key.
        authorities: certificates of the authorities that the other end is checked against; b"" for none.
    """

    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    authorities: bytes = b""


class Certificates:
    """The certificate files of one end of a connection, and what they held when they could last be used."""

    def __init__(self, end: str, *, certificate: File, key: File, authorities: File) -> None:
        """Reads and checks the files.

        Args:
            end: what they are for, as the log shall call it.
            certificate: our certificate, with those between it and its authority behind it.
            key: the certificate's private key, without a password.
            authorities: whom the other end's certificate has to come from.

        Raises:
            CertificateError: they can't be used.
        """
        self._certificate, self._key, self._authorities = files = certificate, key, authorities
        self._file: WatchedFile[tuple[Pem, str]] = WatchedFile(
            [file.path for file in files],
            lambda: tuple(file.read() for file in files),
            lambda contents: self._checked(Pem(*contents)),
            error=CertificateError,
            changed=lambda value: _LOG.info("%s: the files changed and are in use from now on: %s", end, value[1]),
            failed=lambda text: _LOG.error(
                "%s: the files changed, but what was read before stays in use: %s", end, text
            ),
        )
        _LOG.info("%s: %s", end, self._file.current[1])

    @property
    def mutual(self) -> bool:
        """Whether both ends show a certificate."""
        return bool(self._certificate.path and self._authorities.path)

    @property
    def current(self) -> Pem:
        """What the files held when they were last looked at and could be used."""
        return self._file.current[0]

    @property
    def ends_at(self) -> float | None:
        """When our certificate ends, in seconds since the epoch; None where there is none."""
        certificate = self.current.certificate
        return x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc.timestamp() if certificate else None

    def look(self) -> Pem:
        """Looks at the files again; what `current` holds by now, another object where it is new."""
        self._file.look()
        return self.current

    def renewed(self) -> Pem | None:
        """Looks at the files again; for the only one that does so.

        Returns:
            Their contents where they changed and can be used, once; from then on `current` holds them too. None where
            they are as before, or can't be used: then the contents of before stay, and the log says why, once.
        """
        return self.current if self._file.look() else None

    def statistics(self) -> WatchedFileStatistics:
        """What became of the changes of the files so far."""
        return self._file.statistics()

    def _checked(self, pem: Pem) -> tuple[Pem, str]:
        """The contents, and what they are in words."""
        parts = []
        if self._certificate.path:
            parts.append(self._checked_pair(pem))
        if self._authorities.path:
            # gRPC would take an empty list for the usual authorities, all of them.
            found = _certificates(self._authorities, pem.authorities)
            names = "; ".join(authority.subject.rfc4514_string() for authority in found)
            parts.append(f"the other end is checked against {names}")
        return pem, ", ".join(parts)

    def _checked_pair(self, pem: Pem) -> str:
        own = _certificates(self._certificate, pem.certificate)[0]
        try:
            key = load_pem_private_key(pem.key, password=None)
        except _UNUSABLE:
            raise CertificateError(f"{self._key} holds no PEM private key; expected one without a password") from None
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{self._key} holds a key of another kind; expected RSA or EC")
        if key.public_key() != own.public_key():
            raise CertificateError(f"{self._key} is not the key of the first certificate in {self._certificate}")
        end = own.not_valid_after_utc
        if end < datetime.datetime.now(datetime.UTC):
            raise CertificateError(f"{self._certificate} holds a certificate that ended at {end.isoformat()}; renew it")
        try:
            server_context(pem)
        except CertificateError as error:
            raise CertificateError(f"{self._certificate} and {self._key}: {error}") from None
        return f"certificate {own.serial_number:x} until {end.isoformat()}"


def _certificates(file: File, content: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(content)
        for certificate in found:
            certificate.public_key()
    except _UNUSABLE:
        raise CertificateError(f"{file} holds no PEM certificate, or one that can't be read") from None
    return found


def for_listener(settings: TlsSettings) -> Certificates | None:
    """The listener's files; None where it speaks plaintext.

    Raises:
        CertificateError: they can't be used.
    """
    if not settings.tls_cert_file:
        return None
    return Certificates(
        "listener",
        certificate=File("TLS_CERT_FILE", settings.tls_cert_file),
        key=File("TLS_KEY_FILE", settings.tls_key_file),
        authorities=File("TLS_CLIENT_CA_FILE", settings.tls_client_ca_file),
    )


def server_context(pem: Pem) -> ssl.SSLContext:
    """What a listener needs that Python's own `ssl` serves; it stays what it is, so that renewed files need a new one.

    With authorities, clients without a certificate of theirs don't get in.

    Args:
        pem: as `Certificates` has checked it.

    Raises:
        CertificateError: OpenSSL refuses the certificate, its key or the authorities.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _refusals():
        if pem.authorities:
            context.verify_mode = ssl.CERT_REQUIRED
        _load(context, pem)
    return context


def client_context(pem: Pem) -> ssl.SSLContext:
    """What connects to a server that is checked against the authorities alone; it stays what it is, as above.

    Args:
        pem: as `Certificates` has checked it; with a certificate, it is shown to the server.

    Raises:
        CertificateError: as `server_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with _refusals():
        _load(context, pem)
    return context


def _load(context: ssl.SSLContext, pem: Pem) -> None:
    if pem.certificate:
        # `ssl` takes a certificate and its key from a file only. This one is nowhere but in memory.
        with open(os.memfd_create("certificate", os.MFD_CLOEXEC), "wb") as file:
            file.write(pem.key + b"\n" + pem.certificate)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    if pem.authorities:
        context.load_verify_locations(cadata=pem.authorities.decode("ascii", "ignore"))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        why = (error.reason or "it gives no reason").replace("_", " ").lower()
        raise CertificateError(
            f"OpenSSL refuses the certificate, its key or the authorities: {why}; expected a key of 2048 bits (RSA) or "
            "224 bits (EC) at the least, and signatures by SHA-256 or better; issue them anew like that"
        ) from None


def mode(certificates: Certificates | None) -> str:
    """How an end speaks, for the log."""
    if certificates is None:
        return "plaintext"
    return "mutual TLS" if certificates.mutual else "TLS"

"""A server's certificate in files, for programs that read files."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service_testing.authority import Authority

# What the certificate says, beside the address: some clients take no address for a name.
NAME = "conformance.test"


@dataclass(frozen=True)
class TlsFiles:
    """PEM files.

    Attributes:
        certificate: the server's.
        key: its private key.
        authority: the authority that issued it, for clients.
    """

    certificate: Path
    key: Path
    authority: Path

    def contexts(self) -> Callable[[], ssl.SSLContext]:
        """Gives a server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(self.certificate, self.key)
        return lambda: context


def tls_files(folder: Path) -> TlsFiles:
    """Makes an authority and a server's certificate.

    Args:
        folder: where to put them.
    """
    authority = Authority("conformance")
    pair = authority.issue(NAME, "127.0.0.1")
    files = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    files.certificate.write_bytes(pair.certificate)
    files.key.write_bytes(pair.key)
    files.authority.write_bytes(authority.pem)
    return files

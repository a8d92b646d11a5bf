"""The listener's certificates on the engine: each new connection gets what the files hold by then."""

from __future__ import annotations

import ssl

from mm_service.tls import Certificates, server_context


class ListenerTls:
    """Contexts for TLS that follow their files."""

    def __init__(self, certificates: Certificates) -> None:
        """Takes what the files hold.

        Args:
            certificates: the listener's.
        """
        self._certificates = certificates
        self._context = _context(certificates)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Looks whether the files have changed: three calls of stat(2), files of a Secret."""
        if self._certificates.renewed() is not None:
            self._context = _context(self._certificates)
        return self._context


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = server_context(certificates.current)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context

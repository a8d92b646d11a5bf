"""The listener's certificates on the engine: each new connection gets what the files hold by then."""

from __future__ import annotations

import ssl

from mm_service.tls import Certificates, Pem, server_context


class ListenerTls:
    """Contexts for TLS that follow their files."""

    def __init__(self, certificates: Certificates, speaks: str) -> None:
        """Takes what the files hold.

        Args:
            certificates: the listener's.
            speaks: the protocol by its name for ALPN (RFC 7301), such as "h2".
        """
        self._certificates = certificates
        self._speaks = speaks
        self._pem = certificates.current
        self._context = self._made(self._pem)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Looks whether the files have changed: three calls of stat(2), files of a Secret."""
        # Another listener may have looked first: what counts is which certificate this one shows.
        pem = self._certificates.look()
        if pem is not self._pem:
            self._pem, self._context = pem, self._made(pem)
        return self._context

    def _made(self, pem: Pem) -> ssl.SSLContext:
        context = server_context(pem)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([self._speaks])
        return context

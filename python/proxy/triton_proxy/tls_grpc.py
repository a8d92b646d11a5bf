"""Certificates as grpc takes them: for the listener and for the connections to Triton."""

from __future__ import annotations

import grpc

from mm_service.tls import Certificates, File, Pem
from triton_proxy.settings import TritonSettings


def for_triton(settings: TritonSettings) -> Certificates | None:
    """The files for connections to Triton; None where they are plaintext.

    Raises:
        CertificateError: they can't be used.
    """
    if not settings.triton_ca_file:
        return None
    return Certificates(
        "Triton",
        certificate=File("TRITON_CERT_FILE", settings.triton_cert_file),
        key=File("TRITON_KEY_FILE", settings.triton_key_file),
        authorities=File("TRITON_CA_FILE", settings.triton_ca_file),
    )


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """A listener's credentials; each new connection gets the certificate that the files hold by then.

    With authorities, clients without a certificate of theirs don't get in.
    """

    def configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authorities or None)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        pem = certificates.renewed()
        return None if pem is None else configuration(pem)

    return grpc.dynamic_ssl_server_credentials(
        configuration(certificates.current),
        renewed,  # type: ignore[arg-type]  # grpc's text allows None, for no change
        require_client_authentication=certificates.mutual,
    )


def channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """A channel's credentials; they stay what they are, so that renewed files need a new channel."""
    return grpc.ssl_channel_credentials(
        root_certificates=pem.authorities,
        private_key=pem.key or None,
        certificate_chain=pem.certificate or None,
    )

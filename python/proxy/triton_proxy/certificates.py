"""The certificate files of the connections to Triton, as the settings name them."""

from __future__ import annotations

from mm_service.tls import Certificates, File
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

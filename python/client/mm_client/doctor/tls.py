"""Is the port encrypted as it was asked, does its certificate hold, and does it speak HTTP/2."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from mm_client.doctor.certificates import Certificate, certificate_of, open_tls, read, trusted_authorities
from mm_client.doctor.finding import Finding, ok, wrong, wrong_by
from mm_client.doctor.network import Place
from mm_client.doctor.speech import Answer, Speech, answer_to_preface, listen, refusal_of_tls
from mm_client_api import ConfigurationError
from mm_client_api._core.endpoint import channel_credentials

_SOON_SECS = 7 * 86400
_PROXY = "the proxy's gRPC port, 50051 unless it was changed"
_SPEAKS_PLAIN = "unset MM_TLS and MM_CA_BUNDLE (--tls 0), or ask the operator for the port with a certificate"
# What OpenSSL's verify codes (x509_vfy.h) come to: what is expected, and what to do.
_UNKNOWN_AUTHORITY = (
    "a certificate of an authority that is trusted here",
    (
        "set MM_CA_BUNDLE to the PEM file of that authority, which the operator of the inference server has (gRPC does "
        "not look at the machine's own authorities); where it is not the proxy's certificate, the address is wrong, or "
        "somebody is in between"
    ),
)
_OTHER_NAME = (
    "a certificate for the host in the address",
    "use a name of the certificate as the host in MM_ADDR, or ask the operator to add the host to its names",
)
_BY_VERIFY_CODE: Mapping[int, tuple[str, str]] = {
    9: ("a certificate that has begun", "check this machine's clock; if it is right, ask the operator"),
    10: ("a certificate that has not ended", "ask the operator to renew it; check this machine's clock, too"),
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_AUTHORITY),
    **dict.fromkeys((62, 64), _OTHER_NAME),
}


@dataclass(frozen=True)
class Asked:
    """How the port is asked.

    Attributes:
        place: where it is.
        name: the host that its certificate must be for.
        tls: whether to encrypt.
        ca_bundle: PEM file of the authorities to trust; empty for those that come with gRPC.
        timeout_secs: longest wait.
    """

    place: Place
    name: str
    tls: bool
    ca_bundle: str
    timeout_secs: float


def check_encryption(asked: Asked) -> Finding:
    """Say whether the port is encrypted as it was asked, and whether its certificate holds."""
    return _with_certificate(asked) if asked.tls else _plaintext(asked)


def check_http2(asked: Asked) -> Finding:
    """Say whether the port speaks HTTP/2, which gRPC needs."""
    if not asked.tls:
        answer = listen(asked.place, asked.timeout_secs)
        return ok("HTTP/2") if answer.speech is Speech.HTTP2 else _no_http2(answer)
    try:
        with _opened(asked) as made:
            answer, chosen = answer_to_preface(made), made.selected_alpn_protocol()
        if answer.speech is Speech.NOTHING:
            # What is sent to a server that hangs up may destroy its alert.
            with _opened(asked) as made:
                alert = refusal_of_tls(made)
            if answer.hung_up or alert:
                return _ended(alert)
    except OSError as error:
        return _no_http2(Answer(Speech.NOTHING, f"the connection failed ({error})"))
    if answer.speech is not Speech.HTTP2:
        return _no_http2(answer)
    if chosen != "h2":
        return wrong(
            "the server speaks HTTP/2 and does not say so in its handshake (ALPN)",
            "ALPN to choose h2, which gRPC insists on",
            "ask the operator to let whatever ends TLS before the proxy offer h2",
        )
    return ok("HTTP/2, chosen by ALPN")


def _opened(asked: Asked) -> ssl.SSLSocket:
    context = trusted_authorities(asked.ca_bundle, os.environ)
    return open_tls(context, asked.place, asked.timeout_secs, asked.name)


def _ended(alert: str) -> Finding:
    # Not every server says why.
    return wrong(
        f"the server ends TLS after the handshake ({alert or 'without a reason'}), as one does that asks for a "
        "client's certificate",
        "a proxy without TLS_CLIENT_CA_FILE",
        "ask the operator whether it is set: this library shows no certificate; go through a mesh that does, or use "
        "gRPC directly",
    )


def _no_http2(answer: Answer) -> Finding:
    return wrong(
        f"no HTTP/2: {answer.words}",
        f"HTTP/2, as gRPC is spoken over; {_PROXY}",
        "check the port (8080 is the proxy's REST, 8000 Triton's), and that what is between here and the proxy (an "
        "ingress) passes HTTP/2 on",
    )


def _plaintext(asked: Asked) -> Finding:
    answer = listen(asked.place, asked.timeout_secs)
    if answer.speech in (Speech.HTTP2, Speech.HTTP1, Speech.OTHER):
        return ok("plaintext, as asked (MM_TLS is 0)")
    try:
        certificate = certificate_of(asked.place, asked.timeout_secs)
    except OSError:
        return ok("no TLS there, as asked (MM_TLS is 0)")
    return wrong(
        f"the server speaks TLS and MM_TLS is 0 ({certificate})",
        "the same on both sides",
        "set MM_TLS=1, or MM_CA_BUNDLE to the PEM file of the authority where it is not a public one",
    )


def _with_certificate(asked: Asked) -> Finding:
    try:
        channel_credentials(tls=True, ca_bundle=asked.ca_bundle or None)
        context = trusted_authorities(asked.ca_bundle, os.environ)
    except ConfigurationError as error:
        return wrong_by(error)
    except OSError as error:
        return wrong(
            f"the file of authorities cannot be used ({error})",
            "a PEM file of the authorities that signed the proxy's certificate",
            "correct MM_CA_BUNDLE or GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, or the file",
        )
    try:
        with open_tls(context, asked.place, asked.timeout_secs, asked.name) as made:
            certificate = read(made)
    except ssl.SSLCertVerificationError as error:
        return _does_not_hold(asked, error)
    except OSError as error:
        return _no_handshake(asked, error)
    soon = certificate.ends - time.time() < _SOON_SECS
    return ok(str(certificate), "ask the operator whether it will be renewed in time" if soon else "")


def _does_not_hold(asked: Asked, error: ssl.SSLCertVerificationError) -> Finding:
    shown = _shown(asked)
    expected, advice = _BY_VERIFY_CODE.get(
        error.verify_code, ("a certificate that holds", "ask the operator of the inference server for a right one")
    )
    return wrong(f"the certificate does not hold: {error.verify_message.rstrip('.')}{shown}", expected, advice)


def _shown(asked: Asked) -> str:
    try:
        found: Certificate = certificate_of(asked.place, asked.timeout_secs)
    except (OSError, KeyError):
        return ""
    return f" ({found})"


def _no_handshake(asked: Asked, error: OSError) -> Finding:
    answer = listen(asked.place, asked.timeout_secs)
    if answer.speech in (Speech.HTTP2, Speech.HTTP1):
        return wrong(
            f"the server speaks plaintext ({answer.speech.value}) and TLS was asked for",
            "the same on both sides",
            _SPEAKS_PLAIN,
        )
    reason = (error.reason or "").lower().replace("_", " ") if isinstance(error, ssl.SSLError) else error.strerror
    return wrong(
        f"there is no TLS ({reason or error}); in plaintext: {answer.words}",
        f"a TLS server; {_PROXY}",
        f"check the port; {_SPEAKS_PLAIN}",
    )

"""What a TLS server shows: its certificate, whether it holds, and why not."""

from __future__ import annotations

import importlib.resources
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_client.doctor.network import Place, connect

# gRPC's own variable for the authorities that it trusts where none are given.
_ROOTS_SETTING = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
# Verify a certificate that is its own authority, whatever its time: X509_V_FLAG_PARTIAL_CHAIN and
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h. Python 3.9 has no names for them.
_READ_ONLY = 0x80000 | 0x200000


@dataclass(frozen=True)
class Certificate:
    """A server's certificate.

    Attributes:
        names: the host names and addresses that it is for.
        issuer: the authority that signed it.
        ends: when it ends, in seconds since 1970.
        begins: when it begins, likewise.
    """

    names: tuple[str, ...]
    issuer: str
    ends: float
    begins: float

    def __str__(self) -> str:
        return f"certificate for {', '.join(self.names) or 'no host'}, signed by {self.issuer}, {self.time_left()}"

    def time_left(self) -> str:
        """Return its time in words."""
        now = time.time()
        if self.begins > now:
            return f"valid from {_day(self.begins)}"
        if self.ends < now:
            return f"ended {_day(self.ends)}"
        return f"ends {_day(self.ends)}, in {duration(self.ends - now)}"


def duration(seconds: float) -> str:
    """Return a time in words, in its two largest units at most."""
    days, rest = divmod(int(abs(seconds)), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((number for number, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def trusted_authorities(ca_bundle: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return what checks certificates as gRPC does: against the given authorities, or those that come with gRPC.

    The machine's own are no matter: gRPC does not look at them.

    Raises:
        OSError: the file of the authorities cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if path := ca_bundle or environ.get(_ROOTS_SETTING):
        context.load_verify_locations(cafile=path)
    else:
        roots = importlib.resources.files("grpc").joinpath("_cython/_credentials/roots.pem")
        # As a file: its comments, which are no ASCII in some releases, are OpenSSL's to skip.
        with importlib.resources.as_file(roots) as bundled:
            context.load_verify_locations(cafile=bundled)
    return context


def certificate_of(place: Place, timeout_secs: float) -> Certificate:
    """Return the certificate that a server shows, whether it holds or not.

    Raises:
        OSError: it shows none; it speaks no TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _wrapped(context, place, timeout_secs, None) as made:
        shown = made.getpeercert(binary_form=True)
    if shown is None:
        raise ssl.SSLError("the server shows no certificate")
    # Python tells what is in a certificate of a connection only, and of one that it has verified.
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(_READ_ONLY)
    context.load_verify_locations(cadata=shown)
    with _wrapped(context, place, timeout_secs, None) as made:
        return read(made)


def open_tls(context: ssl.SSLContext, place: Place, timeout_secs: float, name: str) -> ssl.SSLSocket:
    """Return a connection to a server whose certificate holds for `name`, and which is offered HTTP/2.

    Raises:
        ssl.SSLCertVerificationError: it does not hold.
        OSError: there is no such connection.
    """
    context.set_alpn_protocols(["h2"])
    return _wrapped(context, place, timeout_secs, name)


def _wrapped(context: ssl.SSLContext, place: Place, timeout_secs: float, name: str | None) -> ssl.SSLSocket:
    made: socket.socket = connect(place, timeout_secs)
    try:
        return context.wrap_socket(made, server_hostname=name)
    except BaseException:
        made.close()
        raise


def read(made: ssl.SSLSocket) -> Certificate:
    """Return the verified certificate of a connection."""
    found: dict[str, Any] = made.getpeercert() or {}
    issuer = {name: value for part in found.get("issuer", ()) for name, value in part}
    return Certificate(
        tuple(value for _, value in found.get("subjectAltName", ())),
        issuer.get("commonName") or issuer.get("organizationName") or "an authority without a name",
        ssl.cert_time_to_seconds(found["notAfter"]),
        ssl.cert_time_to_seconds(found["notBefore"]),
    )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))

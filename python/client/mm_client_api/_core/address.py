"""The proxy's address as people write it, and the target that gRPC connects to for it.

gRPC itself takes any text for a target: one without a port goes to port 443, `grpc://h:1` is looked up as a name, and
`::1:50051` is an address without a port. Source of the targets: gRPC's "Name Resolution" page.
"""

from __future__ import annotations

import ipaddress
import re

from mm_client_api.errors import ConfigurationError

_DEFAULT_PORT = 50051
_EXPECTED = "expected HOST:PORT, such as localhost:50051 or [::1]:50051"
_SOCKETS = ("unix", "unix-abstract")
_TLS_SCHEMES = ("https", "grpcs")
# Of a URI's path; gRPC would decode %, and cut the rest off.
_SOCKET_PATH = re.compile(r"(//)?/?[a-zA-Z0-9._~!$&'()*+,;=:@-]+(/[a-zA-Z0-9._~!$&'()*+,;=:@-]+)*")
_SCHEME = r"\s*[a-zA-Z][a-zA-Z0-9+.-]*:///?"
_HOST = r"\[[^\[\]/?#@]*\]|[^\[\]:/?#@\s]+"
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# What is left of an address without scheme, user, and path: its host and port.
_PARTS = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[^:/?#\s]*))?")
_LABEL = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?")
# The resolver would read such a last label as a part of an IPv4 address, in C's notation.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_LONGEST_NAME = 253


def target_of(addr: str) -> str:
    """Return the gRPC target for an address.

    Args:
        addr: HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 address in brackets; or one of gRPC's own
            targets `dns:`, `ipv4:`, `ipv6:`, `unix:` and `unix-abstract:`.

    Raises:
        ConfigurationError: it is neither; the text says what to write, and shows no password.
    """
    if not isinstance(addr, str):
        raise ConfigurationError(
            f"the address is of type {type(addr).__name__}; {_EXPECTED}; pass the proxy's (MM_ADDR)"
        )
    if _is_host_and_port(addr):
        return f"dns:///{_escaped(addr)}"
    scheme, _, rest = addr.partition(":")
    scheme = scheme.lower()
    if _is_target(scheme, rest):
        return f"{scheme}:{rest}"
    wrong, bare = _what_is_wrong(addr)
    raise ConfigurationError(f"the address {_shown(addr)} {wrong}; {_EXPECTED}; {_advice(bare, scheme)}")


def _is_host_and_port(text: str) -> bool:
    parts = _PARTS.fullmatch(text)
    return parts is not None and _is_host(parts["host"]) and _is_port(parts["port"])


def _is_target(scheme: str, rest: str) -> bool:
    if scheme in _SOCKETS:
        return _SOCKET_PATH.fullmatch(rest) is not None and (rest.startswith("///") or not rest.startswith("//"))
    if scheme == "dns":
        # A name server may be named: dns://10.0.0.2/HOST:PORT.
        server = re.match(r"//([^/]*)/", rest)
        if server is not None and server[1]:
            return (_is_host(server[1]) or _is_host_and_port(server[1])) and _is_host_and_port(rest[server.end() :])
        return "%" not in rest and _is_host_and_port(rest[3:] if rest.startswith("///") else rest)
    if scheme in ("ipv4", "ipv6"):
        hosts = [_PARTS.fullmatch(one) for one in rest.split(",")]
        return all(one and _is_port(one["port"]) and _is_ip(scheme, one["host"]) for one in hosts) and "%" not in rest
    return False


def _is_port(text: str | None) -> bool:
    return text is not None and _PORT.fullmatch(text) is not None and int(text) < 65536


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _is_ip("ipv6", host)
    labels = host[: -len(".")].split(".") if host.endswith(".") else host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _is_ip("ipv4", host)
    return len(host) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels))


def _is_ip(kind: str, host: str) -> bool:
    try:
        if kind == "ipv4":
            ipaddress.IPv4Address(host)
        else:
            # With the interface of a link-local address: [fe80::1%eth0].
            bare, _, zone = host[1:-1].partition("%")
            ipaddress.IPv6Address(bare)
            return host.startswith("[") and ("%" not in host or _LABEL.fullmatch(zone) is not None)
    except ValueError:
        return False
    return True


def _escaped(text: str) -> str:
    # Targets are URIs.
    return text.replace("%", "%25")


def _what_is_wrong(addr: str) -> tuple[str, str]:
    """Return what is wrong with an address, and what is left of it without that."""
    together = "".join(addr.split())
    if not together:
        return "is empty", ""
    bare = re.sub(f"^{_SCHEME}", "", together)
    authority = re.split(r"[/?#]", bare.rpartition("@")[2], maxsplit=1)[0]
    if together.lower().startswith(tuple(f"{scheme}:/" for scheme in _SOCKETS)):
        return "is of a socket whose path has other characters than a URI's", ""
    if bare != together:
        return "begins with a scheme", authority
    if "@" in bare:
        return "names a user, and the caller is named by credentials", authority
    if authority != bare:
        return "has a path", authority
    if together != addr or not addr.isprintable():
        return "has a space, a line break or a control character in it", authority
    if authority.count(":") > 1 and not authority.startswith("["):
        return "has several colons, and an IPv6 address stands in brackets", authority
    parts = _PARTS.fullmatch(authority)
    if parts is None or not _is_host(parts["host"]):
        return "has no host name or IP address", authority
    if parts["port"] is None:
        return "has no port", authority
    return "has a port that is not from 1 to 65535", authority


def _advice(bare: str, scheme: str) -> str:
    tls = ", and pass tls=True (MM_TLS=1) where the proxy has a certificate" if scheme in _TLS_SCHEMES else ""
    parts = _PARTS.fullmatch(bare)
    if _is_host_and_port(bare):
        return f"write {bare}{tls}"
    if parts is not None and _is_host(parts["host"]):
        return f"write {parts['host']}:{_DEFAULT_PORT}, or the port that the proxy was given{tls}"
    for host, port in ((bare, str(_DEFAULT_PORT)), bare.rpartition(":")[::2]):
        if _is_ip("ipv6", f"[{host}]") and _is_port(port):
            return f"write [{host}]:{port}{tls}"
    return "ask the operator of the inference server for its proxy's address"


def _shown(addr: str) -> str:
    """Return an address in quotes without what may be a secret: users, passwords, queries, and words as keys are."""
    head, at, rest = addr.rpartition("@")
    scheme = re.match(_SCHEME, head)
    shown = f"{scheme[0] if scheme else ''}***@{rest}" if at else addr
    shown = re.sub(r"[?#].*", "?***", shown, flags=re.DOTALL)
    return repr(re.sub(r"[^./:,\s\[\]]{64,}", "***", shown))

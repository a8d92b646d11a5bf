"""From the address to a connection: is it one, is its name known, does anybody listen there."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from mm_client.doctor.finding import Finding, ok, wrong

_LISTENING = "the proxy, listening for gRPC; its port is 50051 unless it was changed"


@dataclass(frozen=True)
class Place:
    """Where something listens.

    Attributes:
        family: of the socket.
        address: as the socket module takes it.
    """

    family: int
    address: str | tuple[object, ...]

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return f"unix:{self.address.replace(chr(0), '@')}"
        host, port = self.address[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


def hosts_of(target: str) -> list[tuple[str, int]]:
    """Return hosts and ports of a gRPC target; none for a socket of the file system."""
    scheme, _, rest = target.partition(":")
    if scheme.startswith("unix"):
        return []
    pairs = [one.rpartition(":") for one in rest.rpartition("/")[2].replace("%25", "%").split(",")]
    return [(host.strip("[]"), int(port)) for host, _, port in pairs]


def names_a_server(target: str) -> bool:
    """Return whether a target is to be looked up at a name server of its own: `dns://SERVER/HOST:PORT`."""
    return target.startswith("dns://") and not target.startswith("dns:///")


def socket_of(target: str) -> Place:
    """Return the place of a target of the kinds `unix:` and `unix-abstract:`."""
    scheme, _, path = target.partition(":")
    if scheme == "unix-abstract":
        return Place(socket.AF_UNIX, f"\0{path}")
    return Place(socket.AF_UNIX, path[2:] if path.startswith("//") else path)


def look_up(hosts: Sequence[tuple[str, int]]) -> tuple[list[Place], Finding]:
    """Look up the names of hosts; returns their places."""
    places: list[Place] = []
    for host, port in hosts:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            return places, wrong(
                f"the name {host} is not found ({error.strerror})",
                "a name that is known where this runs",
                "correct it (in the cluster SERVICE.NAMESPACE.svc.cluster.local), or ask the operator of the inference "
                "server for its address; names of a cluster are known inside it only",
            )
        places += [Place(family, address) for family, _, _, _, address in found]
    return places, ok(f"{', '.join(host for host, _ in hosts)} is {', '.join(map(str, places))}")


def reach(places: Sequence[Place], timeout_secs: float) -> tuple[Place | None, Finding]:
    """Connect to the first place that listens; returns it."""
    failures = []
    for place in places:
        try:
            connect(place, timeout_secs).close()
        except OSError as error:
            failures.append(_failure(place, error, timeout_secs))
        else:
            beside = f"; but {'; '.join(failure.text for failure in failures)}" if failures else ""
            return place, ok(f"{place} listens{beside}")
    return None, failures[-1]


def connect(place: Place, timeout_secs: float) -> socket.socket:
    """Return a connection, whose waits end after `timeout_secs`.

    Raises:
        OSError: nobody listens there, or nothing answers in time.
    """
    made = socket.socket(place.family, socket.SOCK_STREAM)
    made.settimeout(timeout_secs)
    try:
        made.connect(place.address)
    except BaseException:
        made.close()
        raise
    return made


def _failure(place: Place, error: OSError, timeout_secs: float) -> Finding:
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return wrong(
            f"nobody listens at {place}",
            _LISTENING,
            "check the port, and that the proxy runs (8000 to 8002 are Triton's own ports, 8080 is the proxy's REST)",
        )
    # Until Python 3.9 these are two.
    if isinstance(error, (TimeoutError, socket.timeout)):
        return wrong(
            f"{place} does not answer within {timeout_secs:g} s",
            _LISTENING,
            "check the address; where it is right a NetworkPolicy or firewall drops the packets: ask the operator to "
            "let this namespace in (networkPolicy.clients of the chart)",
        )
    return wrong(
        f"{place} cannot be reached ({error.strerror or error})",
        _LISTENING,
        "check the address, and that this machine has a route there",
    )

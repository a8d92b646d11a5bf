"""What strangers and callers can do on the REST port, over HTTP/1.1."""

from __future__ import annotations

import gzip

from attacks import ways
from attacks.http2_client import Address, Connection
from attacks.strangers import Attack, connect
from attacks.world import MB, Tally, Target
from triton_proxy.protocols.rest.routes import ROUTES

_INFER = "/v2/models/identity_uint8/infer"
_ANNOUNCED = 60 * MB
_PIECE = bytes(64 << 10)
# As large as JSON may be, of what takes most memory once it is parsed.
_WORST_JSON = b'{"inputs":[' + b"{}," * ((8 * MB) // 3 - 30) + b"{}]}"
_BOMB = gzip.compress(bytes(63 * MB), 9)


def listener(target: Target) -> Address:
    """The REST listener."""
    return target.rest


def open_connection(target: Target) -> Connection:
    """A connection of the attacker's."""
    return connect(target.rest, greets=False)


def head(method: str, path: str, *fields: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: proxy", *fields, "", ""]).encode()


def credential(target: Target) -> str:
    """The field with the attacker's own key."""
    return f"X-Domino-Api-Key: {target.key}"


def slow_heads(target: Target, tally: Tally) -> None:
    """Heads that come a byte at a time."""

    def open_one(_: int) -> Connection:
        connection = open_connection(target)
        connection.send(head("GET", "/v2/health/live")[:-2] + b"X-Slow: ")
        return connection

    ways.hold(tally, open_one, target.count(600), reads=False, tend=lambda connection: connection.send(b"s"))


def slow_bodies(target: Target, tally: Tally) -> None:
    """Bodies without a credential that come a byte at a time."""
    announced = head("POST", _INFER, f"Content-Length: {_ANNOUNCED}")

    def open_one(_: int) -> Connection:
        connection = open_connection(target)
        connection.send(announced)
        return connection

    ways.hold(tally, open_one, target.count(600), reads=False, tend=lambda connection: connection.send(b"s"))


def uploads(target: Target, tally: Tally) -> None:
    """Bodies without a credential, at full speed, whose refusals are not read."""
    announced = head("POST", _INFER, f"Content-Length: {_ANNOUNCED}")

    def open_one() -> Connection:
        connection = open_connection(target)
        connection.send(announced)
        return connection

    def step(connection: Connection) -> int:
        connection.send(_PIECE)
        return len(_PIECE)

    ways.flood(tally, open_one, step, 4, reads=False)


def request_flood(*heads: bytes, reads: bool) -> Attack:
    """Requests one after the other, again and again, each sent ahead of the answer to the one before."""
    together = -(-50 // len(heads))

    def attack(target: Target, tally: Tally) -> None:
        def step(connection: Connection) -> int:
            connection.send(b"".join(heads) * together)
            return len(heads) * together

        ways.flood(tally, lambda: open_connection(target), step, 4, reads=reads)

    return attack


# To every route that the server has, but those of health.
NO_CREDENTIAL = [
    head(route.method, route.template.format(model="m", version="1")) for route in ROUTES if not route.public
]
HEALTH = head("GET", "/v2/health/ready")
HUGE = head("GET", "/v2", "X-Huge: " + "x" * (40 << 10))


def unfinished_bodies(target: Target, tally: Tally) -> None:
    """Bodies of 60 MiB of a caller, of which as much is sent as the proxy takes, but for the last bytes."""
    announced = head("POST", _INFER, credential(target), f"Content-Length: {_ANNOUNCED}")

    def open_one() -> Connection:
        connection = open_connection(target)
        connection.send(announced)
        return connection

    def step(connection: Connection) -> int:
        connection.send(_PIECE)
        return len(_PIECE)

    ways.flood(tally, open_one, step, target.count(100), reads=False)


def posted(body: bytes, *fields: str, together: int) -> Attack:
    """A body of a caller again and again, each on a connection of its own.

    Args:
        body: what is sent.
        fields: header fields besides.
        together: how many at once.
    """

    def attack(target: Target, tally: Tally) -> None:
        raw = head("POST", _INFER, credential(target), f"Content-Length: {len(body)}", *fields) + body

        def once() -> None:
            with open_connection(target) as connection:
                connection.send(raw)
                while tally.going_on and connection.pump(0.2):
                    pass

        ways.again(tally, once, together)

    return attack


WORST_JSON = posted(_WORST_JSON, together=8)
BOMB = posted(_BOMB, "Content-Encoding: gzip", together=8)

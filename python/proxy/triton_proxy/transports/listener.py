"""What the callers' listener is to do, whichever server does it."""

from __future__ import annotations

from dataclasses import dataclass

from mm_service.tls import Certificates
from triton_proxy.transports.http2.listening import Listen, listen
from triton_proxy.transports.own_call import OwnCall

# The longest credential (16 KiB), and as much again for all other headers.
HEADER_BYTES = 32 * 1024
# A message that is over the limit by no more than this is read and then refused with words of our own, which name the
# setting. Beyond it the server refuses at the message's first bytes: with grpcio what is still arriving counts nowhere,
# so that each byte more is one that every call may take.
_READABLE_OVER_LIMIT_BYTES = 1024 * 1024
# Of one connection, beside as many calls as one principal may have: those that were refused, also where nobody reads
# that, at 16 KiB each.
_SPARE_STREAMS = 16


@dataclass(frozen=True)
class ListenerOptions:
    """What a deployment decides of the callers' listener.

    Attributes:
        address: HOST:PORT; port 0 takes a free one.
        certificates: for TLS; None is plaintext.
        max_message_bytes: largest message.
        most_calls: calls served at once.
        most_calls_per_principal: of these, of one principal.
        own_call: is answered, too; None for none.
        listen: gives the socket; not asked by grpcio, which has its own.
        workers: processes that serve the address, this one among them.
    """

    address: str
    certificates: Certificates | None
    max_message_bytes: int
    most_calls: int
    most_calls_per_principal: int
    own_call: OwnCall | None
    listen: Listen = listen
    workers: int = 1

    @property
    def readable_message_bytes(self) -> int:
        """Largest message that is read."""
        return self.max_message_bytes + _READABLE_OVER_LIMIT_BYTES

    @property
    def streams_per_connection(self) -> int:
        """Calls of one connection."""
        return self.most_calls_per_principal + _SPARE_STREAMS

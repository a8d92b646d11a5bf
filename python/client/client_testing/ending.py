"""A real gRPC server that ends streams as the proxy does: it answers what it accepted, then says why it stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from client_testing.echo import EchoServer
from multimodal_contract import ADMITTED, NOT_ACCEPTED, RETRY_AFTER_MS, pb

REVOKED, AWAY, LIMITED = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


@dataclass(frozen=True)
class End:
    """How one call ends.

    Attributes:
        accepts: packets taken in and answered before.
        code: of the call's end.
        held: Acks are sent in groups of so many.
        marked: the proxy says that the rest was not accepted.
        retry_after: the hint `retry-after-ms`; empty where there is none.
        answers_all: False leaves what was accepted after the last group without an Ack.
    """

    accepts: int
    code: grpc.StatusCode
    held: int = 1
    marked: bool = True
    retry_after: str = ""
    answers_all: bool = True


class EndingServer(EchoServer):
    """Ends its first calls as the test says, and serves all later ones to their end.

    Args:
        ends: of the calls, in their order; of `SendUnary` calls, too.
        forever: the last of `ends` is that of all later calls.
        greets: says at once that it admits a call.
        port: to listen on; 0 takes a free one.

    Attributes:
        accepted: correlation ids in the order in which they were accepted.
        credentials: metadata that each call came with, the identifying entry only.
    """

    def __init__(self, ends: Sequence[End] = (), *, forever: bool = False, greets: bool = True, port: int = 0) -> None:
        super().__init__(port=port)
        self._ends = list(ends)
        self._forever = forever
        self._greets = greets
        self._choosing = threading.Lock()
        self.accepted: list[str] = []
        self.credentials: list[str] = []

    def __enter__(self) -> EndingServer:
        super().__enter__()
        return self

    def Chat(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[pb.DataPacket], context: grpc.ServicerContext
    ) -> Iterator[pb.Ack]:
        """Play the call's end."""
        end = self._open(context)
        if self._greets and (end is None or end.accepts):
            context.send_initial_metadata((ADMITTED,))
        held: list[pb.Ack] = []
        accepts = None if end is None else end.accepts
        taken = 0
        while taken != accepts and (packet := next(request_iterator, None)) is not None:
            taken += 1
            self.accepted.append(packet.meta.correlation_id)
            held += self._acks(packet)
            if end is None or len(held) >= end.held:
                yield from held
                held = []
        if end is None or taken != accepts:
            yield from held
            return
        if end.answers_all:
            yield from held
        self._end(end, context)

    def SendUnary(self, request: pb.DataPacket, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802
        """Refuse as the test says, or answer."""
        end = self._open(context)
        if end is not None:
            self._end(end, context)
        self.accepted.append(request.meta.correlation_id)
        return self._acks(request)[0]

    def _open(self, context: grpc.ServicerContext) -> End | None:
        with self._choosing:
            metadata = dict(context.invocation_metadata())
            self.credentials.append(str(metadata.get("authorization") or metadata.get("x-domino-api-key")))
            if not self._ends:
                return None
            return self._ends[0] if self._forever and len(self._ends) == 1 else self._ends.pop(0)

    @staticmethod
    def _end(end: End, context: grpc.ServicerContext) -> None:
        trailing = [NOT_ACCEPTED] if end.marked else []
        if end.retry_after:
            trailing.append((RETRY_AFTER_MS, end.retry_after))
        context.set_trailing_metadata(tuple(trailing))
        context.abort(end.code, f"ended with {end.code.name}")

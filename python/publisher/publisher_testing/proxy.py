"""A real gRPC server that answers as the proxy does, for versions whose state a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc

from multimodal_contract import pb, pb_grpc

KEY = "s3cret-key"
NOT_READY = "Request for unknown model: 'm' version {version} is not at ready state"


@dataclass
class State:
    """What is asked, and what is answered.

    Attributes:
        ready: versions that answer, each with the outputs that it has.
        error: what others are answered.
        code: ends the call instead.
        packets: all that came.
    """

    ready: dict[str, tuple[str, ...]] = field(default_factory=dict)
    error: str = NOT_READY
    code: grpc.StatusCode | None = None
    packets: list[pb.DataPacket] = field(default_factory=list)


class FakeProxy(pb_grpc.MultimodalServiceServicer):
    """The server; a context manager."""

    def __init__(self) -> None:
        self.state = State()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        pb_grpc.add_MultimodalServiceServicer_to_server(self, self._server)
        self.addr = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> FakeProxy:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def Chat(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[pb.DataPacket], context: grpc.ServicerContext
    ) -> Iterator[pb.Ack]:
        """Answers each packet."""
        if dict(context.invocation_metadata()).get("x-domino-api-key") != KEY:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Domino does not know this credential")
        if self.state.code is not None:
            context.abort(self.state.code, "ann may not use model 'm'")
        for packet in request_iterator:
            self.state.packets.append(packet)
            yield self._answer(packet)

    def SendUnary(self, request: pb.DataPacket, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802 - gRPC's name
        """Answers the packet; the publisher streams."""
        return self._answer(request)

    def _answer(self, packet: pb.DataPacket) -> pb.Ack:
        control, cid = packet.control, packet.meta.correlation_id
        version = control.model_version
        outputs = self.state.ready.get(version)
        if outputs is None:
            text = self.state.error.format(version=version)
            message = f'{{"error": "{text}", "backend": "triton"}}'
            return pb.Ack(correlation_id=cid, status=pb.INTERNAL, message=message, final=True)
        described = ", ".join(
            f'"{spec.name}": {"{}" if spec.name in outputs else """{"error": "missing"}"""}' for spec in control.outputs
        )
        message = f'{{"model_version": "{version}", "outputs": {{{described}}}}}'
        return pb.Ack(correlation_id=cid, status=pb.OK, message=message, final=True)

"""Making the Ack, as published clients read it and as the new client asks for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from multimodal_contract import pb
from multimodal_contract.wire import Buffer, field
from triton_proxy.inference.answer import OutputTensor, Timing
from triton_proxy.protocols.multimodal.reasons import MAX_CORRELATION_ID_BYTES

BACKEND = "triton"
# The text as a JSON string.
_quoted = json.encoder.encode_basestring_ascii
_MESSAGE = pb.Ack.MESSAGE_FIELD_NUMBER
_CONTROL = pb.Ack.RESOLVED_CONTROL_FIELD_NUMBER
_TIMING = pb.Ack.TIMING_FIELD_NUMBER
_OUTPUTS = pb.Ack.OUTPUTS_FIELD_NUMBER
_DATA = pb.OutputTensor.DATA_FIELD_NUMBER


@dataclass(frozen=True)
class Reply:
    """An Ack, in parts that are joined once.

    Attributes:
        ok: whether its status is OK.
        parts: pieces of the serialized Ack, in order.
        status: an Ack says all that it has to.
    """

    ok: bool
    parts: Sequence[Buffer]
    status: None = None

    def timed(self, timing: Timing) -> Reply:
        """The same Ack with how long it took, which is known when all else of it is there."""
        written = pb.Timing(
            recv_to_decode_ms=timing.decode_ms,
            triton_infer_ms=timing.infer_ms,
            postprocess_ms=timing.encode_ms,
            total_ms=timing.total_ms,
        )
        return Reply(self.ok, [*self.parts, *field(_TIMING, [written.SerializeToString()])])

    @property
    def size(self) -> int:
        """Bytes of the serialized Ack."""
        return sum(map(len, self.parts))

    def serialized(self) -> bytes:
        """The serialized Ack."""
        return b"".join(self.parts)


class Acks:
    """Makes the Acks of one packet, of which it keeps all but the tensors."""

    def __init__(self, packet: pb.DataPacket, bytes_seen: int) -> None:
        """Copies what is needed, so that the packet and its megabytes can go.

        Args:
            packet: the packet, or an empty one where it could not be parsed.
            bytes_seen: its size on the wire.
        """
        # One that is longer was refused for it.
        self.cid = packet.meta.correlation_id[:MAX_CORRELATION_ID_BYTES]
        self.bytes_seen = bytes_seen
        self.control = pb.Control()
        self.control.CopyFrom(packet.control)

    def _reply(
        self,
        status: pb.StatusCode.ValueType,
        message: Iterable[Buffer],
        outputs: Iterable[Buffer] = (),
        *,
        final: bool = True,
    ) -> Reply:
        head = pb.Ack(correlation_id=self.cid, status=status, bytes_seen=self.bytes_seen, final=final)
        control = field(_CONTROL, [self.control.SerializeToString()])
        return Reply(status == pb.OK, [head.SerializeToString(), *control, *field(_MESSAGE, message), *outputs])

    def failure(
        self, status: pb.StatusCode.ValueType, error: str, *, backend: bool = False, final: bool = True
    ) -> Reply:
        """The Ack that says why there is no inference.

        Args:
            status: anything but OK.
            error: what was wrong.
            backend: whether Triton was the cause.
            final: whether no other Ack for the packet follows.
        """
        message = {"backend": BACKEND} if backend else {}
        message |= {"error": error, "cid": self.cid, "model": self.control.model}
        return self._reply(status, [json.dumps(message).encode()], final=final)

    def noted(self) -> Reply:
        """The Ack of a start or end of a sequence that brought no data."""
        return self._reply(pb.OK, [json.dumps({"cid": self.cid, "model": self.control.model}).encode()])

    def success(self, model_version: str, outputs: Mapping[str, OutputTensor] | None, *, final: bool = True) -> Reply:
        """The Ack with the outputs that the control asks for, in its order and encoding.

        Args:
            model_version: the version that served.
            outputs: what Triton answered, by name; those not asked for are left out. None where a decoupled model only
                says that there are no more answers.
            final: whether no other Ack for the packet follows.
        """
        self.control.model_version = model_version
        wanted = [] if outputs is None else [spec.name for spec in self.control.outputs]
        present = outputs or {}
        raw = self.control.output_encoding == pb.OE_RAW
        message = self._message(wanted, present, with_data=not raw)
        return self._reply(pb.OK, message, _raw(wanted, present) if raw else (), final=final)

    def _message(
        self, wanted: Sequence[str], outputs: Mapping[str, OutputTensor], *, with_data: bool
    ) -> Iterator[bytes]:
        control = self.control
        yield (
            f'{{"backend": "{BACKEND}", "cid": {_quoted(self.cid)}, "model": {_quoted(control.model)}, '
            f'"model_version": {_quoted(control.model_version)}, "outputs": {{'
        ).encode()
        for index, name in enumerate(wanted):
            output = outputs.get(name)
            start = f"{', ' if index else ''}{_quoted(name)}: "
            if output is None:
                yield f'{start}{{"error": "missing"}}'.encode()
                continue
            yield f'{start}{{"dtype": {_quoted(output.datatype)}, "shape": {list(output.shape)}'.encode()
            if with_data:
                # Base64 has nothing to escape: a JSON encoder would look at each of its megabytes.
                yield from (b', "b64": "', base64.b64encode(output.data), b'"')
            yield b"}"
        yield b"}}"


def _raw(wanted: Sequence[str], outputs: Mapping[str, OutputTensor]) -> Iterator[Buffer]:
    for name in wanted:
        output = outputs.get(name)
        if output is not None:
            described = pb.OutputTensor(name=name, datatype=output.datatype, shape=pb.Shape(dims=output.shape))
            yield from field(_OUTPUTS, [described.SerializeToString(), *field(_DATA, [output.data])])

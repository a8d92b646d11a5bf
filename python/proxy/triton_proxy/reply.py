"""Making the Ack, as published clients read it and as the new client asks for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multimodal_contract import pb

BACKEND = "triton"


@dataclass(frozen=True)
class Output:
    """One output tensor of the model.

    Attributes:
        datatype: Triton's name of the element type, such as "FP32".
        shape: dimensions.
        data: the elements as in the contract's Tensor.data.
    """

    datatype: str
    shape: tuple[int, ...]
    data: bytes


class Request:
    """What an Ack needs to know of its packet, without the packet's tensors."""

    def __init__(self, packet: pb.DataPacket, bytes_seen: int) -> None:
        """Copies what is needed, so that the packet and its megabytes can go.

        Args:
            packet: the packet, or an empty one where it could not be parsed.
            bytes_seen: its size on the wire.
        """
        self.cid = packet.meta.correlation_id
        self.bytes_seen = bytes_seen
        self.control = pb.Control()
        self.control.CopyFrom(packet.control)

    def _ack(self, status: pb.StatusCode.ValueType, message: str, timing: pb.Timing) -> pb.Ack:
        return pb.Ack(
            correlation_id=self.cid,
            status=status,
            message=message,
            bytes_seen=self.bytes_seen,
            resolved_control=self.control,
            timing=timing,
            final=True,
        )

    def failure(
        self, status: pb.StatusCode.ValueType, error: str, timing: pb.Timing, *, backend: bool = False
    ) -> pb.Ack:
        """The Ack that says why there is no inference.

        Args:
            status: anything but OK.
            error: what was wrong.
            timing: how long it took.
            backend: whether Triton was the cause.
        """
        message = {"backend": BACKEND} if backend else {}
        message |= {"error": error, "cid": self.cid, "model": self.control.model}
        return self._ack(status, json.dumps(message), timing)

    def noted(self, timing: pb.Timing) -> pb.Ack:
        """The Ack of a start or end of a sequence that brought no data."""
        return self._ack(pb.OK, json.dumps({"cid": self.cid, "model": self.control.model}), timing)

    def success(self, model_version: str, outputs: Mapping[str, Output], timing: pb.Timing) -> pb.Ack:
        """The Ack with the outputs that the control asks for, in its order and encoding.

        Args:
            model_version: the version that served.
            outputs: what Triton answered, by name; those not asked for are left out.
            timing: how long it took.
        """
        self.control.model_version = model_version
        wanted = [spec.name for spec in self.control.outputs]
        raw = self.control.output_encoding == pb.OE_RAW
        ack = self._ack(pb.OK, self._message(wanted, outputs, with_data=not raw), timing)
        if raw:
            for name in wanted:
                output = outputs.get(name)
                if output is not None:
                    ack.outputs.add(
                        name=name, datatype=output.datatype, shape=pb.Shape(dims=output.shape), data=output.data
                    )
        return ack

    def _message(self, wanted: Sequence[str], outputs: Mapping[str, Output], *, with_data: bool) -> str:
        head = json.dumps(
            {
                "backend": BACKEND,
                "cid": self.cid,
                "model": self.control.model,
                "model_version": self.control.model_version,
            }
        )
        parts = [head[:-1], ', "outputs": {']
        for index, name in enumerate(wanted):
            output = outputs.get(name)
            parts.append(f"{', ' if index else ''}{json.dumps(name)}: ")
            if output is None:
                parts.append('{"error": "missing"}')
                continue
            described = json.dumps({"dtype": output.datatype, "shape": output.shape})
            parts.append(described[:-1])
            if with_data:
                # Base64 has nothing to escape: json.dumps would look at each of its megabytes.
                parts += [', "b64": "', base64.b64encode(output.data).decode("ascii"), '"']
            parts.append("}")
        parts.append("}}")
        return "".join(parts)

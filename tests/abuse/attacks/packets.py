"""Packets that are small on the wire and large elsewhere, or large everywhere."""

from __future__ import annotations

import gzip
import struct

from attacks.world import DECOUPLED, IDENTITY, MB, SLOW, TEXTS
from multimodal_contract import pb
from multimodal_contract.wire import varint

LARGEST = 62 * MB


def numbers(
    data: bytes, *, model: str = IDENTITY, version: str = "1", output: str = "OUTPUT0", cid: str = "c"
) -> pb.DataPacket:
    """A packet of FP32 for a model with the input INPUT0."""
    return _packet(model, version, output, cid, {"INPUT0": (pb.DT_FP32, [len(data) // 4], data)})


def texts(count: int) -> pb.DataPacket:
    """A packet of so many empty BYTES elements."""
    return _packet(TEXTS, "1", "OUTPUT0", "c", {"INPUT0": (pb.DT_BYTES, [count], bytes(4 * count))})


def slow(data: bytes, seconds: float, *, model: str = SLOW, cid: str = "c", timeout_secs: float = 0) -> pb.DataPacket:
    """A packet that keeps the slow model busy for that long."""
    delay = (pb.DT_FP32, [1], struct.pack("<f", seconds))
    made = _packet(model, "1", "OUTPUT0", cid, {"INPUT0": (pb.DT_FP32, [len(data) // 4], data), "DELAY": delay})
    made.control.timeout_secs = timeout_secs
    return made


def answered_often(times: int) -> pb.DataPacket:
    """A packet that the decoupled model answers so many times."""
    return _packet(DECOUPLED, "1", "OUT", "c", {"IN": (pb.DT_INT32, [1], struct.pack("<i", times))})


def empty_inputs(size: int) -> bytes:
    """A packet of so many bytes that are all empty input specs."""
    control = pb.Control(model=IDENTITY, model_version="1").SerializeToString() + b"\x1a\x00" * (size // 2)
    return _field(2, control)


def many_inputs(count: int) -> bytes:
    """A packet of so many inputs that are well described, and no data."""
    inputs = [
        pb.InputSpec(name=f"{number}", shape=pb.Shape(dims=[1]), dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})
        for number in range(count)
    ]
    control = pb.Control(model=IDENTITY, model_version="1", inputs=inputs, outputs=[pb.OutputSpec(name="OUTPUT0")])
    return pb.DataPacket(control=control).SerializeToString()


def control_characters(size: int) -> bytes:
    r"""A packet whose correlation_id is so many times \x01: six times as many bytes in JSON."""
    return _field(1, _field(1, b"\x01" * size)) + numbers(bytes(4)).SerializeToString()


def gzipped(packet: bytes) -> bytes:
    """A packet as gzip has it."""
    return gzip.compress(packet, 6)


def _packet(
    model: str,
    version: str,
    output: str,
    cid: str,
    inputs: dict[str, tuple[pb.DataType.ValueType, list[int], bytes]],
) -> pb.DataPacket:
    made = pb.DataPacket(
        meta=pb.Meta(correlation_id=cid),
        control=pb.Control(
            model=model, model_version=version, outputs=[pb.OutputSpec(name=output)], output_encoding=pb.OE_RAW
        ),
    )
    for name, (dtype, dims, data) in inputs.items():
        tensor = pb.Tensor(dtype=dtype, shape=pb.Shape(dims=dims), data=data)
        made.tensors.add(name=name, tensor=tensor)
        made.control.inputs.add(name=name, shape=tensor.shape, dtype=dtype, **{"from": pb.SRC_TENSOR})
    return made


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content

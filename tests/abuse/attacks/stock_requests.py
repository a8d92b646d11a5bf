"""Requests of stock clients (`ModelInfer`) that are small on the wire and large elsewhere."""

from __future__ import annotations

from tritonclient.grpc import service_pb2

from attacks.world import IDENTITY, TEXTS


def integers(count: int) -> bytes:
    """So many typed integers of one byte each."""
    message = service_pb2.ModelInferRequest(model_name=IDENTITY)
    message.inputs.add(name="INPUT0", datatype="INT64", shape=[count]).contents.int64_contents.extend([1] * count)
    return bytes(message.SerializeToString())


def texts(count: int) -> bytes:
    """So many typed texts without a byte."""
    message = service_pb2.ModelInferRequest(model_name=TEXTS)
    message.inputs.add(name="INPUT0", datatype="BYTES", shape=[count]).contents.bytes_contents.extend([b""] * count)
    return bytes(message.SerializeToString())


def empty_contents(count: int) -> bytes:
    """So many raw contents without a byte."""
    head = service_pb2.ModelInferRequest(model_name=IDENTITY).SerializeToString()
    one = service_pb2.ModelInferRequest(raw_input_contents=[b""]).SerializeToString()
    return bytes(head) + bytes(one) * count

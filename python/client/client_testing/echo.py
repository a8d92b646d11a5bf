"""A real gRPC server that follows the contract without a Triton: outputs echo inputs.

Run as a program it serves until its standard input ends, after printing its port.
"""

from __future__ import annotations

import base64
import json
import math
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import numpy as np

from multimodal_contract import ADMITTED, pb, pb_grpc
from multimodal_contract.dtypes import BY_NUMBER

API_KEY = "key-of-alice"
TOKEN = "token-of-alice"  # noqa: S105
UNAUTHENTICATED_TEXT = "Domino does not know this credential"

# Models by what they do; any other name echoes. An output of an input's name echoes that, "output0" the first.
REFUSES = "refuses"
UNSUPPORTED = "unsupported"
BREAKS = "breaks"
DECOUPLED = "decoupled"
ABORTS = "aborts"
FORGETS = "forgets"
SWAPS = "swaps"
# Answers with a shape without the first dimension, or with sums over it.
FLATTENS = "flattens"
SUMS = "sums"
# Answers as YOLOv8 does: output0 [1, 84, N] holds one box around everything pure red, of class 2, twice; of several
# images, as many. N is that of its grids of 8, 16 and 32 pixels.
DETECTS = "detects"


class Seen(NamedTuple):
    """What a packet said: the number of its stream, from 1, its id, event and the first input's dimensions."""

    stream: int
    correlation_id: str
    event: pb.StreamEvent.ValueType
    shape: tuple[int, ...]


class EchoServer(pb_grpc.MultimodalServiceServicer):
    """The server and what it saw.

    Args:
        published: behave as a proxy of the published contract: base64 only, no mark on the last Ack.
        max_message_mb: gRPC's limit on what is received and sent.
        port: to listen on; 0 takes a free one.
        socket: gRPC address of a socket to listen on instead.

    Attributes:
        answering: cleared, no Ack is sent.
        held: correlation ids of packets that get none either, nor what follows them on their stream.
        seen: every packet that came on a stream.
        peers: the connections that streams came on.
        ended: set when a stream is over for whatever reason.
        received, answered, most_unanswered, streams: counters over all streams.
        metadata: of the latest call.
    """

    def __init__(self, *, published: bool = False, max_message_mb: int = 64, port: int = 0, socket: str = "") -> None:
        self._published = published
        self._stopping = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        self.held: set[str] = set()
        self.seen: list[Seen] = []
        self.peers: set[str] = set()
        self._counting = threading.Lock()
        self.ended = threading.Event()
        self.received = self.answered = self.most_unanswered = self.streams = 0
        self.metadata: dict[str, str] = {}
        limit = max_message_mb * 1024 * 1024
        options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            # As the proxy has it; grpc's default cuts off a client that measures a fast connection by pings.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        pb_grpc.add_MultimodalServiceServicer_to_server(self, self._server)
        bound = self._server.add_insecure_port(socket or f"127.0.0.1:{port}")
        self.addr = socket or f"127.0.0.1:{bound}"

    def __enter__(self) -> EchoServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, grace: float | None = None) -> None:
        """Close the port, and drop what is still under way after `grace` seconds."""
        self._stopping.set()
        self.answering.set()
        self._server.stop(grace).wait()

    def Chat(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[pb.DataPacket], context: grpc.ServicerContext
    ) -> Iterator[pb.Ack]:
        """Answer each packet as its model's name says, reading ahead as far as the client sends."""
        with self._counting:
            self.streams += 1
            number = self.streams
        self.peers.add(context.peer())
        context.add_callback(self.ended.set)
        self._authenticate(context)
        if not self._published:
            context.send_initial_metadata((ADMITTED,))
        packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(number, request_iterator, packets), daemon=True).start()
        while (packet := packets.get()) is not None:
            while not self._may_answer(packet):
                if not context.is_active():
                    return
            if packet.control.model == FORGETS:
                return
            if packet.control.model == ABORTS:
                context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
            acks = self._acks(packet)
            self.answered += 1
            yield from acks

    def SendUnary(self, request: pb.DataPacket, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802
        """Answer one packet as its model's name says."""
        self._authenticate(context)
        while not self.answering.wait(0.05) and context.is_active():
            pass
        return self._acks(request)[0]

    def _may_answer(self, packet: pb.DataPacket) -> bool:
        if not self.answering.wait(0.05):
            return False
        return packet.meta.correlation_id not in self.held or self._stopping.wait(0.005)

    def _read(
        self, number: int, request_iterator: Iterator[pb.DataPacket], packets: queue.SimpleQueue[pb.DataPacket | None]
    ) -> None:
        try:
            for packet in request_iterator:
                self._note(number, packet)
                self.most_unanswered = max(self.most_unanswered, self.received - self.answered)
                packets.put(packet)
        except Exception:  # noqa: BLE001, S110 - the client went away: gRPC raises a bare Exception then
            pass
        packets.put(None)

    def _note(self, number: int, packet: pb.DataPacket) -> None:
        shape = tuple(packet.control.inputs[0].shape.dims) if packet.control.inputs else ()
        with self._counting:
            self.received += 1
            self.seen.append(Seen(number, packet.meta.correlation_id, packet.event, shape))

    def _authenticate(self, context: grpc.ServicerContext) -> None:
        self.metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        key, token = self.metadata.get("x-domino-api-key"), self.metadata.get("authorization")
        if key != API_KEY and token != f"Bearer {TOKEN}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED_TEXT)

    def _acks(self, packet: pb.DataPacket) -> list[pb.Ack]:
        model = packet.control.model
        tensors = {named.name: named.tensor for named in packet.tensors}
        if packet.WhichOneof("payload") == "tensor" and packet.control.inputs:
            tensors[packet.control.inputs[0].name] = packet.tensor
        if model == REFUSES:
            return [self._failure(packet, pb.BAD_REQUEST, "size mismatch: got 3 bytes, expected 4")]
        if model == UNSUPPORTED:
            return [self._failure(packet, pb.UNSUPPORTED, "payload not served")]
        if model == BREAKS:
            return [self._failure(packet, pb.INTERNAL, "failed to load model", backend="triton")]
        if model == DETECTS:
            tensors = {"output0": _detect_red(tensors["images"])}
        if model == FLATTENS:
            tensors = {name: _reshaped(tensor, [math.prod(tensor.shape.dims)]) for name, tensor in tensors.items()}
        if model == SUMS:
            tensors = {name: _summed(tensor) for name, tensor in tensors.items()}
        if model == DECOUPLED:
            return [self._success(packet, tensors, final=number == 2) for number in range(3)]
        ack = self._success(packet, tensors, final=not self._published)
        if model == SWAPS:
            ack.correlation_id = "of-another-packet"
        return [ack]

    def _failure(self, packet: pb.DataPacket, status: pb.StatusCode.ValueType, error: str, **more: str) -> pb.Ack:
        cid = packet.meta.correlation_id
        message = {"error": error, "cid": cid, "model": packet.control.model, **more}
        return pb.Ack(correlation_id=cid, status=status, message=json.dumps(message), final=not self._published)

    def _success(self, packet: pb.DataPacket, tensors: dict[str, pb.Tensor], *, final: bool) -> pb.Ack:
        raw = packet.control.output_encoding == pb.OE_RAW and not self._published
        ack = pb.Ack(correlation_id=packet.meta.correlation_id, bytes_seen=packet.ByteSize(), final=final)
        ack.timing.triton_infer_ms = 1.5
        ack.timing.total_ms = 2.5
        outputs: dict[str, dict[str, Any]] = {}
        for spec in packet.control.outputs:
            tensor = tensors.get(next(iter(tensors)) if spec.name == "output0" else spec.name)
            if tensor is None:
                outputs[spec.name] = {"error": "missing"}
                continue
            datatype = BY_NUMBER[tensor.dtype].name
            outputs[spec.name] = {"dtype": datatype, "shape": list(tensor.shape.dims)}
            if raw:
                ack.outputs.add(name=spec.name, datatype=datatype, shape=tensor.shape, data=tensor.data)
            else:
                outputs[spec.name]["b64"] = base64.b64encode(tensor.data).decode()
        ack.message = json.dumps(
            {
                "backend": "triton",
                "cid": packet.meta.correlation_id,
                "model": packet.control.model,
                "model_version": packet.control.model_version or "7",
                "outputs": outputs,
            }
        )
        return ack


def _reshaped(tensor: pb.Tensor, shape: list[int]) -> pb.Tensor:
    return pb.Tensor(dtype=tensor.dtype, shape=pb.Shape(dims=shape), data=tensor.data)


def _summed(tensor: pb.Tensor) -> pb.Tensor:
    total = np.frombuffer(tensor.data, "<i8").reshape(tensor.shape.dims).sum(axis=0, keepdims=True)
    return pb.Tensor(dtype=pb.DT_INT64, shape=pb.Shape(dims=total.shape), data=total.tobytes())


def _detect_red(tensor: pb.Tensor) -> pb.Tensor:
    images = np.frombuffer(tensor.data, "<f4").reshape(tensor.shape.dims)
    output = np.zeros((len(images), 84, 21 * (images.shape[-1] // 32) ** 2), "<f4")
    for number, (red, green, blue) in enumerate(images):
        rows, columns = np.nonzero((red > 0.7) & (green < 0.3) & (blue < 0.3))
        if rows.size:
            left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
            box = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
            output[number, :4, 1:3] = box[:, None]
            output[number, 4 + 2, 1:3] = 0.9, 0.8
    return pb.Tensor(dtype=pb.DT_FP32, shape=pb.Shape(dims=output.shape), data=output.tobytes())


def main() -> None:
    """Serve until standard input ends."""
    with EchoServer() as server:
        print(server.addr, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

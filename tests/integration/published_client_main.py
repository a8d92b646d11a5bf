"""An existing client: stubs of the published contract alone, one tiny Chat stream per frame, base64 JSON answers.

It stands in a process of its own, since one process can't hold two contracts of one name, and prints an Ack per line.
"""

from __future__ import annotations

import argparse
import base64
import json
import threading

import grpc

from published_client import published_client_pb2 as pb
from published_client import published_client_pb2_grpc as pb_grpc

SHAPE = (1, 3, 640, 640)


def packet(seq: int) -> pb.DataPacket:
    shape = pb.Shape(dims=SHAPE)
    frame = bytes([seq % 256]) * (4 * 3 * 640 * 640)
    return pb.DataPacket(
        meta=pb.Meta(correlation_id=f"cam-001-{seq}"),
        control=pb.Control(
            model="yolov8n",
            model_version="1",
            inputs=[pb.InputSpec(name="images", shape=shape, dtype=pb.DT_FP32, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="output0"), pb.OutputSpec(name="nothing")],
            timeout_secs=60,
        ),
        event=pb.SEV_DATA,
        tensor=pb.Tensor(dtype=pb.DT_FP32, shape=shape, data=frame),
    )


def idle(channel: grpc.Channel, seconds: float) -> bool:
    """Stays connected without a call; whether the connection lasted."""
    lost = threading.Event()
    ready = threading.Event()

    def changed(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            ready.set()
        elif ready.is_set():
            lost.set()

    channel.subscribe(changed, try_to_connect=True)
    ready.wait(10)
    return not lost.wait(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("key")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--ping-ms", type=int, default=30_000)
    parser.add_argument("--idle-secs", type=float, default=0)
    options = parser.parse_args()
    with grpc.insecure_channel(
        options.address,
        options=[
            ("grpc.max_send_message_length", 64 << 20),
            ("grpc.max_receive_message_length", 64 << 20),
            ("grpc.keepalive_time_ms", options.ping_ms),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    ) as channel:
        lasted = idle(channel, options.idle_secs) if options.idle_secs else True
        chat = pb_grpc.MultimodalServiceStub(channel).Chat
        for seq in range(options.frames):
            for ack in chat(iter([packet(seq)]), metadata=(("x-domino-api-key", options.key),), timeout=60):
                message = json.loads(ack.message)
                output = message["outputs"].get("output0", {})
                print(
                    json.dumps(
                        {
                            "cid": ack.correlation_id,
                            "status": ack.status,
                            "lasted": lasted,
                            "message": {key: value for key, value in message.items() if key != "outputs"},
                            "names": list(message["outputs"]),
                            "nothing": message["outputs"].get("nothing"),
                            "dtype": output.get("dtype"),
                            "shape": output.get("shape"),
                            "bytes": len(base64.b64decode(output["b64"])),
                            "bytes_seen": ack.bytes_seen,
                            "version": ack.resolved_control.model_version,
                            "infer_ms": ack.timing.triton_infer_ms,
                            "total_ms": ack.timing.total_ms,
                        }
                    )
                )


if __name__ == "__main__":
    main()

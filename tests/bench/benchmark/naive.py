"""The straightforward proxy: `naive PORT`, with TRITON_URL and DOMINO_HOST in the environment.

A blocking server on generated stubs; packets parsed at once, tritonclient towards Triton, outputs as base64 in JSON,
one packet of a stream after another.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from benchmark.identity import Identities
from benchmark.triton_ways import API_KEY_HEADER
from multimodal_contract import pb, pb_grpc

_THREADS = 64
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Service(pb_grpc.MultimodalServiceServicer):
    """The contract, as it was published."""

    def __init__(self, triton_url: str, domino_host: str) -> None:
        self._triton = grpcclient.InferenceServerClient(triton_url)
        self._identities = Identities(domino_host)

    def Chat(  # noqa: N802  the contract's name
        self, request_iterator: Iterator[pb.DataPacket], context: grpc.ServicerContext
    ) -> Iterator[pb.Ack]:
        """Answers each packet before it takes the next."""
        self._authenticate(context)
        for packet in request_iterator:
            yield self._answer(packet)

    def SendUnary(self, request: pb.DataPacket, context: grpc.ServicerContext) -> pb.Ack:  # noqa: N802
        """Answers one packet."""
        self._authenticate(context)
        return self._answer(request)

    def _authenticate(self, context: grpc.ServicerContext) -> None:
        key = str(dict(context.invocation_metadata()).get(API_KEY_HEADER, ""))
        if not (self._identities.remembered(key) or self._identities.ask(key)):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown API key")

    def _answer(self, packet: pb.DataPacket) -> pb.Ack:
        ack = pb.Ack(correlation_id=packet.meta.correlation_id, resolved_control=packet.control)
        try:
            message = self._infer(packet)
        except (InferenceServerException, ValueError) as error:
            ack.status = pb.INTERNAL
            message = {"error": str(error), "backend": "triton"}
        ack.message = json.dumps({"cid": packet.meta.correlation_id, "model": packet.control.model, **message})
        ack.bytes_seen = packet.ByteSize()
        return ack

    def _infer(self, packet: pb.DataPacket) -> dict[str, Any]:
        control = packet.control
        shape = list(packet.tensor.shape.dims)
        tensor = grpcclient.InferInput(control.inputs[0].name, shape, "FP32")
        tensor.set_data_from_numpy(np.frombuffer(packet.tensor.data, np.float32).reshape(shape))
        result = self._triton.infer(
            control.model,
            [tensor],
            control.model_version,
            [grpcclient.InferRequestedOutput(spec.name) for spec in control.outputs],
            client_timeout=control.timeout_secs,
        )
        outputs = {}
        for spec in control.outputs:
            output = result.as_numpy(spec.name)
            data = base64.b64encode(output.tobytes()).decode()
            outputs[spec.name] = {"dtype": "FP32", "shape": list(output.shape), "b64": data}
        return {"backend": "triton", "model_version": control.model_version, "outputs": outputs}


def main() -> int:
    """Serves until it is killed."""
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=_UNLIMITED)
    pb_grpc.add_MultimodalServiceServicer_to_server(
        Service(os.environ["TRITON_URL"], os.environ["DOMINO_HOST"]), server
    )
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main())

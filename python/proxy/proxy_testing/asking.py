"""Inferences of the real `Triton` at a stand-in, and what that may answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tritonclient.grpc import service_pb2

from proxy_testing.triton import StandIn, triton_stand_in
from triton_proxy.inference import Inference, TimeLimit
from triton_proxy.link import Link
from triton_proxy.triton import Triton

TIMEOUT = 30
LIMIT = TimeLimit(TIMEOUT, "a test")
LARGEST = 1024 * 1024


@contextmanager
def connected() -> Iterator[tuple[StandIn, Triton]]:
    """A stand-in, and who asks it; answers may have LARGEST bytes."""
    with triton_stand_in() as stand_in:
        triton = Triton(Link(stand_in.url, max_message_bytes=LARGEST))
        try:
            yield stand_in, triton
        finally:
            triton.close()


def begin(triton: Triton, *, decoupled: bool, limit: TimeLimit = LIMIT, model_version: str = "") -> Inference:
    """An inference that has no inputs."""
    return triton.infer("m", model_version, [], cid="c", limit=limit, decoupled=decoupled, serving=model_version)


def response(*contents: bytes, version: str = "3", names: Sequence[str] = "yz", final: bool | None = None) -> Any:
    """A ModelInferResponse.

    Args:
        contents: of its outputs, as UINT8.
        version: the version that served.
        names: of its outputs.
        final: what it says of being the last; None for nothing.
    """
    made = service_pb2.ModelInferResponse(model_name="m", model_version=version, raw_output_contents=contents)
    for name, content in zip(names, contents, strict=False):
        made.outputs.add(name=name, datatype="UINT8", shape=[len(content)])
    if final is not None:
        made.parameters["triton_final_response"].bool_param = final
    return made


def streamed(*contents: bytes, error: str = "", final: bool | None, version: str = "3") -> bytes:
    """A ModelStreamInferResponse, serialized; the arguments are those of `response`.

    Args:
        contents: see there.
        error: the model's words where this is an error.
        final: see there.
        version: see there.
    """
    made = response(*contents, version=version, final=final)
    message = service_pb2.ModelStreamInferResponse(error_message=error, infer_response=made)
    return bytes(message.SerializeToString())

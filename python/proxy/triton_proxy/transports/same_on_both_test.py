"""The engine and grpcio judge each other: what a caller does comes to the same on both."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb
from proxy_testing.in_process import ANN, TIMEOUT, Served, packet, served
from triton_proxy.protocols.kserve.methods import MODEL_INFER_METHOD, MODEL_STREAM_INFER_METHOD

# What is known to differ: in words of grpc's on the left, and of the engine's, and why that may be.
KNOWN = [
    # grpc says which of its ends it was that refused; of the engine there is one.
    (r"^SERVER: (Received message larger than max)", r"\1"),
    # The engine says how much that is.
    (
        r"^Decompressed message larger than max$",
        f"Received message larger than max (more than {2 << 20} after decompression vs. {2 << 20})",
    ),
]


@dataclass(frozen=True)
class History:
    """What one caller does.

    Attributes:
        method: that it calls.
        metadata: that it sends.
        packets: that it sends, by their names in `PACKETS`.
        compression: of them.
        timeout: seconds until its deadline.
        cancel_after: answers after which it cancels a stream; None for never. Before the first it would race with
            a refusal.
    """

    method: str
    metadata: tuple[tuple[str, str | bytes], ...]
    packets: tuple[str, ...]
    compression: grpc.Compression
    timeout: float
    cancel_after: int | None


FAR = "far over the limit"
PACKETS = {
    "good": packet("m").SerializeToString(),
    "unknown model": packet("unknown").SerializeToString(),
    "note": pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id="note")).SerializeToString(),
    "no packet": b"\xff\xff",
    "empty": b"",
    "large": packet("m", 200_000).SerializeToString(),
    "over the limit": packet("m", (1 << 20) + 1000).SerializeToString(),
    FAR: packet("m", 3 << 20).SerializeToString(),
    "request": service_pb2.ModelInferRequest(model_name="m", id="r").SerializeToString(),
    "bad request": service_pb2.ModelInferRequest(model_name="m", id="b", raw_input_contents=[b""]).SerializeToString(),
    "request for an unknown model": service_pb2.ModelInferRequest(model_name="unknown").SerializeToString(),
}
CREDENTIALS = st.sampled_from(
    [
        ANN,
        ANN,
        ANN,
        (),
        (("authorization", "Basic s3cret"),),
        (("authorization", "Bearer s3cret"),),
        (("authorization", "Bearer carl"),),
        (*ANN, *ANN),
        (("x-domino-api-key", "s3cret" + "k" * 300),),
        (("x-domino-api-key", ""),),
    ]
)
MORE_METADATA = st.sampled_from(
    [
        (),
        (("odd-bin", b"\x00\xff"),),
        (("name", ""),),
        (("name", "a"), ("name", "b")),
        (("traceparent", "odd"),),
        (("baggage", "b" * 8000),),
    ]
)
HISTORIES = st.builds(
    lambda method, credentials, more, packets, compression, cancel_after: History(
        method, credentials + more, tuple(packets), compression, TIMEOUT, cancel_after
    ),
    st.sampled_from(
        [
            CHAT_METHOD,
            CHAT_METHOD,
            SEND_UNARY_METHOD,
            MODEL_INFER_METHOD,
            MODEL_STREAM_INFER_METHOD,
            "/inference.GRPCInferenceService/ServerReady",
            "/inference.GRPCInferenceService/ModelReady",
            "/inference.GRPCInferenceService/RepositoryModelLoad",
            "/a.B/C",
            "/multimodal.MultimodalService/chat",
        ]
    ),
    CREDENTIALS,
    MORE_METADATA,
    # One that is refused at its first bytes ends the call as soon as these come, whatever was sent before: alone.
    st.lists(st.sampled_from([name for name in PACKETS if name != FAR]), max_size=5) | st.just([FAR]),
    st.sampled_from([grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]),
    st.none() | st.integers(1, 3),
)


def outcome(proxy: Served, history: History) -> dict[str, Any]:
    """What comes of it."""
    packets: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    method: grpc.StreamStreamMultiCallable[bytes, bytes] = proxy.channel.stream_stream(history.method)
    call = method(
        iter(packets.get, None),
        metadata=history.metadata,
        timeout=history.timeout,
        compression=history.compression,
    )
    acks: list[dict[str, Any]] = []
    one_by_one = history.cancel_after is not None and history.method == CHAT_METHOD
    try:
        for nth, one in enumerate(history.packets):
            if one_by_one and nth == history.cancel_after:
                call.cancel()
            packets.put(PACKETS[one])
            if one_by_one:
                acks.append(plain(next(call), history.method))
        packets.put(None)
        acks += [plain(ack, history.method) for ack in call]
    except (grpc.RpcError, StopIteration):
        packets.put(None)
    return {
        "code": call.code(),
        "details": in_words_of_the_engine(call.details() or ""),
        "acks": acks,
        "trailing": list(call.trailing_metadata() or ()),
    }


def in_words_of_the_engine(details: str) -> str:
    for pattern, words in KNOWN:
        details = re.sub(pattern, words, details)
    return details


def plain(raw: bytes, method: str) -> dict[str, Any]:
    """An answer, without what differs from run to run."""
    if method == MODEL_STREAM_INFER_METHOD:
        return {"answer": str(service_pb2.ModelStreamInferResponse.FromString(raw))}
    if method not in (CHAT_METHOD, SEND_UNARY_METHOD):
        return {"answer": raw}
    ack = pb.Ack.FromString(raw)
    ack.ClearField("timing")
    return {"message": ack.message, "ack": ack.SerializeToString(deterministic=True)}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Served, Served]]:
    words = {"MAX_MESSAGE_MB": 1, "MAX_MB_IN_FLIGHT": 8, "MAX_MB_IN_FLIGHT_PER_PRINCIPAL": 8}
    with served(GRPC_SERVER="http2", **words) as engine, served(GRPC_SERVER="grpcio", **words) as grpcio:
        yield engine, grpcio


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=HISTORIES)
def test_what_a_caller_does_comes_to_the_same(both: tuple[Served, Served], history: History) -> None:
    engine, grpcio = (outcome(proxy, history) for proxy in both)
    assert engine == grpcio

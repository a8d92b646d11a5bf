"""One trace from the caller's program through the proxy to the real Triton, whose own spans join it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from multimodal_contract import pb
from proxy_testing.collector import Collector, attributes, collector
from service_testing.waiting import until
from serving import CREDENTIAL, TIMEOUT, Proxy, packet, proxy

# One for each way: what Triton sends late belongs to a test before.
TRACES = ("a1" * 16, "b2" * 16, "c3" * 16)
CALLER = "cd" * 8


@pytest.fixture(scope="module")
def there() -> Iterator[Collector]:
    with collector() as started:
        yield started


@pytest.fixture(scope="module")
def triton(repository: Path, there: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    settings = (
        "mode=opentelemetry",
        f"opentelemetry,url={there.url}/v1/traces",
        "opentelemetry,bsp_schedule_delay=100",
        "level=TIMESTAMPS",
        "rate=0",
        "count=-1",
    )
    options = [word for setting in settings for word in ("--trace-config", setting)]
    log = tmp_path_factory.mktemp("log") / "triton.log"
    with Triton(repository, triton_wheels(), log=log, options=options) as server:
        server.wait_ready(timeout=120)
        yield server


@pytest.fixture
def traced(triton: Triton, domino: DominoStandIn, there: Collector) -> Iterator[Proxy]:
    with proxy(
        triton.grpc_url, domino.url, OTEL_EXPORTER_OTLP_ENDPOINT=there.url, OTEL_TRACES_SAMPLER_ARG="0"
    ) as served:
        yield served


def square(count: int) -> pb.DataPacket:
    made = packet(models.SQUARE, struct.pack("<i", count), dtype="INT32", outputs=["OUT"])
    made.control.inputs[0].name = "IN"
    return made


def floats(count: int) -> pb.DataPacket:
    return packet("identity_fp32", struct.pack(f"<{count}f", *range(count)))


@pytest.mark.parametrize(
    ("trace", "asked"),
    list(zip(TRACES, [floats(4), floats(100_000), square(3)], strict=True)),
    ids=["by the engine", "directly", "by a stream of answers"],
)
def test_tritons_own_spans_are_below_the_proxys(
    traced: Proxy, there: Collector, trace: str, asked: pb.DataPacket
) -> None:
    def ask(*headers: tuple[str, str]) -> None:
        acks = list(traced.stub.Chat(iter([asked]), metadata=(*CREDENTIAL, *headers), timeout=TIMEOUT))
        assert {ack.status for ack in acks} == {pb.OK}

    def named(name: str) -> list[Span]:
        return [span for span in there.named(name) if span.trace_id.hex() == trace]

    def joined() -> bool:
        # Triton 2.51 sends its outermost span when it lets go of the call, which it may do with the next one only.
        ask(("traceparent", f"00-{trace}-{CALLER}-01"))
        return bool(named("InferRequest"))

    ask()
    until(joined)
    inferred = named("InferRequest")[0]
    until(lambda: inferred.parent_span_id in {infer.span_id for infer in named("infer")})
    (model,) = (span for span in named(asked.control.model) if span.parent_span_id == inferred.span_id)
    assert attributes(model.attributes)["triton.request_id"] == "c"
    # Both processes' spans, and none of the request that nobody traces.
    assert {span.trace_id.hex() for span in there.spans} <= set(TRACES)
    assert {resource["service.name"] for resource in there.resources} == {"triton-proxy", "triton-inference-server"}

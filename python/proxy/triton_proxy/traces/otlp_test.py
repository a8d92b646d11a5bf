"""The spans of a real proxy, as a collector decodes them, and what its Triton hears of them."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from multimodal_contract import pb, pb_grpc
from proxy_testing.collector import Collector, attributes, collector
from proxy_testing.in_process import ANN, NOTE, TIMEOUT, Served, packet, served
from proxy_testing.triton import response, streamed
from service_testing.waiting import until
from triton_proxy.version import VERSION

TRACE, CALLER = "ab" * 16, "cd" * 8
SAMPLED = (("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "vendor=1"))
UNSAMPLED = (("traceparent", f"00-{TRACE}-{CALLER}-00"),)
MODEL = "yolo"
LARGE = 300 * 1024
SEND_UNARY, CHAT = "multimodal.MultimodalService/SendUnary", "multimodal.MultimodalService/Chat"
STAGES = ["answer", "identity", "infer", "queue", "validate"]


class Traced:
    """A proxy that traces, its collector, and the metadata of what its Triton was asked for.

    Attributes:
        serving: the proxy.
        there: the collector.
        heard: metadata of each inference.
    """

    def __init__(self, serving: Served, there: Collector, *, size: int, decoupled: bool, stateful: bool) -> None:
        self.serving, self.there = serving, there
        self.heard: list[dict[str, Any]] = []
        triton = serving.triton
        triton.metadata.name = triton.config.name = MODEL
        triton.metadata.versions.append("1")
        triton.metadata.inputs.add(name="x", datatype="UINT8", shape=[size])
        triton.metadata.outputs.add(name="y", datatype="UINT8", shape=[2])
        triton.config.model_transaction_policy.decoupled = decoupled
        if stateful:
            triton.config.sequence_batching.SetInParent()
        triton.infer, triton.infer_stream = self._infer, self._infer_stream

    def _infer(self, _request: Any, context: grpc.ServicerContext) -> bytes:
        self._hear(context)
        return bytes(response(b"ab", names=("y",)).SerializeToString())

    def _infer_stream(self, _request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._hear(context)
        yield streamed(b"ab", final=False)
        yield streamed(b"cd", final=True)

    def _hear(self, context: grpc.ServicerContext) -> None:
        self.heard.append(dict(context.invocation_metadata()))

    def spans(self, count: int) -> list[Span]:
        """Waits for so many spans, and for no more."""
        until(lambda: len(self.there.spans) >= count)
        assert len(self.there.spans) == count
        return self.there.spans


@contextmanager
def tracing(size: int = 4, *, decoupled: bool = False, stateful: bool = False, **settings: object) -> Iterator[Traced]:
    """A proxy that traces what its callers trace, and a model with an input of this size."""
    with collector() as there:
        needed = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, "OTEL_TRACES_SAMPLER_ARG": 0}
        with served(**(needed | settings)) as serving:
            yield Traced(serving, there, size=size, decoupled=decoupled, stateful=stateful)


def named(size: int = 4) -> pb.DataPacket:
    made = packet(MODEL, size)
    made.meta.correlation_id = "one-packet"
    return made


def within(span: Span, parent: Span) -> bool:
    return bool(
        parent.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        and span.end_time_unix_nano <= parent.end_time_unix_nano + 1_000_000
    )


def test_a_unary_call_and_what_it_waited_for() -> None:
    with tracing(TRACE_PRINCIPALS="false") as traced:
        assert traced.serving.begin(named(), (*ANN, *SAMPLED)).result(TIMEOUT).status == pb.OK
        spans = traced.spans(8)
        there = traced.there
    assert there.tree() == {"": [SEND_UNARY], SEND_UNARY: ["identity", "request"], "request": STAGES}
    (call,), (request,), (infer,) = (there.named(name) for name in (SEND_UNARY, "request", "infer"))
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {span.trace_state for span in spans} == {"vendor=1"}
    assert len({span.span_id for span in spans}) == 8
    assert call.parent_span_id.hex() == CALLER
    kinds = {span.name: span.kind for span in spans if span.kind != Span.SPAN_KIND_INTERNAL}
    assert kinds == {SEND_UNARY: Span.SPAN_KIND_SERVER, "infer": Span.SPAN_KIND_CLIENT}
    assert attributes(call.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "multimodal.MultimodalService",
        "rpc.method": "SendUnary",
        "rpc.grpc.status_code": 0,
        "triton_proxy.status": "OK",
        "triton_proxy.requests": 1,
    }
    assert attributes(request.attributes) == {
        "triton.model_name": MODEL,
        "triton.model_version": "1",
        "triton.request_id": "one-packet",
        "triton_proxy.outcome": "ok",
    }
    assert attributes(infer.attributes) == {"rpc.system": "grpc", "rpc.service": "inference.GRPCInferenceService"}
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}
    (resource, *others) = there.resources
    assert all(other == resource for other in others)
    assert (resource["service.name"], resource["service.version"]) == ("triton-proxy", VERSION)
    for span in spans:
        assert within(span, call)
    stages = {span.name: span for span in spans if span.parent_span_id == request.span_id}
    assert all(within(span, request) for span in stages.values())
    order = [stages[name] for name in ("identity", "queue", "validate", "infer", "answer")]
    for before, after in itertools.pairwise(order):
        # Sums of fractions of milliseconds, in nanoseconds.
        assert before.end_time_unix_nano <= after.start_time_unix_nano + 1000, (before.name, after.name)
    # Triton's own spans are below the one in which it was asked.
    (heard,) = traced.heard
    assert heard["traceparent"] == f"00-{TRACE}-{infer.span_id.hex()}-01"
    assert heard["tracestate"] == "vendor=1"


@pytest.mark.parametrize(
    ("calls", "size", "decoupled", "stateful"),
    [
        ("http2", 4, False, False),
        ("grpcio", 4, False, False),
        ("http2", LARGE, False, False),
        ("http2", 4, True, False),
        ("http2", 4, False, True),
    ],
    ids=["engine", "grpcio", "direct", "decoupled", "sequence"],
)
def test_triton_hears_of_the_trace_by_each_way(calls: str, size: int, decoupled: bool, stateful: bool) -> None:
    packets = [NOTE, named(size)] if stateful else [named(size)]
    with tracing(size, decoupled=decoupled, stateful=stateful, TRITON_CALLS=calls) as traced:
        stub = pb_grpc.MultimodalServiceStub(traced.serving.channel)
        for trace in (SAMPLED, UNSAMPLED, ()):
            acks = list(stub.Chat(iter(packets), metadata=(*ANN, *trace), timeout=TIMEOUT))
            assert {ack.status for ack in acks} == {pb.OK}
        until(lambda: bool(traced.there.named(CHAT)))
        (infer,) = traced.there.named("infer")
    assert [heard.get("traceparent") for heard in traced.heard] == [
        f"00-{TRACE}-{infer.span_id.hex()}-01",
        None,
        None,
    ]


def test_a_call_without_a_trace_begins_one_by_chance_and_names_its_caller_where_a_setting_says_so() -> None:
    with tracing(OTEL_TRACES_SAMPLER_ARG=1, TRACE_PRINCIPALS="true", OTEL_SERVICE_NAME="ours") as traced:
        assert traced.serving.begin(named(), (*ANN, *UNSAMPLED)).result(TIMEOUT).status == pb.OK
        assert traced.serving.begin(named()).result(TIMEOUT).status == pb.OK
        traced.spans(8)
        (call,), (infer,) = traced.there.named(SEND_UNARY), traced.there.named("infer")
        resource = traced.there.resources[0]
    assert call.parent_span_id == b""
    assert attributes(call.attributes)["enduser.id"] == "ann"
    assert resource["service.name"] == "ours"
    unsampled, begun = traced.heard
    assert "traceparent" not in unsampled
    assert begun["traceparent"] == f"00-{call.trace_id.hex()}-{infer.span_id.hex()}-03"
    assert "tracestate" not in begun


def test_what_goes_wrong_shows_and_strangers_make_no_span() -> None:
    with tracing() as traced:
        stub = pb_grpc.MultimodalServiceStub(traced.serving.channel)
        for headers in ((("x-domino-api-key", "s3cret"),), ()):
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                stub.SendUnary(named(), metadata=(*headers, *SAMPLED), timeout=TIMEOUT)
        unknown: grpc.UnaryUnaryMultiCallable[bytes, bytes] = traced.serving.channel.unary_unary("/made.Up/ByACaller")
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            unknown(b"", metadata=(*ANN, *SAMPLED), timeout=TIMEOUT)
        assert stub.SendUnary(pb.DataPacket(), metadata=(*ANN, *SAMPLED), timeout=TIMEOUT).status == pb.BAD_REQUEST

        def fail(_request: Any, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.INTERNAL, "the model's words")
            raise AssertionError

        traced.serving.triton.infer = fail
        assert stub.SendUnary(named(), metadata=(*ANN, *SAMPLED), timeout=TIMEOUT).status == pb.INTERNAL
        traced.spans(2 + 7 + 8)
        there = traced.there
        (nowhere,) = there.named("unknown")
        raw = b"".join(there.raw)
    assert nowhere.status == Status(code=Status.STATUS_CODE_ERROR, message="UNIMPLEMENTED")
    assert attributes(nowhere.attributes) == {"triton_proxy.status": "UNIMPLEMENTED", "triton_proxy.requests": 0}
    invalid, failed = there.named("request")
    assert (invalid.status.message, failed.status.message) == ("invalid", "internal")
    assert len(there.named("infer")) == 1
    assert not re.search(rb"s3cret|ByACaller|the model's words|ann", raw)


def test_a_request_of_rest_is_traced_by_its_route() -> None:
    with tracing() as traced:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{traced.serving.server.http_port}/v2/models/{MODEL}",
            headers={"x-domino-api-key": "ann", **dict(SAMPLED)},
        )
        with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:  # noqa: S310 - the test's own server
            assert answer.status == 200
        until(lambda: bool(traced.there.named("GET /v2/models/{model}")))
        (call,) = traced.there.named("GET /v2/models/{model}")
    assert call.trace_id.hex() == TRACE
    told = attributes(call.attributes)
    assert (told["http.request.method"], told["http.route"]) == ("GET", "/v2/models/{model}")


def test_a_collector_that_does_not_answer_costs_no_call() -> None:
    with collector(answers=False) as there:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, "OTEL_TRACES_SAMPLER_ARG": 1}
        with served(**settings) as serving:
            stub = pb_grpc.MultimodalServiceStub(serving.channel)
            assert stub.SendUnary(NOTE, metadata=ANN, timeout=TIMEOUT).status == pb.OK
            assert there.asked.acquire(timeout=TIMEOUT)
            for _ in range(20):
                assert stub.SendUnary(NOTE, metadata=ANN, timeout=TIMEOUT).status == pb.OK
            # A call and its request wait for each.
            until(lambda: _waiting(serving) >= 40)
            there.may_answer.set()
            until(lambda: len(there.named(SEND_UNARY)) == 21)
            assert stub.SendUnary(NOTE, metadata=ANN, timeout=TIMEOUT).status == pb.OK
        # What still waits when the proxy ends is sent, or counted where that takes too long.
        at_last = serving.server.statistics().traces
    assert at_last is not None
    assert (at_last.waiting, at_last.exported + at_last.dropped) == (0, 44)


def _waiting(serving: Served) -> int:
    statistics = serving.server.statistics().traces
    return 0 if statistics is None else statistics.waiting


def test_nothing_of_opentelemetry_is_imported_where_traces_are_off() -> None:
    code = """
import sys
from proxy_testing.in_process import Domino, in_process
with in_process({"DRAIN_SECS": 0}, Domino()) as proxy:
    assert proxy.server.statistics().traces is None
found = [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]
assert not found, found
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=TIMEOUT * 4, env=environment)

"""The caller's trace goes with its calls, from whatever thread they are opened, where it has OpenTelemetry."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest
from client_testing.echo import API_KEY, EchoServer
from client_testing.streaming import Stream, numbered
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation import tracecontext

from mm_client_api import ApiKey, AsyncTritonClient, TritonClient

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("test")
KEY = ApiKey(API_KEY)
INPUTS = {"x": np.arange(2)}


def parent_of(span: trace.Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@pytest.mark.parametrize("connections", [1, 3])
def test_a_stream_takes_the_span_that_it_begins_in(stream: Stream, connections: int) -> None:
    with EchoServer() as server:
        with TRACER.start_as_current_span("ours") as span:
            inside = stream(server.addr, numbered(12), KEY, connections=connections, window=1)
        assert len(inside.results) == 12
        assert server.metadata["traceparent"] == parent_of(span)
        assert len(stream(server.addr, numbered(1), KEY).results) == 1
        assert "traceparent" not in server.metadata


def test_a_unary_call_takes_the_span_that_it_is_made_in() -> None:
    with EchoServer() as server:
        with TritonClient(server.addr, credentials=KEY) as client:
            with TRACER.start_as_current_span("ours") as span:
                client.infer("echo", INPUTS, outputs=["x"])
            assert server.metadata["traceparent"] == parent_of(span)
            client.infer("echo", INPUTS, outputs=["x"])
            assert "traceparent" not in server.metadata

        async def ask() -> str:
            async with AsyncTritonClient(server.addr, credentials=ApiKey(API_KEY)) as client:
                with TRACER.start_as_current_span("ours") as span:
                    await client.infer("echo", INPUTS, outputs=["x"])
                return parent_of(span)

        assert asyncio.run(ask()) == server.metadata["traceparent"]


def test_a_trace_that_cannot_be_told_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("an OpenTelemetry of another release")

    monkeypatch.setattr(tracecontext.TraceContextTextMapPropagator, "inject", fail)
    with EchoServer() as server, TritonClient(server.addr, credentials=ApiKey(API_KEY)) as client:
        with TRACER.start_as_current_span("ours"):
            client.infer("echo", INPUTS, outputs=["x"])
        assert "traceparent" not in server.metadata


def test_opentelemetry_is_not_imported_for_a_program_that_does_not() -> None:
    code = """
import sys
import numpy as np
from client_testing.echo import API_KEY, EchoServer
from mm_client_api import ApiKey, TritonClient
with EchoServer() as server, TritonClient(server.addr, credentials=ApiKey(API_KEY)) as client:
    client.infer("echo", {"x": np.arange(2)}, outputs=["x"])
    assert "traceparent" not in server.metadata
assert "opentelemetry.trace" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=120, env=environment)

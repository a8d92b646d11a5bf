"""An OpenTelemetry collector for tests: takes OTLP over HTTP, also as JSON, and keeps what it decodes."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Attributes = dict[str, str | int]


@dataclass
class Collector:
    """What came.

    Attributes:
        url: its base URL.
        status: what it answers.
        spans: in the order in which they came.
        resources: attributes of what sent each of them.
        raw: bodies as they came.
        asked: is released for each request.
        may_answer: until it is set, none is answered.
    """

    url: str
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    resources: list[Attributes] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    may_answer: threading.Event = field(default_factory=threading.Event)

    def take(self, path: str, body: bytes) -> int:
        """Keeps what a request has; returns the status."""
        self.asked.release()
        self.may_answer.wait(30)
        if path != "/v1/traces":
            return 404
        if self.status == 200:
            self.raw.append(body)
            for sent in decoded(body).resource_spans:
                for scope in sent.scope_spans:
                    self.spans += scope.spans
                    self.resources += [attributes(sent.resource.attributes)] * len(scope.spans)
        return self.status

    def tree(self) -> dict[str, list[str]]:
        """Names of what is below each name, sorted; below "" is what has no parent here."""
        names = {span.span_id: span.name for span in self.spans}
        found: dict[str, list[str]] = {}
        for span in self.spans:
            found.setdefault(names.get(span.parent_span_id, ""), []).append(span.name)
        return {parent: sorted(children) for parent, children in found.items()}

    def named(self, name: str) -> list[Span]:
        """Spans of a name."""
        return [span for span in self.spans if span.name == name]


def decoded(body: bytes) -> ExportTraceServiceRequest:
    """What was sent, as protobuf or, as Triton does it, as JSON."""
    if not body.startswith(b"{"):
        return ExportTraceServiceRequest.FromString(body)
    return json_format.ParseDict(json.loads(body, object_hook=_with_ids), ExportTraceServiceRequest())


def _with_ids(fields: dict[str, Any]) -> dict[str, Any]:
    # OTLP has ids in hexadecimal where protobuf's JSON has base64.
    ids = {name: value for name, value in fields.items() if name in ("traceId", "spanId", "parentSpanId")}
    return fields | {name: base64.b64encode(bytes.fromhex(value)).decode() for name, value in ids.items()}


def attributes(pairs: Iterable[KeyValue]) -> Attributes:
    """Attributes as OTLP has them, texts and numbers."""
    found: Attributes = {}
    for pair in pairs:
        value = pair.value
        found[pair.key] = value.int_value if value.WhichOneof("value") == "int_value" else value.string_value
    return found


@contextmanager
def collector(*, answers: bool = True) -> Iterator[Collector]:
    """A collector that listens.

    Args:
        answers: whether it answers at once.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = here.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    if answers:
        here.may_answer.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield here
    finally:
        here.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()

"""The audit log: who used what, and who was refused. audit.schema.json describes a line of it.

No line ever holds a credential or a payload: neither comes near this module.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

import grpc

from domino_identity import Kind, Principal
from mm_service.line_sink import LineSink

_MOST_MODELS = 16
_MOST_CORRELATION_IDS = 8
_LONGEST_TEXT = 256
_LONGEST_REASON = 1024
_CLOSE_SECS = 2.0
# Of each kind of refusal, in each interval.
_REFUSALS_WRITTEN = 10
_REFUSALS_EVERY_SECS = 10.0
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)


# Kind of credential, and status.
_RefusalKind = tuple[str | None, grpc.StatusCode]


@dataclass
class _Line:
    """The fields of a line that are collected; audit.schema.json describes each."""

    principal: str | None
    credential: str | None
    method: str
    peer: str
    models: list[dict[str, str]] = field(default_factory=list)
    models_complete: bool = True
    count: int = 0
    ok: int = 0
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    correlation_ids: list[str] = field(default_factory=list)

    def received(self, size: int, model: str, model_version: str, correlation_id: str) -> None:
        self.count += 1
        self.bytes_in += size
        if model or model_version:
            used = {"model": _bounded(model), "model_version": _bounded(model_version)}
            if used not in self.models:
                if len(self.models) < _MOST_MODELS:
                    self.models.append(used)
                else:
                    self.models_complete = False
        if correlation_id and len(self.correlation_ids) < _MOST_CORRELATION_IDS:
            self.correlation_ids.append(_bounded(correlation_id))


class Audit:
    """Makes the lines. Nothing here waits or fails because of whoever reads them.

    Of calls that are refused before it is known who calls, the first few of a kind have lines of their own; the rest is
    summed up: anybody can make thousands a second.
    """

    def __init__(
        self,
        sink: LineSink,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Writes nothing by itself.

        Args:
            sink: where the lines go.
            clock: the time in seconds, for latencies.
            wall_clock: seconds since the epoch.
        """
        self._sink = sink
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._refusals: dict[_RefusalKind, int] = {}
        self._closed = threading.Event()
        self._summing = threading.Thread(target=self._sum_up, name="audit-refusals", daemon=True)
        self._summing.start()

    @property
    def dropped(self) -> int:
        """How many lines were not written, because nobody took them."""
        return self._sink.statistics().dropped

    def stream(self, *, method: str, peer: str, principal: Principal, kind: Kind) -> StreamRecord:
        """The record of a call that begins; it gives one line when it is closed.

        Args:
            method: full name of the method.
            peer: gRPC's name of the other end.
            principal: who is calling.
            kind: by what kind of credential.
        """
        return StreamRecord(self, method=method, peer=peer, principal=principal, kind=kind)

    def refused(
        self,
        *,
        method: str,
        peer: str,
        kind: Kind | None,
        code: grpc.StatusCode,
        reason: str,
        latency_secs: float,
    ) -> None:
        """Writes down that a call was refused before it was known who calls.

        Args:
            method: full name of the method, as the caller gave it.
            peer: gRPC's name of the other end.
            kind: kind of the credential it carries; None where none could be read.
            code: the refusal.
            reason: the proxy's words for it.
            latency_secs: how long it took to refuse.
        """
        credential = kind.value if kind else None
        with self._lock:
            count = self._refusals.get((credential, code), 0) + 1
            self._refusals[credential, code] = count
        if count <= _REFUSALS_WRITTEN:
            line = _Line(None, credential, _bounded(method), _bounded(peer))
            self._write("refused", line, code, reason, latency_secs)

    def _sum_up(self) -> None:
        while not self._closed.is_set():
            began = self._clock()
            self._closed.wait(_REFUSALS_EVERY_SECS)
            self._write_refusals(self._clock() - began)

    def _write_refusals(self, secs: float) -> None:
        with self._lock:
            refusals, self._refusals = self._refusals, {}
        for (credential, code), count in refusals.items():
            if count > _REFUSALS_WRITTEN:
                line = _Line(None, credential, "", "", count=count - _REFUSALS_WRITTEN)
                reason = f"as many more calls were refused within {_REFUSALS_EVERY_SECS:g} s"
                self._write("refusals", line, code, reason, secs)

    def _write(self, event: str, line: _Line, code: grpc.StatusCode, reason: str, latency_secs: float) -> None:
        now = datetime.fromtimestamp(self._wall_clock(), timezone.utc).isoformat(timespec="milliseconds")
        fields = {
            "time": now.removesuffix("+00:00") + "Z",
            "event": event,
            **vars(line),
            "result": code.name,
            "reason": _bounded(reason, _LONGEST_REASON) or None,
            "latency_ms": round(max(latency_secs, 0.0) * 1000, 3),
        }
        # ASCII: no character of anybody's text can end the line or be read otherwise by whoever collects it.
        self._sink.add(_ENCODER.encode(fields).encode() + b"\n")

    def close(self) -> None:
        """Writes what waits, for two seconds at the longest."""
        self._closed.set()
        self._summing.join(_CLOSE_SECS)
        self._sink.close(_CLOSE_SECS)


class StreamRecord:
    """What is collected about one call. Its methods may be called from any thread."""

    def __init__(self, audit: Audit, *, method: str, peer: str, principal: Principal, kind: Kind) -> None:
        """Made by `Audit.stream`."""
        self._audit = audit
        self._began = audit._clock()
        self._line = _Line(_bounded(principal.name), kind.value, _bounded(method), _bounded(peer))
        self._lock = threading.Lock()
        self._closed = False

    def received(self, size: int, model: str, model_version: str, correlation_id: str) -> None:
        """A packet came.

        Args:
            size: its bytes.
            model: the model it names; may be empty.
            model_version: the version it names; may be empty.
            correlation_id: its own; may be empty.
        """
        with self._lock:
            self._line.received(size, model, model_version, correlation_id)

    def answered(self, size: int, *, ok: bool) -> None:
        """An Ack was sent.

        Args:
            size: its bytes.
            ok: whether its status is OK.
        """
        with self._lock:
            self._line.ok += ok
            self._line.failed += not ok
            self._line.bytes_out += size

    def refused(
        self,
        code: grpc.StatusCode,
        reason: str,
        *,
        size: int,
        model: str,
        model_version: str,
        correlation_id: str,
        latency_secs: float,
    ) -> None:
        """Writes a line for one packet that is not let through; the call's own line counts it too.

        Args:
            code: the refusal.
            reason: the proxy's words for it.
            size: the packet's bytes.
            model: the model it names; may be empty.
            model_version: the version it names; may be empty.
            correlation_id: its own; may be empty.
            latency_secs: how long it took to refuse.
        """
        self.received(size, model, model_version, correlation_id)
        line = _Line(self._line.principal, self._line.credential, self._line.method, self._line.peer)
        line.received(size, model, model_version, correlation_id)
        self._audit._write("refused", line, code, reason, latency_secs)

    def close(self, code: grpc.StatusCode, reason: str = "") -> None:
        """Writes the call's line; only the first time.

        Args:
            code: what the call ends with.
            reason: the proxy's words where that is not OK.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._audit._write("stream", self._line, code, reason, self._audit._clock() - self._began)


def _bounded(text: str, longest: int = _LONGEST_TEXT) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"

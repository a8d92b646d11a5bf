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

from mm_service.line_sink import LineSink, LineSinkStatistics
from mm_service.status import Code, Status
from triton_proxy.inference.answer import Timing
from triton_proxy.telemetry.observer import CallInfo, PacketInfo

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
_RefusalKind = tuple[str | None, Code]


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
    trace_id: str | None = None

    @classmethod
    def of(cls, call: CallInfo) -> _Line:
        principal = call.principal
        return cls(
            None if principal is None else _bounded(principal.name),
            call.credential.value if call.credential else None,
            _bounded(call.method),
            _bounded(call.peer),
            trace_id=call.trace_id or None,
        )

    def received(self, packet: PacketInfo) -> None:
        self.count += 1
        self.bytes_in += packet.size
        if packet.model or packet.model_version:
            used = {"model": _bounded(packet.model), "model_version": _bounded(packet.model_version)}
            if used not in self.models:
                if len(self.models) < _MOST_MODELS:
                    self.models.append(used)
                else:
                    self.models_complete = False
        if packet.correlation_id and len(self.correlation_ids) < _MOST_CORRELATION_IDS:
            self.correlation_ids.append(_bounded(packet.correlation_id))


class Audit:
    """Makes the lines. Nothing here waits or fails because of their readers.

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

    def statistics(self) -> LineSinkStatistics:
        """What became of the lines so far."""
        return self._sink.statistics()

    def call_started(self, call: CallInfo) -> CallRecord:
        """The record of a call that begins; it gives one line when the call has ended."""
        return CallRecord(self, call)

    def call_rejected(self, call: CallInfo, status: Status, latency_secs: float) -> None:
        """Writes down that a call was refused before it was known who calls.

        Args:
            call: the call.
            status: why.
            latency_secs: how long it took to refuse.
        """
        line = _Line.of(call)
        with self._lock:
            count = self._refusals.get((line.credential, status.code), 0) + 1
            self._refusals[line.credential, status.code] = count
        if count <= _REFUSALS_WRITTEN:
            self._write("refused", line, status, latency_secs)

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
                self._write("refusals", line, Status(code, reason), secs)

    def _write(self, event: str, line: _Line, status: Status, latency_secs: float) -> None:
        now = datetime.fromtimestamp(self._wall_clock(), timezone.utc).isoformat(timespec="milliseconds")
        fields = {
            "time": now.removesuffix("+00:00") + "Z",
            "event": event,
            **vars(line),
            "result": status.code.name,
            "reason": _bounded(status.text, _LONGEST_REASON) or None,
            "latency_ms": round(max(latency_secs, 0.0) * 1000, 3),
        }
        # ASCII: no character of anybody's text can end the line or be read otherwise by a collector.
        self._sink.add(_ENCODER.encode(fields).encode() + b"\n")

    def close(self) -> None:
        """Writes what waits, for two seconds at the longest."""
        self._closed.set()
        self._summing.join(_CLOSE_SECS)
        self._sink.close(_CLOSE_SECS)


class CallRecord:
    """What is collected about one call. Its methods may be called from any thread."""

    def __init__(self, audit: Audit, call: CallInfo) -> None:
        """Made by `Audit.call_started`."""
        self._audit = audit
        self._call = call
        self._began = audit._clock()
        self._line = _Line.of(call)
        self._lock = threading.Lock()
        self._closed = False

    def packet_admitted(self, packet: PacketInfo) -> None:
        """A packet was accepted."""
        with self._lock:
            self._line.received(packet)

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        """A packet has its answers; see `CallObserver`."""
        del packet, timing, failure
        with self._lock:
            self._line.ok += ok
            self._line.failed += not ok
            self._line.bytes_out += size

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        """Writes a line for one packet that is not let through; the call's own line counts it too.

        Args:
            packet: the packet.
            status: why.
            latency_secs: how long it took to refuse.
        """
        self.packet_admitted(packet)
        line = _Line.of(self._call)
        line.received(packet)
        self._audit._write("refused", line, status, latency_secs)

    def call_ended(self, status: Status) -> None:
        """Writes the call's line; only the first time.

        Args:
            status: what the call ends with.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._audit._write("stream", self._line, status, self._audit._clock() - self._began)


def _bounded(text: str, longest: int = _LONGEST_TEXT) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"

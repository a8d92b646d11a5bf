"""Calls and requests that are traced, on their way to whatever exports their spans; without OpenTelemetry."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mm_service.status import Code, Status
from triton_proxy.inference.answer import Timing
from triton_proxy.telemetry.observer import CallInfo, CallObserver, PacketInfo
from triton_proxy.telemetry.trace import CallTrace, RequestTrace

_LOG = logging.getLogger(__name__)
# A call or a request has a kilobyte at most.
_MOST_WAITING = 2048
# While spans are made and written, calls that are answered share the interpreter with that.
_AT_ONCE = 64
_EVERY_SECS = 1.0
_LONGEST_TEXT = 256
UNANSWERED = "unanswered"


@dataclass(frozen=True)
class FinishedRequest:
    """A request that is over. Texts of the caller's are cut at 256 characters: it may wait for long.

    Attributes:
        trace: where it is traced.
        model: the model that it named; may be empty.
        model_version: the version that it named; may be empty.
        correlation_id: its own; may be empty.
        outcome: ok, failed, rejected or unanswered.
        reason: what went wrong, as `CallObserver` has it; "" where nothing did.
        timing: of its last answer; None where it has none.
        ended: when it was over, by `time.perf_counter`.
    """

    trace: RequestTrace
    model: str
    model_version: str
    correlation_id: str
    outcome: str
    reason: str
    timing: Timing | None
    ended: float


@dataclass(frozen=True)
class FinishedCall:
    """A call that is over.

    Attributes:
        trace: where it is traced.
        method: its method, as observers know it; "" where there is no such method.
        principal: name of its caller, cut likewise.
        requests: how many it had, those included that are not traced.
        code: how it ended.
        ended: when, by `time.perf_counter`.
    """

    trace: CallTrace
    method: str
    principal: str
    requests: int
    code: Code
    ended: float


Finished: TypeAlias = FinishedCall | FinishedRequest


class Exporter(Protocol):
    """Makes spans and sends them."""

    def export(self, finished: Sequence[Finished]) -> bool:
        """Sends the spans of these; waits for that. Returns whether they were taken."""

    def shutdown(self) -> None:
        """Gives up what is being sent, in another thread."""


@dataclass(frozen=True)
class TraceStatistics:
    """What became of calls and requests that are traced.

    Attributes:
        waiting: those that wait for their turn.
        exported: those whose spans were taken.
        dropped: those whose spans were not, and will not be.
    """

    waiting: int
    exported: int
    dropped: int


class Spans:
    """The observer of what is traced. A collector that is slow or gone costs spans, which are counted, and no call."""

    def __init__(
        self, exporter: Exporter, *, most_waiting: int = _MOST_WAITING, every_secs: float = _EVERY_SECS
    ) -> None:
        """Starts the thread that exports.

        Args:
            exporter: makes spans and sends them.
            most_waiting: calls and requests that may wait for their turn; those beyond are dropped.
            every_secs: how long spans wait for others, to go with them.
        """
        self._exporter = exporter
        self._most_waiting = most_waiting
        self._every_secs = every_secs
        self._methods: frozenset[str] = frozenset()
        self._changed = threading.Condition()
        self._finished: deque[Finished] = deque()
        self._closed = self._gave_up = self._failing = False
        self._exported = self._dropped = self._under_way = 0
        self._thread = threading.Thread(target=self._export_all, name="traces", daemon=True)
        self._thread.start()

    def serve(self, methods: Collection[str]) -> None:
        """Says what there is to call; before any call.

        Args:
            methods: as for `Metrics.serve`.
        """
        self._methods = frozenset(methods)

    def statistics(self) -> TraceStatistics:
        """What became of them so far."""
        with self._changed:
            return TraceStatistics(len(self._finished), self._exported, self._dropped)

    def call_started(self, call: CallInfo) -> CallObserver:
        """See `Observer`."""
        return _UNTRACED if call.trace is None else _Call(self, call, call.trace)

    def call_rejected(self, call: CallInfo, status: Status, latency_secs: float) -> None:
        """See `Observer`: what strangers do makes no span."""

    def add(self, finished: Finished) -> None:
        """Adds one; returns at once."""
        with self._changed:
            if self._closed or len(self._finished) >= self._most_waiting:
                self._dropped += 1
            else:
                self._finished.append(finished)

    def served(self, method: str) -> bool:
        """Whether there is such a method."""
        return method in self._methods

    def close(self, longest_secs: float) -> None:
        """Exports what waits and ends.

        Args:
            longest_secs: how long to wait for that; what is not exported then counts as dropped.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(longest_secs)
        with self._changed:
            self._gave_up = True
            # Of what is being sent nobody will hear any more.
            self._dropped += len(self._finished) + self._under_way
            self._finished.clear()
            dropped = self._dropped
        self._exporter.shutdown()
        if dropped:
            _LOG.warning("traces: the spans of %d calls and requests in all were not exported", dropped)

    def _export_all(self) -> None:
        closed = False
        while not closed:
            with self._changed:
                # Not woken by each: a thread that wakes takes the interpreter from a call that is being answered.
                closed = self._changed.wait_for(lambda: self._closed, self._every_secs)
            while finished := self._next():
                self._export(finished)

    def _next(self) -> list[Finished]:
        with self._changed:
            taken = [self._finished.popleft() for _ in range(min(len(self._finished), _AT_ONCE))]
            self._under_way = len(taken)
            return taken

    def _export(self, finished: list[Finished]) -> None:
        try:
            taken = self._exporter.export(finished)
        except Exception as error:  # noqa: BLE001 - the thread has to live on
            _LOG.error("traces: making spans failed with %s", type(error).__name__)
            taken = False
        with self._changed:
            self._under_way = 0
            if self._gave_up:
                return
            self._exported += len(finished) if taken else 0
            self._dropped += 0 if taken else len(finished)
            changed, self._failing = self._failing is taken, not taken
        if changed and taken:
            _LOG.info("traces: the collector takes spans again")
        elif changed:
            _LOG.warning("traces: the collector takes no spans; they are dropped until it does")


class _Untraced:
    """Hears of a call that is not traced."""

    def packet_admitted(self, packet: PacketInfo) -> None:
        pass

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        pass

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        pass

    def call_ended(self, status: Status) -> None:
        pass


_UNTRACED = _Untraced()


class _Call:
    """Hears of one call that is traced. Its methods may be called from any thread."""

    def __init__(self, spans: Spans, call: CallInfo, trace: CallTrace) -> None:
        self._spans = spans
        self._call = call
        self._trace = trace
        self._lock = threading.Lock()
        self._requests = 0
        self._ended = False
        # By the ids of their spans.
        self._under_way: dict[str, tuple[RequestTrace, PacketInfo]] = {}

    def packet_admitted(self, packet: PacketInfo) -> None:
        with self._lock:
            self._requests += 1
            if packet.trace is not None and not self._ended:
                self._under_way[packet.trace.span_id] = packet.trace, packet

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        del latency_secs
        self.packet_admitted(packet)
        self._over(packet, "rejected", status.code.name.lower(), None)

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        del size
        self._over(packet, "ok" if ok else "failed", failure, timing)

    def call_ended(self, status: Status) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            left, self._under_way = list(self._under_way.values()), {}
        for _, packet in left:
            self._finish(packet, UNANSWERED, status.code.name.lower(), None)
        method = self._call.method if self._spans.served(self._call.method) else ""
        principal = self._call.principal.name[:_LONGEST_TEXT] if self._call.principal else ""
        self._spans.add(FinishedCall(self._trace, method, principal, self._requests, status.code, time.perf_counter()))

    def _over(self, packet: PacketInfo, outcome: str, reason: str, timing: Timing | None) -> None:
        if packet.trace is None:
            return
        with self._lock:
            there = self._under_way.pop(packet.trace.span_id, None)
        if there is not None:
            self._finish(packet, outcome, reason, timing)

    def _finish(self, packet: PacketInfo, outcome: str, reason: str, timing: Timing | None) -> None:
        if packet.trace is None:
            return
        self._spans.add(
            FinishedRequest(
                packet.trace,
                packet.model[:_LONGEST_TEXT],
                packet.model_version[:_LONGEST_TEXT],
                packet.correlation_id[:_LONGEST_TEXT],
                outcome,
                reason,
                timing,
                time.perf_counter(),
            )
        )

"""What calls tell of themselves, for whatever keeps or counts it. Nothing here waits, fails or holds a credential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from domino_identity import Kind, Principal
from mm_service.status import Status
from triton_proxy.inference.answer import Timing
from triton_proxy.telemetry import trace
from triton_proxy.telemetry.trace import CallTrace, RequestTrace

# What went wrong with a packet that was accepted, where neither the model's unfitness (`Unfit`, in lower case) nor
# Triton's status (`Code`, in lower case) says it.
INVALID = "invalid"
MODEL_ERROR = "model_error"
ANSWER_TOO_LARGE = "answer_too_large"
RIGHTS_ENDED = "rights_ended"


@dataclass(frozen=True)
class CallInfo:
    """A call.

    Attributes:
        method: full name of the method, as the caller gave it.
        peer: the transport's name of the other end.
        principal: who is calling; None where that was not found out.
        credential: kind of the credential; None where none could be read.
        trace_context: W3C trace context, `traceparent` and `tracestate`, as the caller sent it.
        trace: where the proxy traces the call itself; None where it does not.
    """

    method: str
    peer: str
    principal: Principal | None
    credential: Kind | None
    trace_context: tuple[tuple[str, str], ...] = ()
    trace: CallTrace | None = None

    @property
    def trace_id(self) -> str:
        """The id of the trace that the call belongs to, where that is sampled and can be looked at; "" otherwise."""
        if self.trace is not None:
            return self.trace.trace_id
        context = trace.parse(self.trace_context)
        return context.trace_id if context is not None and context.sampled else ""


@dataclass(frozen=True)
class PacketInfo:
    """One request within a call.

    Attributes:
        size: its bytes.
        model: the model it names; may be empty.
        model_version: the version it names; may be empty.
        correlation_id: its own; may be empty.
        trace: where it is traced; None where it is not.
    """

    size: int
    model: str = ""
    model_version: str = ""
    correlation_id: str = ""
    trace: RequestTrace | None = None


class CallObserver(Protocol):
    """Hears of one call whose caller is known. Its methods may be called from any thread."""

    def packet_admitted(self, packet: PacketInfo) -> None:
        """A packet was accepted: it will be answered."""

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        """A packet was not; the call ends for it.

        Args:
            packet: the packet.
            status: why.
            latency_secs: how long it took to say so.
        """

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        """A packet that was accepted has all its answers.

        Args:
            packet: the packet.
            size: bytes of its answers.
            timing: of the last one.
            ok: whether none of them says that something went wrong.
            failure: what went wrong first: one of the words above, or a name of `Unfit` or `Code` in lower case; ""
                where nothing did. Never anything that a caller chose.
        """

    def call_ended(self, status: Status) -> None:
        """The call has ended; only the first time counts."""


class Observer(Protocol):
    """Hears of all calls."""

    def call_rejected(self, call: CallInfo, status: Status, latency_secs: float) -> None:
        """A call ended before it was known who calls.

        Args:
            call: the call.
            status: why.
            latency_secs: how long it took to say so.
        """

    def call_started(self, call: CallInfo) -> CallObserver:
        """A call whose caller is known begins."""


class Observers:
    """Several observers as one, which hear of everything in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        """Tells these."""
        self._observers = tuple(observers)

    def call_rejected(self, call: CallInfo, status: Status, latency_secs: float) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.call_rejected(call, status, latency_secs)

    def call_started(self, call: CallInfo) -> CallObserver:
        """See `Observer`."""
        return _CallObservers([observer.call_started(call) for observer in self._observers])


class _CallObservers:
    __slots__ = ("_observers",)

    def __init__(self, observers: Sequence[CallObserver]) -> None:
        self._observers = observers

    def packet_admitted(self, packet: PacketInfo) -> None:
        for observer in self._observers:
            observer.packet_admitted(packet)

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        for observer in self._observers:
            observer.packet_rejected(packet, status, latency_secs)

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        for observer in self._observers:
            observer.packet_answered(packet, size, timing, ok=ok, failure=failure)

    def call_ended(self, status: Status) -> None:
        for observer in self._observers:
            observer.call_ended(status)

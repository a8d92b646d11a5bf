"""All calls: how many there are, that none outlives its caller's rights, and how they end in a drain."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from mm_service.status import Code, Status
from mm_service.supervisor import Workers
from triton_proxy.admission.admission import AdmittedCall
from triton_proxy.serving.active_call import ActiveCall
from triton_proxy.serving.call import Call
from triton_proxy.serving.pipeline import Backend
from triton_proxy.serving.protocol import WireProtocol

_DRAINING = Status(
    Code.UNAVAILABLE,
    "the proxy is shutting down; packets without an Ack were not accepted, send them again",
)
# How often calls are looked through for lapsed decisions (those that send packets are checked at each) and stalls.
_WATCH_EVERY_SECS = 0.25
_CONFIRMERS = 4
# A caller may look at an Ack for as long as it likes, unless others wait for the memory that its answers take.
_STALLED_SECS = 10.0
# A unary call is opened with its packet at hand: what takes longer holds a place, and what came of it, in vain.
_MESSAGE_SECS = 60.0


@dataclass(frozen=True)
class CallStatistics:
    """Calls that have a place.

    Attributes:
        open: how many.
        unheard: of these, those that have sent no packet.
        sending: those whose Ack waits to be taken.
        lapsed: those whose callers are to be confirmed.
        gave_way: calls so far that gave their place to another.
        refused: calls so far for which there was none.
        draining: whether there are no places any more.
    """

    open: int
    unheard: int
    sending: int
    lapsed: int
    gave_way: int
    refused: int
    draining: bool


class ActiveCalls:
    """Serves calls of all methods; MAX_CALLS of them at once."""

    def __init__(self, backend: Backend) -> None:
        """Nothing is served yet.

        Args:
            backend: what all calls are served with.
        """
        self._backend = backend
        self._most = backend.limits.most_calls
        # In the order of their coming; those that gave way have no place, but are still to end.
        self._calls: dict[ActiveCall, None] = {}
        self._ending: set[ActiveCall] = set()
        self._lock = threading.Condition()
        self._draining = False
        self._gave_way = self._refused = 0
        self._confirmers = Workers(_CONFIRMERS, "confirm", setting="MAX_CALLS")
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="calls", daemon=True)
        self._watcher.start()

    def statistics(self) -> CallStatistics:
        """What there is at this moment."""
        with self._lock:
            calls = list(self._calls)
            gave_way, refused, draining = self._gave_way, self._refused, self._draining
        return CallStatistics(
            open=len(calls),
            unheard=sum(call.unheard_since is not None for call in calls),
            sending=sum(call.stalled_for(0) for call in calls),
            lapsed=sum(call.admitted.lapsed for call in calls),
            gave_way=gave_way,
            refused=refused,
            draining=draining,
        )

    def begin(self, call: Call, protocol: WireProtocol, admitted: AdmittedCall, *, unary: bool) -> None:
        """Serves a call; ends it at once where MAX_CALLS are open or the proxy shuts down.

        Args:
            call: the transport's side of it.
            protocol: what its bytes mean.
            admitted: what it may do.
            unary: whether the caller sends one packet.
        """
        active = ActiveCall(call, protocol, admitted, self._backend, unary=unary)
        call.on_end(active.ended)
        entered = self._enter(active)
        # Not before no thread is at work on it, of which there may be one for each place; nor before it has its place,
        # which a call that is closed already would never give back.
        call.on_closed(lambda: self._discard(active))
        # A call that has no place is not read either: what waits to be read would stay in memory.
        if not entered:
            return
        if not unary:
            # A client that has to open its stream anew sends nothing before it knows that somebody is there to accept
            # it.
            call.accept()
        active.start()

    def _enter(self, call: ActiveCall) -> bool:
        """Gives a call a place, or ends it; whether it has one."""
        with self._lock:
            idle = None
            if len(self._calls) - len(self._ending) >= self._most:
                idle = next(
                    (each for each in self._calls if each.unheard_since is not None and each not in self._ending),
                    None,
                )
                if idle is not None:
                    self._ending.add(idle)
                    self._gave_way += 1
            full, draining = len(self._calls) - len(self._ending) >= self._most, self._draining
            self._refused += full
            if not full:
                self._calls[call] = None
        if idle is not None:
            idle.end(self._exhausted("this call sent no packet and gives its place to another; open it with a packet"))
        if full:
            call.end(self._exhausted("try again later"))
        elif draining:
            call.end(_DRAINING)
        return not full and not draining

    def _exhausted(self, advice: str) -> Status:
        text = f"{self._most} calls are being served already, as many as MAX_CALLS={self._most} allows; {advice}"
        return Status(Code.RESOURCE_EXHAUSTED, text, retry_after_secs=1.0)

    def _discard(self, call: ActiveCall) -> None:
        with self._lock:
            self._calls.pop(call, None)
            self._ending.discard(call)
            self._lock.notify_all()

    def drain(self, longest_secs: float) -> None:
        """Accepts no more packets; those accepted are answered, then the calls end with UNAVAILABLE.

        Args:
            longest_secs: how long to wait for that.
        """
        with self._lock:
            self._draining = True
            calls = list(self._calls)
        for call in calls:
            call.end(_DRAINING)
        with self._lock:
            self._lock.wait_for(lambda: not self._calls, longest_secs)

    def close(self) -> None:
        """Gives the threads back; call it when no stream is left."""
        self._closed.set()
        self._watcher.join()
        self._confirmers.shutdown(wait=False)

    def _watch(self) -> None:
        """Looks for calls that outlive their callers' rights: one that sends nothing would never be checked.

        And for those whose callers take no Acks, while others wait for the memory that these hold.
        """
        asked: dict[ActiveCall, Future[None]] = {}
        while not self._closed.wait(_WATCH_EVERY_SECS):
            asked = {call: answer for call, answer in asked.items() if not answer.done()}
            with self._lock:
                calls = list(self._calls)
            lapsed = [call for call in calls if call.admitted.lapsed and call not in asked]
            asked |= {call: self._confirmers.submit(call.confirm) for call in lapsed}
            self._end_silent(calls)
            for call in calls:
                if call.stalled_for(_STALLED_SECS):
                    self._drop_stalled(call)

    def _drop_stalled(self, call: ActiveCall) -> None:
        if call.revoked:
            call.drop(f"the caller took no Ack for {_STALLED_SECS:g} s after its rights had ended")
        elif call.admitted.crowded:
            call.drop(f"the caller took no Ack for {_STALLED_SECS:g} s while others waited for the memory")

    def _end_silent(self, calls: list[ActiveCall]) -> None:
        since = time.monotonic() - _MESSAGE_SECS
        for call in calls:
            if call.unary and call.unheard_since is not None and call.unheard_since <= since:
                text = f"the packet did not come within {_MESSAGE_SECS:g} s; send it with the call"
                call.end(Status(Code.DEADLINE_EXCEEDED, text))

"""One unary call: a packet and its Ack, and no thread that waits for either."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import grpc

from triton_proxy.event_call import FAILED, EventCall
from triton_proxy.gate import Ending, Passage, Refusal
from triton_proxy.inference import Inference
from triton_proxy.intake import Admitted, Intake, Shared
from triton_proxy.work import Work

# What is larger would hold up the threads in which all packets and all answers arrive: it is looked at in another. What
# is smaller is looked at in less than a few milliseconds, as a packet names 256 of anything at most.
_AT_ONCE_BYTES = 64 * 1024
_EMPTY = Ending(grpc.StatusCode.INVALID_ARGUMENT, "the call has no packet; SendUnary takes one")


class Unary:
    """A unary call. Each step is done where what it waited for arrives, or else in a thread of its own.

    Attributes:
        passage: what the call may do.
        over: set when the call has ended, its status sent.
        unheard_since: when it began, by `time.monotonic`, where its packet has not come yet.
    """

    def __init__(self, call: EventCall, passage: Passage, shared: Shared, threads: Executor) -> None:
        """Receives nothing yet.

        Args:
            call: grpc's side of it.
            passage: what the call may do.
            shared: what all calls share.
            threads: for what has to wait.
        """
        self.passage = passage
        self.over = threading.Event()
        self.unheard_since: float | None = time.monotonic()
        self._call = call
        self._settings = shared.settings
        self._intake = Intake(shared, passage, call.context, unary=True)
        self._threads = threads
        call.fail = self._fail
        self._lock = threading.Lock()
        self._accepted = False
        self._ended = False
        self._work: Work | None = None
        self._sent = 0
        self._sending_since: float | None = None
        self._dropped = ""

    def receive(self) -> None:
        """Serves the call."""
        if self._call.context.add_callback(self._over):
            self._call.receive(self._received)
        else:
            self._over()

    def end(self, ending: Ending) -> None:
        """Ends the call so, unless its packet was accepted already."""
        with self._lock:
            if self._accepted or self._ended:
                return
            self._ended = True
        self.passage.finish()
        self._call.abort(ending.code, ending.text, ending.trailing_metadata)

    def confirm(self) -> None:
        """Ends the call where the caller is not who it was any more, unless its packet was accepted already."""
        if self._accepted:
            return
        try:
            self.passage.confirm(time.monotonic() + self._settings.auth_timeout_secs)
        except Refusal as refusal:
            self.end(refusal.ending)

    @property
    def revoked(self) -> bool:
        """Whether it is known that the caller's rights have ended; an accepted packet is answered all the same."""
        return False

    def stalled_for(self, secs: float) -> bool:
        """Whether the caller has not taken its Ack for so long."""
        return self._sending_since is not None and time.monotonic() - self._sending_since > secs

    def drop(self, why: str) -> None:
        """Ends the call at once, which the caller sees as CANCELLED: no status reaches who does not read.

        Args:
            why: for the audit log.
        """
        self._dropped = why
        self._call.context.cancel()

    def _received(self, raw: bytes | None) -> None:
        arrived = time.perf_counter()
        self.unheard_since = None
        if raw is None:
            self.end(_EMPTY)
        elif len(raw) > _AT_ONCE_BYTES:
            self._later(self._take, raw, arrived)
        else:
            self._take(raw, arrived, waiting=False)

    def _take(self, raw: bytes, arrived: float, *, waiting: bool = True) -> None:
        try:
            admitted = self._intake.admit(raw, arrived, waiting=waiting)
        except Refusal as refusal:
            self.end(refusal.ending)
            return
        if admitted is not None:
            self._accept(admitted, waiting=waiting)
        elif not waiting:
            self._later(self._take, raw, arrived)

    def _accept(self, admitted: Admitted, *, waiting: bool) -> None:
        # Settled before anything is asked of Triton: a packet that was not accepted may be sent again.
        with self._lock:
            if self._ended or self.over.is_set():
                return
            self._accepted = True
        self.passage.received(admitted.request)
        work = Work(admitted.request, admitted.room, admitted.arrived)
        self._begin(admitted, work, waiting=waiting)

    def _begin(self, admitted: Admitted, work: Work, *, waiting: bool = True) -> None:
        work.outcome = self._intake.begin(admitted, work, waiting=waiting)
        if work.outcome is None:
            self._later(self._begin, admitted, work)
            return
        self._work = work
        if self.over.is_set():
            work.cancel()
        elif isinstance(work.outcome, Inference):
            work.outcome.add_done_callback(lambda size: self._inferred(work, size))
        else:
            self._answer(work)

    def _inferred(self, work: Work, size: int) -> None:
        work.answered(size)
        # An Ack names all outputs that the packet does, however little there is in them.
        if max(size, work.request.bytes_seen) > _AT_ONCE_BYTES:
            self._later(self._answer, work)
        else:
            self._call.guard(self._answer, work)

    def _answer(self, work: Work) -> None:
        try:
            reply = next(work.replies(self._settings.max_message_bytes))
        except grpc.FutureCancelledError:
            return  # The caller went away.
        self._sent = reply.size
        self._sending_since = time.monotonic()
        self._call.answer(reply.serialized())

    def _over(self) -> None:
        """The call has ended: drops what is under way still, for which nobody waits."""
        self.over.set()
        work, ending = self._work, self._call.ending
        if work is not None:
            work.cancel()
        if ending is None or self._call.cancelled:
            self.passage.close(grpc.StatusCode.CANCELLED, self._dropped or "the caller went away")
        else:
            if work is not None and self._sent:
                self.passage.answered(work.request, self._sent, ok=not work.failed)
            self.passage.close(*ending)

    def _fail(self) -> None:
        """Also after a mistake a packet that was not accepted may be sent again, and the caller is told so."""
        self.end(Ending(*FAILED))
        self._call.abort(*FAILED)

    def _later(self, step: Callable[..., None], *arguments: Any) -> None:
        self._call.later(self._threads, step, *arguments)

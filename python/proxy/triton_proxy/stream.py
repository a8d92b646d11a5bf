"""One stream: each packet gets its Ack, in the packets' order, while later packets are already at work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import grpc

from triton_proxy.gate import Ending, Passage, Refusal
from triton_proxy.inference import Inference
from triton_proxy.intake import Intake, Shared
from triton_proxy.lane import Lane, Slot
from triton_proxy.work import Work

_LOG = logging.getLogger(__name__)
_ENDED_WELL = Ending(grpc.StatusCode.OK, "")
_FAILED = Ending(grpc.StatusCode.INTERNAL, "the proxy failed on this stream; its log says why")


class Stream:
    """The two halves of a stream: `answers` in the call's thread, `read` in another one.

    Attributes:
        passage: what the call may do.
        over: set when the call has ended, its status sent.
        unheard_since: when it began, by `time.monotonic`, where no packet has come yet.
    """

    def __init__(
        self,
        requests: Iterator[bytes],
        passage: Passage,
        context: grpc.ServicerContext,
        shared: Shared,
    ) -> None:
        """Reads nothing yet.

        Args:
            requests: serialized DataPackets; reading one may block.
            passage: what the call may do.
            context: of the call.
            shared: what all calls share.
        """
        self.passage = passage
        self._requests = requests
        self._context = context
        self._settings = shared.settings
        self._intake = Intake(shared, passage, context, unary=False)
        self._lane: Lane[Work] = Lane(shared.settings.stream_window)
        self._current: Work | None = None
        self._ending: Ending | None = None
        # All that the caller had to send was accepted: whatever comes to an end then, this call ends well.
        self._complete = False
        self.over = threading.Event()
        self.unheard_since: float | None = time.monotonic()
        self._cut = ""
        self._sending_since: float | None = None
        self._result = Ending(grpc.StatusCode.CANCELLED, "the caller went away")
        # Runs when the call has ended, also where the caller cancels while `answers` waits for Triton.
        if not context.add_callback(self._over):
            self._over()

    def read(self) -> None:
        """Takes packets in for as long as there is room, and begins the work on each."""
        try:
            while not self._complete and self._lane.reserve():
                raw = next(self._requests, None)
                self.unheard_since = None
                if raw is not None and not self._accept(raw):
                    break
                self._complete = raw is None
                del raw  # Its megabytes would stay while the next one is waited for.
        except grpc.RpcError:
            pass  # The caller went away; `_over` cleans up.
        except Refusal as refusal:
            self._refuse(refusal)
        except Exception:  # noqa: BLE001 - whatever it is, the stream must end: it would hang otherwise
            _LOG.exception("reading a stream failed")
            self.end(_FAILED)
        finally:
            self._lane.finish()

    def answers(self) -> Iterator[bytes]:
        """The Acks in the packets' order; aborts the call where the proxy has to end it."""
        while self._take():
            try:
                yield from self._deliver()
            except grpc.FutureCancelledError:
                return
            self._lane.release()
        if self._ending is None or self._complete:
            self._result = _ENDED_WELL
            return
        self._result = self._ending
        self._context.set_trailing_metadata(self._ending.trailing_metadata)
        self._context.abort(self._ending.code, self._ending.text)

    def _take(self) -> bool:
        """Waits for the next packet to be answered; what the one before held must not stay meanwhile."""
        self._current = None
        self._current = self._lane.get()
        if self._current is not None:
            if self.over.is_set():
                self._current.cancel()
            elif self._cut:
                self._current.cut(self._cut)
        return self._current is not None

    def _deliver(self) -> Iterator[bytes]:
        work, sent = self._current, 0
        assert work is not None  # noqa: S101 - `_take` said so
        for reply in work.replies(self._settings.max_message_bytes):
            sent += reply.size
            # Of one that has any number of answers, each has room while the caller takes it.
            own_room = reply.size if work.decoupled else 0
            work.room.resize(work.room.size + own_room)
            self._sending_since = time.monotonic()
            yield reply.serialized()
            self._sending_since = None
            work.room.resize(max(work.room.size - own_room, 0))
        work.room.close()
        self.passage.answered(work.request, sent, ok=not work.failed)

    def end(self, ending: Ending) -> None:
        """Accepts no more packets and, after the Acks of those accepted, ends the call so."""
        self._ending = self._ending or ending
        self._lane.finish()
        self.passage.finish()

    def confirm(self) -> None:
        """Ends the call where the caller is not who it was any more."""
        if self._ending is not None:
            return
        try:
            self.passage.confirm(time.monotonic() + self._settings.auth_timeout_secs)
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Ends the call; what was accepted is answered, but by no model that may go on answering for ever."""
        if refusal.of_identity:
            self._cut = f"the inference was ended before its last answer: {refusal.ending.text}"
        self.end(refusal.ending)
        if self._cut:
            for work in [*self._lane.items(), self._current]:
                if work is not None:
                    work.cut(self._cut)

    @property
    def revoked(self) -> bool:
        """Whether it is known that the caller's rights have ended."""
        return bool(self._cut)

    def stalled_for(self, secs: float) -> bool:
        """Whether the caller has not taken an Ack for so long."""
        since = self._sending_since
        return since is not None and time.monotonic() - since > secs

    def drop(self, why: str) -> None:
        """Ends the call at once, which the caller sees as CANCELLED: no status reaches who does not read.

        Args:
            why: for the audit log.
        """
        self._result = Ending(grpc.StatusCode.CANCELLED, why)
        self._context.cancel()

    def _over(self) -> None:
        """The call has ended: drops what is under way still, for which nobody waits."""
        self.over.set()
        for work in [*self._lane.close(), self._current]:
            if work is not None:
                work.cancel()
        self.passage.close(self._result.code, self._result.text)

    def _accept(self, raw: bytes) -> bool:
        """Begins the work on a packet; False when the call was ended meanwhile."""
        admitted = self._intake.admit(raw, time.perf_counter())
        # Settled before anything is asked of Triton: a packet that was not accepted may be sent again.
        if admitted is None or not self._lane.accept():
            return False
        self.passage.received(admitted.request)
        work = Work(admitted.request, admitted.room, admitted.arrived)
        try:
            work.outcome = self._intake.begin(admitted, work)
        except BaseException:
            self._lane.withdraw()
            raise
        inference = work.outcome if isinstance(work.outcome, Inference) else None
        # An Ack is waited for here only, not in `answers`: to wake a thread costs more than most of what is done for a
        # small packet.
        slot = self._lane.put(work, ready=inference is None or inference.decoupled)
        if slot is None:
            work.cancel()
            return False
        if inference is not None:
            inference.add_done_callback(lambda answer_size: self._inferred(slot, answer_size))
        return True

    def _inferred(self, slot: Slot[Work], answer_size: int) -> None:
        slot.item.answered(answer_size)
        self._lane.settle(slot)

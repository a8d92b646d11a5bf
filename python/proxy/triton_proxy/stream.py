"""One stream: each packet gets its Ack, in the packets' order, while later packets are already at work."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import grpc

from multimodal_contract import pb
from triton_proxy import packet as packets
from triton_proxy.gate import Ending, Passage, Refusal
from triton_proxy.lane import Lane
from triton_proxy.reply import Request
from triton_proxy.settings import Settings
from triton_proxy.triton import Inference, TimeLimit, Triton, TritonError

_LOG = logging.getLogger(__name__)
_ENDED_WELL = Ending(grpc.StatusCode.OK, "")
_FAILED = Ending(grpc.StatusCode.INTERNAL, "the proxy failed on this stream; its log says why")


class _Work:
    """One packet under way: either its inference, or an Ack that needs none."""

    def __init__(self, request: Request, arrived: float) -> None:
        self.request = request
        self.timing = pb.Timing(recv_to_decode_ms=_milliseconds_since(arrived))
        self.outcome: Inference | packets.Refused | packets.Noted | None = None
        self._arrived = arrived

    def cancel(self) -> None:
        """Nobody waits for the Ack any more."""
        if isinstance(self.outcome, Inference):
            self.outcome.cancel()

    def ack(self) -> pb.Ack:
        """Waits for the Ack."""
        if isinstance(self.outcome, Inference):
            return self._inferred(self.outcome)
        self.timing.total_ms = _milliseconds_since(self._arrived)
        if isinstance(self.outcome, packets.Refused):
            return self.request.failure(self.outcome.reason.status, self.outcome.text, self.timing)
        return self.request.noted(self.timing)

    def _inferred(self, inference: Inference) -> pb.Ack:
        try:
            model_version, outputs = inference.result()
        except TritonError as error:
            self.timing.triton_infer_ms = inference.milliseconds
            self.timing.total_ms = _milliseconds_since(self._arrived)
            return self.request.failure(pb.INTERNAL, str(error), self.timing, backend=True)
        answered = time.perf_counter()
        self.timing.triton_infer_ms = inference.milliseconds
        ack = self.request.success(model_version, outputs, self.timing)
        ack.timing.postprocess_ms = _milliseconds_since(answered)
        ack.timing.total_ms = _milliseconds_since(self._arrived)
        return ack


class Stream:
    """The two halves of a stream: `read` in a thread of its own, `answers` in the call's thread."""

    def __init__(
        self,
        requests: Iterator[bytes],
        passage: Passage,
        context: grpc.ServicerContext,
        triton: Triton,
        settings: Settings,
        *,
        expected: int | None,
    ) -> None:
        """Reads nothing yet.

        Args:
            requests: serialized DataPackets; reading one may block.
            passage: what the call may do.
            context: of the call.
            triton: whom to ask.
            settings: what to run with.
            expected: after how many packets no more come; None where the caller says so itself.
        """
        self._expected = expected
        self.passage = passage
        self._requests = requests
        self._context = context
        self._triton = triton
        self._settings = settings
        self._lane: Lane[_Work] = Lane(settings.stream_window)
        self._current: _Work | None = None
        self._ending: Ending | None = None
        # All that the caller had to send was accepted: whatever comes to an end then, this call ends well.
        self._complete = False
        self._gone = False
        self._result = Ending(grpc.StatusCode.CANCELLED, "the caller went away")
        # Runs when the call has ended, also where the caller cancels while `answers` waits for Triton.
        if not context.add_callback(self._over):
            self._over()

    def read(self) -> None:
        """Takes packets in for as long as there is room, and begins the work on each."""
        try:
            accepted = 0
            while not self._complete and self._lane.reserve():
                raw = next(self._requests, None)
                if raw is not None and not self._accept(raw):
                    break
                accepted += 1
                self._complete = raw is None or accepted == self._expected
                del raw  # Its megabytes would stay while the next one is waited for.
        except grpc.RpcError:
            pass  # The caller went away; `_over` cleans up.
        except Refusal as refusal:
            self.end(refusal.ending)
        except Exception:  # noqa: BLE001 - whatever it is, the stream must end: it would hang otherwise
            _LOG.exception("reading a stream failed")
            self.end(_FAILED)
        finally:
            self._lane.finish()

    def answers(self) -> Iterator[bytes]:
        """The Acks in the packets' order; aborts the call where the proxy has to end it."""
        while (work := self._lane.get()) is not None:
            self._current = work
            if self._gone:
                work.cancel()
            try:
                ack, serialized = self._answer(work)
            except grpc.FutureCancelledError:
                return
            yield serialized
            self.passage.answered(work.request, ack, len(serialized))
            self._lane.release()
        if self._ending is None or self._complete:
            self._result = _ENDED_WELL
            return
        self._result = self._ending
        self._context.set_trailing_metadata(self._ending.trailing_metadata)
        self._context.abort(self._ending.code, self._ending.text)

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
            self.end(refusal.ending)

    def _over(self) -> None:
        """The call has ended: drops what is under way still, for which nobody waits."""
        self._gone = True
        for work in [*self._lane.close(), self._current]:
            if work is not None:
                work.cancel()
        self.passage.close(self._result.code, self._result.text)

    def _accept(self, raw: bytes) -> bool:
        """Begins the work on a packet; False when the call was ended meanwhile."""
        arrived = time.perf_counter()
        size = len(raw)
        # A packet that is refused before it is parsed is known by its size alone.
        request = Request(pb.DataPacket(), size)
        try:
            if size > self._settings.max_message_bytes:
                raise Refusal(_too_large("packet", size, self._settings.max_message_mb))
            self.passage.confirm(time.monotonic() + self._settings.auth_timeout_secs)
            if not self.passage.admit(size):
                return False
            outcome = packets.read(raw, require_model_version=self._settings.require_model_version)
            request = Request(outcome.packet, size)
            if isinstance(outcome, packets.Accepted):
                self.passage.use(request.control.model, request.control.model_version)
        except Refusal as refusal:
            self.passage.refused(refusal.ending, request, time.perf_counter() - arrived)
            raise
        # Settled before anything is asked of Triton: a packet that was not accepted may be sent again.
        if not self._lane.accept():
            return False
        self.passage.received(request)
        work = _Work(request, arrived)
        if isinstance(outcome, packets.Accepted):
            work.outcome = self._infer(request, outcome)
            work.outcome.add_done_callback(lambda: self.passage.freed(size))
        else:
            work.outcome = outcome
            self.passage.freed(size)
        if self._lane.put(work):
            return True
        work.cancel()
        return False

    def _infer(self, request: Request, accepted: packets.Accepted) -> Inference:
        control = request.control
        return self._triton.infer(
            control.model, control.model_version, accepted.inputs, cid=request.cid, limit=self._limit(control)
        )

    def _limit(self, control: pb.Control) -> TimeLimit:
        if control.timeout_secs:
            limit = TimeLimit(control.timeout_secs, "control.timeout_secs")
        else:
            limit = TimeLimit(self._settings.default_timeout_secs, "DEFAULT_TIMEOUT_SECS")
        left = self._context.time_remaining()
        return limit if left is None or left > limit.secs else TimeLimit(max(left, 0), "the call's deadline")

    def _answer(self, work: _Work) -> tuple[pb.Ack, bytes]:
        ack = work.ack()
        serialized = ack.SerializeToString()
        if len(serialized) > self._settings.max_message_bytes:
            text = _too_large("answer", len(serialized), self._settings.max_message_mb).text
            ack = work.request.failure(pb.INTERNAL, text, work.timing, backend=True)
            serialized = ack.SerializeToString()
        return ack, serialized


def _too_large(what: str, size: int, limit_mb: int) -> Ending:
    return Ending(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{what} of {size} bytes is over the limit of {limit_mb} MiB; "
        f"the operator sets it with MAX_MESSAGE_MB={limit_mb}, on the proxy and for clients alike",
    )


def _milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

"""One call under way: each packet gets its answers, in the packets' order, while later packets are already at work.

Nothing here waits, and no thread belongs to a call: each step is taken where what it needs arrives, or, where it would
wait or compute, where the call's transport has threads for that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mm_service.status import OK, Code, Status
from mm_service.waiting import WouldBlock
from multimodal_contract.wire import Buffer
from triton_proxy.admission.admission import AdmittedCall, CallRejected
from triton_proxy.admission.budget import Reservation, ShareFinished
from triton_proxy.inference.answer import InferenceCancelled
from triton_proxy.serving.call import FAILED, Call
from triton_proxy.serving.exchange import LIGHT_BYTES, Exchange
from triton_proxy.serving.left import Left
from triton_proxy.serving.ordered_window import OrderedWindow, Slot, WindowFinished
from triton_proxy.serving.pipeline import Backend, Pipeline
from triton_proxy.serving.protocol import Reply, WireProtocol

_LOG = logging.getLogger(__name__)
_GONE = Status(Code.CANCELLED, "the caller went away")
# What a caller leaves that took answers as they came is read to its end; one that took none for so long has held its
# model up, and its inference is cancelled: docs/adr/0032-cancels-that-kill-triton.md.
_STALLED_SECS = 0.1


class ActiveCall:
    """A stream of packets, or the one packet of a unary call.

    Attributes:
        admitted: what the call may do.
        unary: whether the caller sends one packet.
        over: whether the call has ended, its status sent.
        unheard_since: when it began, by `time.monotonic`, where no packet has come yet.
    """

    def __init__(
        self, call: Call, protocol: WireProtocol, admitted: AdmittedCall, backend: Backend, *, unary: bool
    ) -> None:
        """Receives nothing yet.

        Args:
            call: the transport's side of it.
            protocol: what its bytes mean.
            admitted: what it may do; closed when the call has ended.
            backend: what all calls are served with.
            unary: whether the caller sends one packet.
        """
        self.admitted = admitted
        self.unary = unary
        self.over = False
        self.unheard_since: float | None = time.monotonic()
        self._call = call
        self._limits = backend.limits
        self._pipeline = Pipeline(backend, protocol, admitted, call.time_left, unary=unary)
        self._window: OrderedWindow[Exchange] = OrderedWindow(1 if unary else backend.limits.stream_window)
        self._current: Exchange | None = None
        self._left = Left(admitted.over)
        self._replies: Iterator[Reply] = iter(())
        self._sent_bytes = self._reply_bytes = 0
        self._sending_since: float | None = None
        self._ending: Status | None = None
        self._failure: Status | None = None
        # What the call ends with instead of its one answer.
        self._refusal: Status | None = None
        # All that the caller had to send was accepted: whatever comes to an end then, this call ends well.
        self._complete = False
        # An answer that was begun could not be made: there is no next one.
        self._broken = False
        self._cut = ""
        self._result = _GONE

    def start(self) -> None:
        """Serves the call."""
        self._call.count(lambda size: self.admitted.arrive(size, self._call.resume))
        self.receive()

    def receive(self) -> None:
        """Asks for the next packet, unless as many are under way as may, or no more are taken."""
        if self._complete:
            return
        try:
            self._window.reserve_nowait()
        except (WouldBlock, WindowFinished):
            return
        self._guard(self._call.receive, self._received)

    def end(self, status: Status) -> None:
        """Accepts no more packets and, once those accepted are answered, ends the call so."""
        self._ending = self._ending or status
        self._window.finish()
        self.admitted.finish()
        self._deliver()

    def confirm(self) -> None:
        """Ends the call where the caller is not who it was any more; waits for that."""
        if self._ending is not None or (self.unary and self._complete):
            return
        try:
            self.admitted.confirm(time.monotonic() + self._limits.auth_timeout_secs)
        except CallRejected as rejection:
            self._reject(rejection)

    @property
    def revoked(self) -> bool:
        """Whether it is known that the caller's rights have ended, while it may still have answers to come."""
        return bool(self._cut)

    def stalled_for(self, secs: float) -> bool:
        """Whether the caller has not taken an answer for so long."""
        since = self._sending_since
        return since is not None and time.monotonic() - since > secs

    def drop(self, why: str) -> None:
        """Ends the call at once, which the caller sees as CANCELLED.

        Args:
            why: for the observers.
        """
        self._result = Status(Code.CANCELLED, why)
        self._call.cancel()

    def ended(self) -> None:
        """The call has ended: drops what is under way still."""
        self.over = True
        for exchange in [*self._window.close(), self._current]:
            if exchange is not None:
                if exchange is self._current and not self.stalled_for(_STALLED_SECS):
                    exchange.leave()
                else:
                    exchange.cancel()
                if exchange.inference is not None:
                    self._left.keep(exchange.inference)
        self._left.end()
        self.admitted.ended(self._result)

    # Packets in.

    def _received(self, raw: bytes | None) -> None:
        arrived = time.perf_counter()
        self.unheard_since = None
        if raw is None:
            self._guard(self._no_more)
        elif len(raw) > LIGHT_BYTES:
            self._guard(self._later, self._admit, raw, arrived)
        else:
            self._guard(self._admit_nowait, raw, arrived)

    def _no_more(self) -> None:
        if self.unary:
            method = self._call.head.method.rpartition("/")[2]
            self.end(Status(Code.INVALID_ARGUMENT, f"the call has no packet; {method} takes one"))
            return
        self._complete = True
        self._window.finish()
        self._deliver()

    def _admit_nowait(self, raw: bytes, arrived: float) -> None:
        try:
            exchange = self._pipeline.admit_nowait(raw, arrived)
        except WouldBlock:
            self._later(self._admit, raw, arrived)
        else:
            self._accept(exchange, self._begin_nowait)

    def _admit(self, raw: bytes, arrived: float) -> None:
        self._accept(self._pipeline.admit(raw, arrived), self._begin)

    def _accept(self, exchange: Exchange, begin: Callable[[Exchange], None]) -> None:
        # Settled before anything is asked of Triton: a packet that was not accepted may be sent again.
        if not self._window.accept():
            return
        self._complete = self.unary
        self.admitted.packet_admitted(exchange.info)
        begin(exchange)

    def _begin_nowait(self, exchange: Exchange) -> None:
        try:
            self._begun(exchange, self._pipeline.begin_nowait)
        except WouldBlock:
            try:
                self._later(self._begin, exchange)
            except BaseException:
                self._window.withdraw()
                raise

    def _begin(self, exchange: Exchange) -> None:
        self._begun(exchange, self._pipeline.begin)

    def _begun(self, exchange: Exchange, begin: Callable[[Exchange], None]) -> None:
        try:
            begin(exchange)
        except WouldBlock:
            raise
        except BaseException:
            self._window.withdraw()
            raise
        inference = exchange.inference
        slot = self._window.put(exchange, ready=inference is None or inference.decoupled)
        if slot is None:
            exchange.cancel()
            return
        if self.unary:
            self._window.finish()
        if inference is not None:
            inference.add_done_callback(partial(self._inferred, slot))
        self._deliver()
        self.receive()

    def _inferred(self, slot: Slot[Exchange], answer_size: int) -> None:
        slot.item.inferred(answer_size)
        self._window.settle(slot)
        self._guard(self._deliver)

    # Answers out.

    def _deliver(self) -> None:
        """Begins to send the next packet's answers, where its turn has come."""
        try:
            exchange = self._window.take_nowait()
        except WouldBlock:
            return
        except WindowFinished:
            self._finish()
            return
        self._current = exchange
        if self.over:
            exchange.cancel()
        elif self._cut:
            exchange.cut(self._cut)
        self._replies = exchange.replies(self._limits.max_message_bytes)
        self._sent_bytes = 0
        self._send(exchange)

    def _send(self, exchange: Exchange) -> None:
        self._call.answer(
            partial(self._next_reply, exchange),
            partial(self._guard, self._taken, exchange),
            heavy=exchange.heavy,
            last=self.unary,
        )

    def _next_reply(self, exchange: Exchange) -> Sequence[Buffer] | None:
        self._reply_bytes = 0
        try:
            reply = next(self._replies, None)
        except InferenceCancelled:
            self._broken = True  # The call is over.
            return None
        except Exception:  # noqa: BLE001 - whatever it is, the call must end: it would hang otherwise
            self._broken = True
            self._fail(at_once=True)
            return None
        if reply is None:
            return None
        if reply.status is not None:
            self._refusal = reply.status
            return None
        self._reply_bytes = reply.size
        self._sent_bytes += reply.size
        if exchange.decoupled:
            # Of any number of answers, each has memory while the caller takes it.
            exchange.reservation.resize(exchange.reservation.size + reply.size)
        self._sending_since = time.monotonic()
        return reply.parts

    def _taken(self, exchange: Exchange) -> None:
        self._sending_since = None
        if self._broken:
            return
        if exchange.decoupled and self._reply_bytes and not exchange.message.satisfied:
            exchange.reservation.resize(max(exchange.reservation.size - self._reply_bytes, 0))
            self._send(exchange)
            return
        if exchange.inference is not None and exchange.inference.left:
            self._left.keep(exchange.inference, partial(self._give_back, exchange.reservation))
        else:
            self._give_back(exchange.reservation)
        if self.unary:
            self._result = self._refusal or OK
        self.admitted.packet_answered(
            exchange.info,
            self._sent_bytes,
            exchange.timing,
            ok=not exchange.failed,
            failure=exchange.failure,
        )
        # What one packet held must not stay while the next is waited for.
        self._current, self._replies = None, iter(())
        if self._window.release():
            self.receive()
        self._deliver()

    def _give_back(self, reservation: Reservation) -> None:
        reservation.close()
        self.admitted.packet_over()

    # The end.

    def _finish(self) -> None:
        if self.over:
            return  # What is cancelled then comes to its end here, too.
        if self._failure is not None:
            status = self._failure
        elif self._refusal is not None:
            status = self._refusal
        elif self._complete or self._ending is None:
            status = OK
        else:
            status = self._ending
        if self._result is _GONE:
            self._result = status
        self._call.finish(status, resend=status is not OK and not (self.unary and self._complete))

    def _reject(self, rejection: CallRejected) -> None:
        """Ends the call; what was accepted is answered, but by no model that may go on answering for ever."""
        if rejection.of_identity and not self.unary:
            self._cut = f"the inference was ended before its last answer: {rejection.status.text}"
        self.end(rejection.status)
        if self._cut:
            for exchange in [*self._window.items(), self._current]:
                if exchange is not None:
                    exchange.cut(self._cut)

    def _later(self, step: Callable[..., None], *arguments: object) -> None:
        self._call.submit(partial(self._guard, step, *arguments))

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        """Takes a step; one that raises ends the call: it would hang otherwise."""
        try:
            step(*arguments)
        except CallRejected as rejection:
            self._reject(rejection)
        except ShareFinished:
            pass  # The call is ending already.
        except Exception:  # noqa: BLE001 - nor may any end the thread that serves all calls
            self._fail(at_once=self.unary)

    def _fail(self, *, at_once: bool) -> None:
        """Ends the call after a mistake of ours; on a stream, what was accepted before is answered still."""
        correlation_id = self._current.info.correlation_id if self._current else ""
        _LOG.exception("a call failed", extra={"trace_id": self.admitted.trace_id, "correlation_id": correlation_id})
        self._failure = FAILED
        self.end(FAILED)
        if at_once:
            self._finish()

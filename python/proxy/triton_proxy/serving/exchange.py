"""One packet and its answers: one object from the packet's acceptance to its last answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

from mm_service.status import Code
from triton_proxy.admission.budget import Reservation
from triton_proxy.inference.answer import Answer, InferenceCancelled, InferenceFailed, Timing
from triton_proxy.inference.query import MayUse
from triton_proxy.inference.rejection import Rejection
from triton_proxy.models.planner import Plan, Planner
from triton_proxy.serving.protocol import Message, Reply
from triton_proxy.telemetry.observer import ANSWER_TOO_LARGE, INVALID, MODEL_ERROR, RIGHTS_ENDED, PacketInfo
from triton_proxy.triton.inference import Inference

# What is larger takes its time to read or to write: not where all messages and all answers arrive.
LIGHT_BYTES = 64 * 1024


class Exchange:
    """A packet under way: either its inference, or an answer that needs none.

    Attributes:
        message: the packet.
        info: what observers know of it.
        reservation: what it has of the memory.
        inference: what was asked of Triton; None where nothing is.
        failed: whether one of its answers so far says that something went wrong.
        failure: what went wrong first, as observers hear of it; "" where nothing did.
        timing: of its latest answer; None before the first.
    """

    def __init__(
        self,
        message: Message,
        info: PacketInfo,
        reservation: Reservation,
        arrived: float,
        *,
        auth_secs: float = 0.0,
        queue_secs: float = 0.0,
    ) -> None:
        """Nothing was asked of Triton yet.

        Args:
            message: the packet.
            info: what observers know of it.
            reservation: what it has of the memory.
            arrived: when it came, by `time.perf_counter`.
            auth_secs: of the time since, for making sure who its caller is.
            queue_secs: of the time since, waiting for its turn and for memory.
        """
        self.message = message
        self.info = info
        self.reservation = reservation
        self.inference: Inference | None = None
        self.failed = False
        self.failure = ""
        self.timing: Timing | None = None
        self._rejection: Rejection | None = None
        self._plan: Plan | None = None
        self._planner: Planner | None = None
        self._may_use: MayUse = _nothing_may_be_used
        self._arrived = arrived
        self._decode_ms = _milliseconds_since(arrived)
        self._auth_ms, self._queue_ms = auth_secs * 1000, queue_secs * 1000
        self._answer_bytes = 0
        self._cut = ""

    def asked(self, inference: Inference, plan: Plan, planner: Planner) -> None:
        """Triton was asked.

        Args:
            inference: what is under way.
            plan: how it was asked.
            planner: hears what comes of the plan.
        """
        self._plan, self._planner = plan, planner
        self.inference = inference

    def queried(self, inference: Inference, may_use: MayUse) -> None:
        """Triton was asked a question.

        Args:
            inference: what is under way.
            may_use: what the caller may hear of.
        """
        self.inference, self._may_use = inference, may_use

    def rejected(self, rejection: Rejection) -> None:
        """The model can't take it."""
        self._rejection = rejection

    @property
    def decoupled(self) -> bool:
        """Whether there may be any number of answers."""
        return self.inference is not None and self.inference.decoupled

    @property
    def heavy(self) -> bool:
        """Whether its answers take their time to come or to write."""
        # An answer names all outputs that the packet does, however little there is in them.
        return self.decoupled or max(self._answer_bytes, self.info.size) > LIGHT_BYTES

    def inferred(self, size: int) -> None:
        """Triton has answered, or will not: from now on the answer is what has memory.

        Args:
            size: bytes of the answer; 0 where there is none.
        """
        self._answer_bytes = size
        # What Triton is still at work on has its memory until that is over.
        if self.inference is None or not self.inference.left:
            self.reservation.resize(size)
        if size and self._planner is not None and self._plan is not None:
            self._planner.answered(self._plan, size)

    def cancel(self) -> None:
        """Nobody waits for the answers any more."""
        if self.inference is not None:
            self.inference.cancel()

    def leave(self) -> None:
        """The caller took the answers as they came, and waits for no more."""
        if self.inference is not None:
            self.inference.leave()

    def cut(self, why: str) -> None:
        """Ends an inference that may have any number of answers with one that says why; others have one anyway.

        Args:
            why: fit for the caller.
        """
        if self.decoupled:
            self._cut = why
            # At once: what ends is a right, at a time that its caller does not choose.
            self.cancel()

    def replies(self, largest: int) -> Iterator[Reply]:
        """The answers, of which a decoupled model gives any number; waits for each.

        Args:
            largest: bytes that one may have.

        Raises:
            InferenceCancelled: `cancel` or `leave` came first.
        """
        if self.inference is not None:
            yield from self._inferred(self.inference, largest)
        elif self._rejection is not None:
            yield self._timed(self.message.rejected(self._rejection), self._rejection.unfit.name.lower())
        else:
            yield self._timed(self.message.reply(), INVALID)

    def _inferred(self, inference: Inference, largest: int) -> Iterator[Reply]:
        try:
            for answer in inference.answers():
                answered = time.perf_counter()
                reply = self._reply(answer)
                if self.message.satisfied and not answer.final:
                    inference.leave()
                if reply is not None:
                    yield self._bounded(reply, largest, inference, MODEL_ERROR, answered, final=answer.final)
                if self.message.satisfied:
                    return
        except InferenceCancelled:
            if not self._cut:
                raise
            yield self._timed(self.message.failed(self._cut, by_triton=False), RIGHTS_ENDED, inference)
        except InferenceFailed as error:
            if self._planner is not None and self._plan is not None:
                self._planner.contradicted(self._plan, error)
            failed = self.message.failed(str(error), by_triton=True, code=error.code)
            yield self._bounded(failed, largest, inference, error.code.name.lower())

    def _reply(self, answer: Answer) -> Reply | None:
        if answer.body is not None:
            return self.message.described(answer.body, self._may_use)
        if answer.error:
            return self.message.failed(answer.error, by_triton=True, final=answer.final)
        return self.message.answered(answer)

    def _bounded(
        self,
        reply: Reply,
        largest: int,
        inference: Inference,
        failure: str,
        answered: float | None = None,
        *,
        final: bool = True,
    ) -> Reply:
        """The answer, or one that says that it would be too large."""
        timed = self._timed(reply, failure, inference, answered)
        if timed.size <= largest:
            return timed
        text = too_large("answer", timed.size, largest)
        too_big = self.message.failed(text, by_triton=True, final=final, code=Code.RESOURCE_EXHAUSTED)
        return self._timed(too_big, ANSWER_TOO_LARGE, inference, answered)

    def _timed(
        self, reply: Reply, failure: str, inference: Inference | None = None, answered: float | None = None
    ) -> Reply:
        if not reply.ok:
            self.failed, self.failure = True, self.failure or failure
        self.timing = Timing(
            decode_ms=self._decode_ms,
            infer_ms=0.0 if inference is None else inference.milliseconds,
            encode_ms=0.0 if answered is None else _milliseconds_since(answered),
            total_ms=_milliseconds_since(self._arrived),
            auth_ms=self._auth_ms,
            queue_ms=self._queue_ms,
        )
        return reply.timed(self.timing)


def too_large(what: str, size: int, limit: int) -> str:
    """Says that a message is over MAX_MESSAGE_MB.

    Args:
        what: the kind of message.
        size: its bytes.
        limit: the setting, in bytes.
    """
    limit_mb = limit // (1024 * 1024)
    return (
        f"{what} of {size} bytes is over the limit of {limit_mb} MiB; "
        f"the operator sets it with MAX_MESSAGE_MB={limit_mb}, on the proxy and for clients alike"
    )


def _nothing_may_be_used(_model: str, _version: str) -> bool:
    return False


def _milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

"""One packet under way, from its acceptance to its last Ack."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import grpc

from multimodal_contract import pb
from triton_proxy import packet as packets
from triton_proxy.budget import Room
from triton_proxy.inference import Answer, Inference, TritonError
from triton_proxy.reply import Reply, Request

Outcome = Inference | packets.Refused | packets.Noted


class Work:
    """One packet: either its inference, or an Ack that needs none.

    Attributes:
        request: what is known of the packet.
        room: what it has of the memory.
        outcome: what became of it; None until that is settled.
        on_error: is told what Triton said instead of an inference.
        on_answer: is told how many bytes the answer has.
        failed: whether one of its Acks so far is anything but OK.
    """

    def __init__(self, request: Request, room: Room, arrived: float) -> None:
        """Nothing has become of it.

        Args:
            request: what is known of the packet.
            room: what it has of the memory.
            arrived: when it came, by `time.perf_counter`.
        """
        self.request = request
        self.room = room
        self.outcome: Outcome | None = None
        self.on_error: Callable[[TritonError], None] = lambda _: None
        self.on_answer: Callable[[int], None] = lambda _: None
        self.failed = False
        self._arrived = arrived
        self._decoded_ms = _milliseconds_since(arrived)
        self._cut = ""

    @property
    def decoupled(self) -> bool:
        """Whether there may be any number of Acks."""
        return isinstance(self.outcome, Inference) and self.outcome.decoupled

    def answered(self, size: int) -> None:
        """Triton has answered, or will not: from now on the answer is what has room.

        Args:
            size: bytes of the answer; 0 where there is none.
        """
        self.room.resize(size)
        if size:
            self.on_answer(size)

    def cancel(self) -> None:
        """Nobody waits for the Acks any more."""
        if isinstance(self.outcome, Inference):
            self.outcome.cancel()

    def cut(self, why: str) -> None:
        """Ends an inference that may have any number of answers with an Ack that says why; others have one anyway.

        Args:
            why: fit for the caller.
        """
        if self.decoupled:
            self._cut = why
            self.cancel()

    def replies(self, largest: int) -> Iterator[Reply]:
        """Waits for the Acks, of which a decoupled model gives any number.

        Args:
            largest: bytes that an Ack may have.

        Raises:
            grpc.FutureCancelledError: `cancel` came first.
        """
        if isinstance(self.outcome, Inference):
            yield from self._inferred(self.outcome, largest)
        elif isinstance(self.outcome, packets.Refused):
            yield self._timed(self.request.failure(self.outcome.reason.status, self.outcome.text))
        else:
            yield self._timed(self.request.noted())

    def _inferred(self, inference: Inference, largest: int) -> Iterator[Reply]:
        try:
            for answer in inference.answers():
                answered = time.perf_counter()
                yield self._bounded(self._reply(answer), largest, inference.milliseconds, answered, final=answer.final)
        except grpc.FutureCancelledError:
            if not self._cut:
                raise
            yield self._timed(self.request.failure(pb.INTERNAL, self._cut), inference.milliseconds)
        except TritonError as error:
            self.on_error(error)
            failure = self.request.failure(pb.INTERNAL, str(error), backend=True)
            yield self._bounded(failure, largest, inference.milliseconds)

    def _bounded(
        self,
        reply: Reply,
        largest: int,
        triton_infer_ms: float,
        answered: float | None = None,
        *,
        final: bool = True,
    ) -> Reply:
        """The Ack, or one that says that it would be too large."""
        timed = self._timed(reply, triton_infer_ms, answered)
        if timed.size <= largest:
            return timed
        text = too_large("answer", timed.size, largest)
        return self._timed(
            self.request.failure(pb.INTERNAL, text, backend=True, final=final), triton_infer_ms, answered
        )

    def _reply(self, answer: Answer) -> Reply:
        if answer.error:
            return self.request.failure(pb.INTERNAL, answer.error, backend=True, final=answer.final)
        return self.request.success(answer.model_version, answer.outputs, final=answer.final)

    def _timed(self, reply: Reply, triton_infer_ms: float = 0.0, answered: float | None = None) -> Reply:
        self.failed = self.failed or not reply.ok
        return reply.timed(
            pb.Timing(
                recv_to_decode_ms=self._decoded_ms,
                triton_infer_ms=triton_infer_ms,
                postprocess_ms=0.0 if answered is None else _milliseconds_since(answered),
                total_ms=_milliseconds_since(self._arrived),
            )
        )


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


def _milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000

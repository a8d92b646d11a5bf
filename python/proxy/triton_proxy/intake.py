"""What happens to each packet of a call, whatever kind of call it is: from its bytes to Triton's answer under way."""

from __future__ import annotations

import time
from dataclasses import dataclass

import grpc

from multimodal_contract import pb
from triton_proxy import packet as packets
from triton_proxy.budget import PACKET_COPIES, Room
from triton_proxy.gate import Ending, Passage, Refusal
from triton_proxy.inference import Inference, TimeLimit
from triton_proxy.model_cache import Models
from triton_proxy.plan import Plan, Planner
from triton_proxy.reply import Request
from triton_proxy.settings import Settings
from triton_proxy.triton import Triton
from triton_proxy.work import Outcome, Work, too_large

# The deadline of a call ends it for both sides, and with it its inferences: an Ack that says so would come between.
_AFTER_CALL_SECS = 0.5
# A control of as many short names as it may have takes so many times its size once it is parsed.
_KEPT_COPIES = 5


@dataclass(frozen=True)
class Shared:
    """What all calls share.

    Attributes:
        triton: whom to ask.
        models: what is known of its models.
        settings: what to run with.
    """

    triton: Triton
    models: Models
    settings: Settings


@dataclass(frozen=True)
class Admitted:
    """A packet that was let through.

    Attributes:
        request: what is known of it.
        outcome: what its check said.
        room: what it has of the memory.
        arrived: when it came, by `time.perf_counter`.
    """

    request: Request
    outcome: packets.Accepted | packets.Noted | packets.Refused
    room: Room
    arrived: float


class Intake:
    """One call's packets, one after the other.

    Both steps may wait: for memory, for who is calling, for what Triton says of a model. Told not to, they do nothing
    where they would have to.
    """

    def __init__(self, shared: Shared, passage: Passage, context: grpc.ServicerContext, *, unary: bool) -> None:
        """Nothing has come yet.

        Args:
            shared: what all calls share.
            passage: what the call may do.
            context: of the call.
            unary: whether no more than one packet comes.
        """
        self._triton = shared.triton
        self._settings = shared.settings
        self._planner = Planner(shared.models, unary=unary)
        self._passage = passage
        self._context = context

    def admit(self, raw: bytes, arrived: float, *, waiting: bool = True) -> Admitted | None:
        """Lets a packet through and checks it; None where the call was ended meanwhile, or that would mean to wait.

        Args:
            raw: the serialized DataPacket.
            arrived: when it came, by `time.perf_counter`.
            waiting: whether to wait where that is necessary.

        Raises:
            Refusal: for who asks; it was written down.
        """
        size = len(raw)
        request: Request | None = None
        try:
            if size > self._settings.max_message_bytes:
                text = too_large("packet", size, self._settings.max_message_bytes)
                raise Refusal(Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
            if waiting:
                self._passage.confirm(time.monotonic() + self._settings.auth_timeout_secs)
                room = self._passage.admit(size)
            else:
                room = self._passage.admit_at_once(size) if self._passage.stands else None
            if room is None:
                return None
            outcome = packets.read(raw, require_model_version=self._settings.require_model_version)
            request = Request(outcome.packet, size)
            if isinstance(outcome, packets.Accepted):
                self._passage.use(request.control.model, request.control.model_version, look=waiting)
        except Refusal as refusal:
            # One that is refused before it is parsed is known by its size alone.
            request = request or Request(pb.DataPacket(), size)
            self._passage.refused(refusal.ending, request, time.perf_counter() - arrived)
            raise
        return Admitted(request, outcome, room, arrived)

    def begin(self, admitted: Admitted, work: Work, *, waiting: bool = True) -> Outcome | None:
        """Begins what there is to do for a packet that was accepted; None where that would mean to wait.

        Args:
            admitted: the packet.
            work: is told what to do with what Triton answers.
            waiting: whether to wait where that is necessary.
        """
        outcome = admitted.outcome
        if isinstance(outcome, packets.Noted):
            self._planner.noted(outcome.packet.event)
        if not isinstance(outcome, packets.Accepted):
            # What is kept until its Ack is taken: the control, parsed.
            work.room.resize(_KEPT_COPIES * min(work.request.bytes_seen, packets.MAX_ENVELOPE_BYTES))
            return outcome
        limit = self._limit(work.request.control)
        plan = self._planner.plan(outcome, timeout_secs=limit.secs) if waiting else self._planner.plan_at_once(outcome)
        if not isinstance(plan, Plan):
            return plan
        if plan.sequence is not None and plan.sequence.latest is not None:
            plan.sequence.latest.wait()
        return self._ask(outcome, plan, work)

    def _ask(self, accepted: packets.Accepted, plan: Plan, work: Work) -> Inference:
        control = work.request.control
        # The room of the answer is taken with the packet's: it can't be made to wait when it comes.
        work.room.resize(PACKET_COPIES * work.request.bytes_seen + self._planner.answer_size(plan))
        inference = self._triton.infer(
            control.model,
            control.model_version,
            accepted.inputs,
            cid=work.request.cid,
            limit=self._limit(control),
            outputs=plan.outputs,
            step=plan.step,
            decoupled=plan.decoupled,
            serving=plan.version(control.model_version),
        )
        if plan.sequence is not None:
            plan.sequence.latest = inference
        work.on_error = lambda error: self._planner.contradicted(plan, error)
        work.on_answer = lambda size: self._planner.answered(plan, size)
        return inference

    def _limit(self, control: pb.Control) -> TimeLimit:
        if control.timeout_secs:
            limit = TimeLimit(control.timeout_secs, "control.timeout_secs")
        else:
            limit = TimeLimit(self._settings.default_timeout_secs, "DEFAULT_TIMEOUT_SECS")
        if limit.secs > self._settings.max_timeout_secs:
            limit = TimeLimit(self._settings.max_timeout_secs, "MAX_TIMEOUT_SECS")
        left = self._context.time_remaining()
        if left is None or left > limit.secs:
            return limit
        return TimeLimit(max(left, 0) + _AFTER_CALL_SECS, "the call's deadline")

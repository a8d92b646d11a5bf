"""What happens to each packet of a call, whatever kind of call it is: from its bytes to Triton's answer under way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mm_service.status import Code, Status
from mm_service.waiting import WouldBlock
from triton_proxy.admission.admission import AdmittedCall, CallRejected
from triton_proxy.admission.budget import PACKET_COPIES, Reservation, ShareFinished
from triton_proxy.inference.query import Query, QueryMethod
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest, SequenceEvent, TimeLimit
from triton_proxy.inference.signature import Signature
from triton_proxy.models.model_cache import Models
from triton_proxy.models.planner import Plan, Planner, Sequence
from triton_proxy.models.sequence_ids import SequenceIds
from triton_proxy.serving.exchange import Exchange, too_large
from triton_proxy.serving.protocol import Message, WireProtocol
from triton_proxy.telemetry.observer import PacketInfo
from triton_proxy.triton.awaited import Awaited
from triton_proxy.triton.client import Triton

# The deadline of a call ends it for both sides, and with it its inferences: an answer that says so would come between.
_AFTER_CALL_SECS = 0.5
# Of questions, those that want a Triton as an inference does. Who asks for health gets an answer without one, and who
# asks for lists asks again and again, with nothing to infer.
_WANT_TRITON = (QueryMethod.MODEL_METADATA, QueryMethod.MODEL_CONFIG)
_HEALTH = (QueryMethod.SERVER_LIVE, QueryMethod.SERVER_READY, QueryMethod.MODEL_READY)
_STARTING_AGAIN_SECS = 5.0


@dataclass(frozen=True)
class CallLimits:
    """What one call and its packets are held to.

    Attributes:
        max_message_bytes: largest packet and largest answer.
        stream_window: packets of one call under way.
        default_timeout_secs: longest inference where a packet says nothing of it.
        max_timeout_secs: longest inference, whatever a packet says.
        auth_timeout_secs: longest wait for who is calling.
        most_calls: calls served at once.
    """

    max_message_bytes: int
    stream_window: int
    default_timeout_secs: float
    max_timeout_secs: float
    auth_timeout_secs: float
    most_calls: int


@dataclass(frozen=True)
class Backend:
    """What all calls are served with.

    Attributes:
        triton: is asked for inferences.
        models: what is known of its models.
        limits: what each call is held to.
        sequence_ids: of all calls' sequences.
        awaited: where requests wait while there is no Triton; None where none does.
    """

    triton: Triton
    models: Models
    limits: CallLimits
    sequence_ids: SequenceIds[Sequence] = field(default_factory=SequenceIds)
    awaited: Awaited | None = None


class Pipeline:
    """One call's packets, one after the other.

    Both steps may wait: for memory, for who is calling, for a Triton, for what Triton says of a model. Their `_nowait`
    twins raise `WouldBlock` there, and have done nothing then.
    """

    def __init__(
        self,
        backend: Backend,
        protocol: WireProtocol,
        admitted: AdmittedCall,
        time_left: Callable[[], float | None],
        *,
        unary: bool,
    ) -> None:
        """Nothing has come yet.

        Args:
            backend: what all calls are served with.
            protocol: what the call's bytes mean.
            admitted: what the call may do.
            time_left: seconds until the call's deadline; None where it has none.
            unary: whether no more than one packet comes.
        """
        self._backend = backend
        self._protocol = protocol
        self._planner = Planner(
            backend.models, unary=unary, principal=admitted.principal.name, ids=backend.sequence_ids
        )
        self._admitted = admitted
        self._time_left = time_left

    def admit(self, raw: bytes, arrived: float) -> Exchange:
        """Lets a packet through and checks it; waits where that is necessary.

        Args:
            raw: the serialized packet.
            arrived: when it came, by `time.perf_counter`.

        Raises:
            CallRejected: it is not let through, and the call ends for it; the observer heard of it.
            ShareFinished: the call was ended meanwhile.
        """
        return self._admit(
            raw, arrived, self._confirm, self._admitted.reserve, self._admitted.use, self._wait_for_triton
        )

    def admit_nowait(self, raw: bytes, arrived: float) -> Exchange:
        """As `admit`.

        Raises:
            WouldBlock: `admit` would wait.
            CallRejected: as `admit`.
            ShareFinished: as `admit`.
        """
        admitted, awaited = self._admitted, self._backend.awaited
        if awaited is not None and awaited.missing:
            raise WouldBlock
        # A Triton that goes in this moment is one that the request does not find: nothing waits for it here.
        return self._admit(
            raw, arrived, admitted.confirm_nowait, admitted.reserve_nowait, admitted.use_nowait, lambda message: None
        )

    def _admit(
        self,
        raw: bytes,
        arrived: float,
        confirm: Callable[[], None],
        reserve: Callable[[int], Reservation],
        use: Callable[[str, str], None],
        wait_for_triton: Callable[[Message], None],
    ) -> Exchange:
        began, size = time.perf_counter(), len(raw)
        # One that is refused before it is read is known by its size alone.
        info = PacketInfo(size)
        try:
            if size > self._backend.limits.max_message_bytes:
                text = too_large("packet", size, self._backend.limits.max_message_bytes)
                raise CallRejected(Status(Code.RESOURCE_EXHAUSTED, text))
            confirm()
            confirmed = time.perf_counter()
            reservation = reserve(size)
            reserved = time.perf_counter()
            message = self._protocol.read(raw)
            info = message.info
            trace = self._admitted.traced(arrived)
            if trace is not None:
                info = replace(info, trace=trace)
            if message.inferable or (message.query is not None and info.model):
                use(info.model, info.model_version)
            used = time.perf_counter()
            self._count_wanted(message)
            wait_for_triton(message)
        except CallRejected as rejection:
            self._admitted.packet_rejected(info, rejection.status, time.perf_counter() - arrived)
            raise
        waited_secs = began - arrived + reserved - confirmed + time.perf_counter() - used
        return Exchange(message, info, reservation, arrived, auth_secs=confirmed - began, queue_secs=waited_secs)

    def _confirm(self) -> None:
        self._admitted.confirm(time.monotonic() + self._backend.limits.auth_timeout_secs)

    def _count_wanted(self, message: Message) -> None:
        # Nobody gets as far as this that may not use the model: this is what Triton is woken for.
        if self._backend.awaited is not None and _wants_triton(message):
            self._backend.awaited.want()

    def _wait_for_triton(self, message: Message) -> None:
        """Waits where there is no Triton.

        Raises:
            CallRejected: there is none for longer than a request waits, or the caller asks for what wakes none, or the
                caller's rights have ended meanwhile.
            ShareFinished: the call was ended meanwhile.
        """
        awaited, query = self._backend.awaited, message.query
        asks = message.inferable or (query is not None and query.method not in _HEALTH)
        if awaited is None or not asks or not awaited.missing:
            return
        text = "no Triton is running; an inference, or a question about one model, starts one: ask that first"
        if _wants_triton(message):
            # A call whose deadline passes has ended. A packet's own limit is for its inference, which begins later.
            came = awaited.wait(lambda: self._admitted.finished)
            if self._admitted.finished:
                raise ShareFinished
            if came:
                self._confirm()
                self._admitted.use(message.info.model, message.info.model_version)
                return
            waited = f"{awaited.waited_secs:.0f} s"
            text = f"Triton is starting, for {waited} by now; try again in {_STARTING_AGAIN_SECS:g} s"
        raise CallRejected(Status(Code.UNAVAILABLE, text, _STARTING_AGAIN_SECS, starting=True))

    def begin(self, exchange: Exchange) -> None:
        """Begins what there is to do for a packet that was accepted; waits for what Triton says of its model.

        Args:
            exchange: the packet's.
        """
        message = exchange.message
        if message.fit is not None:
            message.fit(self._signature(message.info))
        if message.query is not None:
            self._query(exchange, message.query)
        elif message.inferable:
            self._infer(exchange, lambda request, limit: self._planner.plan(request, timeout_secs=limit.secs))
        else:
            self._note(message, exchange.reservation)

    def begin_nowait(self, exchange: Exchange) -> None:
        """As `begin`.

        Raises:
            WouldBlock: `begin` would wait, or take its time.
        """
        if exchange.message.fit is not None:
            raise WouldBlock
        if exchange.message.query is not None:
            self._query(exchange, exchange.message.query)
        elif exchange.message.inferable:
            self._infer(exchange, lambda request, _: self._planner.plan_nowait(request))
        else:
            self._note(exchange.message, exchange.reservation)

    def _signature(self, info: PacketInfo) -> Signature | None:
        entry = self._backend.models.get(info.model, info.model_version, timeout_secs=self._limit(0).secs)
        return None if entry is None else entry.signature

    def _note(self, message: Message, reservation: Reservation) -> None:
        if message.event is SequenceEvent.START:
            self._planner.begin_sequence()
        elif message.event is SequenceEvent.END:
            self._planner.end_sequences()
        reservation.resize(message.kept_bytes)

    def _query(self, exchange: Exchange, query: Query) -> None:
        trace = exchange.info.trace
        asked = self._backend.triton.ask(query, limit=self._limit(0), headers=() if trace is None else trace.ask())
        exchange.queried(asked, self._admitted.may_use)

    def _infer(self, exchange: Exchange, plan_for: Callable[[InferenceRequest, TimeLimit], Plan | Rejection]) -> None:
        request = exchange.message.request
        plan = plan_for(request, self._limit(request.timeout_secs))
        if isinstance(plan, Rejection):
            exchange.rejected(plan)
        else:
            # Nothing of the packet keeps its tensors any more, but what asks Triton.
            self._ask(exchange, request, plan)
        exchange.message.forget_tensors()

    def _ask(self, exchange: Exchange, request: InferenceRequest, plan: Plan) -> None:
        if plan.sequence is not None and plan.sequence.latest is not None:
            plan.sequence.latest.wait()
        info = exchange.info
        # The memory of the answer is taken with the packet's: it can't be made to wait when it comes.
        # Its inputs may be larger than itself, where it had them in a shorter form.
        size = max(info.size, sum(len(item.data) for item in request.inputs))
        exchange.reservation.resize(PACKET_COPIES * size + self._planner.answer_size(plan))
        inference = self._backend.triton.infer(
            request.model,
            request.model_version,
            request.inputs,
            cid=info.correlation_id,
            limit=self._limit(request.timeout_secs),
            outputs=plan.outputs,
            step=plan.step,
            decoupled=plan.decoupled,
            serving=plan.version(request.model_version),
            parameters=request.parameters,
            output_parameters=request.output_parameters,
            headers=() if info.trace is None else info.trace.ask(),
        )
        if plan.sequence is not None:
            plan.sequence.latest = inference
        exchange.asked(inference, plan, self._planner)

    def _limit(self, asked_secs: float) -> TimeLimit:
        limits = self._backend.limits
        if asked_secs:
            limit = TimeLimit(asked_secs, "control.timeout_secs")
        else:
            limit = TimeLimit(limits.default_timeout_secs, "DEFAULT_TIMEOUT_SECS")
        if limit.secs > limits.max_timeout_secs:
            limit = TimeLimit(limits.max_timeout_secs, "MAX_TIMEOUT_SECS")
        left = self._time_left()
        if left is None or left > limit.secs:
            return limit
        return TimeLimit(max(left, 0) + _AFTER_CALL_SECS, "the call's deadline")


def _wants_triton(message: Message) -> bool:
    """Whether it is an inference, or a question about one model."""
    query = message.query
    return message.inferable or (query is not None and query.method in _WANT_TRITON and bool(message.info.model))

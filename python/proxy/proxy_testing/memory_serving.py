"""One call served in memory: with the real admission, budget, cache of models and protocol; without a transport."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from domino_identity import Credential, NotAuthenticated, Principal
from domino_identity.decisions import Decisions
from mm_service.status import Status
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb
from proxy_testing.describing import DECOUPLED, PLAIN, STATEFUL, Described
from proxy_testing.given_inference import GivenInference
from proxy_testing.memory_call import MemoryCall
from triton_proxy.access.access import Access
from triton_proxy.admission.admission import Admission
from triton_proxy.admission.budget import Budget
from triton_proxy.admission.quotas import Quotas
from triton_proxy.inference.answer import Answer, OutputTensor, Timing
from triton_proxy.inference.parameters import Parameters
from triton_proxy.inference.request import Headers, InputTensor, TimeLimit
from triton_proxy.protocols.multimodal.protocol import MultimodalProtocol
from triton_proxy.serving.active_call import ActiveCall
from triton_proxy.serving.pipeline import Backend, CallLimits
from triton_proxy.serving.protocol import WireProtocol
from triton_proxy.telemetry.observer import CallInfo, PacketInfo
from triton_proxy.triton.client import Step, Triton
from triton_proxy.triton.inference import Inference

MB = 1024 * 1024
_HEADERS = (("x-domino-api-key", "ann"),)
_EVER_SECS = 1e9


class GivenTriton(Triton):
    """A Triton whose inferences the test answers.

    Attributes:
        inferences: those that were begun, by correlation id.
        fails: what is raised instead of beginning one.
    """

    def __init__(self) -> None:
        """Has no connection."""
        self.inferences: dict[str, GivenInference] = {}
        self.fails: Exception | None = None

    def infer(
        self,
        model: str,
        model_version: str,
        inputs: Sequence[InputTensor],
        *,
        cid: str,
        limit: TimeLimit,
        outputs: tuple[str, ...] | None = None,
        step: Step | None = None,
        decoupled: bool = False,
        serving: str = "",
        parameters: Parameters = (),
        output_parameters: tuple[Parameters, ...] = (),
        headers: Headers = (),
    ) -> Inference:
        """See `Triton`."""
        if self.fails is not None:
            raise self.fails
        self.inferences[cid] = GivenInference(decoupled=decoupled)
        return self.inferences[cid]


class Recorder:
    """An observer, and the call's own, that remembers what it heard.

    Attributes:
        admitted: correlation ids of the packets that were accepted.
        rejected: statuses of those that were not.
        answered: correlation ids of those that have all their answers, and whether none says that something went wrong.
        ended: statuses with which calls have ended.
        rejected_calls: statuses of calls whose callers are not known.
    """

    def __init__(self) -> None:
        """Has heard nothing."""
        self.admitted: list[str] = []
        self.rejected: list[Status] = []
        self.answered: list[tuple[str, bool]] = []
        self.ended: list[Status] = []
        self.rejected_calls: list[Status] = []

    def call_started(self, call: CallInfo) -> Recorder:
        """See `Observer`."""
        del call
        return self

    def call_rejected(self, call: CallInfo, status: Status, latency_secs: float) -> None:
        """See `Observer`."""
        self.rejected_calls.append(status)

    def packet_admitted(self, packet: PacketInfo) -> None:
        """See `CallObserver`."""
        self.admitted.append(packet.correlation_id)

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        """See `CallObserver`."""
        self.rejected.append(status)

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        """See `CallObserver`."""
        self.answered.append((packet.correlation_id, ok))

    def call_ended(self, status: Status) -> None:
        """See `CallObserver`."""
        self.ended.append(status)


class Identity:
    """Knows ann, for as long as the test says so.

    Attributes:
        knows_ann: whether it does.
    """

    def __init__(self) -> None:
        """Ann is known."""
        self.knows_ann = True

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """See `Authenticator`."""
        if not self.knows_ann:
            raise NotAuthenticated("not any more")
        return Principal(credential.secret, admin=False)


class MemoryServing:
    """One call of ann's, served.

    Attributes:
        identity: says who she is.
        observer: hears of the call.
        admission: what it went through.
        described: what Triton says of its models.
        triton: is asked for inferences.
        backend: what it is served with.
        call: the transport's side.
        active: the call.
    """

    def __init__(
        self,
        *,
        unary: bool = False,
        window: int = 4,
        budget_mb: int = 64,
        max_message_bytes: int = MB,
        in_flight: int = 1000,
        remembered: bool = True,
        protocol: WireProtocol | None = None,
    ) -> None:
        """The call has begun, and its first message is asked for.

        Args:
            unary: whether it has one packet.
            window: packets of it under way.
            budget_mb: for all packets.
            max_message_bytes: largest packet and answer.
            in_flight: packets of ann's under way.
            remembered: whether it is remembered for good that ann is known; otherwise each packet has it found out.
            protocol: what its bytes mean; the multimodal contract where none is given.
        """
        self.identity = Identity()
        self.observer = Recorder()
        self.admission = Admission(
            decisions=Decisions(self.identity, positive_secs=_EVER_SECS if remembered else 0),
            access=Access(None),
            quotas=Quotas(calls=10, in_flight=in_flight, per_sec=0),
            budget=Budget(budget_mb, budget_mb),
            observer=self.observer,
        )
        self.described = Described()
        self.triton = GivenTriton()
        self.call = MemoryCall(SEND_UNARY_METHOD if unary else CHAT_METHOD, _HEADERS)
        limits = CallLimits(
            max_message_bytes=max_message_bytes,
            stream_window=window,
            default_timeout_secs=10,
            max_timeout_secs=20,
            auth_timeout_secs=5,
            most_calls=10,
        )
        self.backend = Backend(self.triton, self.described.models, limits)
        protocol = protocol or MultimodalProtocol(require_model_version=False)
        admitted = self.admission.admit(self.call.head, None)
        self.active = ActiveCall(self.call, protocol, admitted, self.backend, unary=unary)
        self.call.on_end(self.active.ended)
        self.active.receive()

    def know(self, *models: str) -> None:
        """Finds out about models, so that their packets need not wait for that."""
        for model in models:
            self.described.models.get(model, "1", timeout_secs=30)

    def send(self, packet: Message, *, steps: bool = True) -> None:
        """Delivers a packet.

        Args:
            packet: the packet.
            steps: whether to take the steps that it takes, too.
        """
        self.call.deliver(packet.SerializeToString())
        while steps and self.call.steps:
            self.call.step()

    def finish(self, cid: str, *given: Answer | Exception) -> None:
        """An inference has answered; with `one_answer` where nothing is given."""
        inference = self.triton.inferences[cid]
        inference.give(*(given or (one_answer(),)))
        inference.finish(1)

    def take(self) -> pb.Ack:
        """Makes the answer that waits, and takes it."""
        made = self.call.make()
        assert made is not None  # noqa: S101 - the test said that there is one
        self.call.taken()
        return pb.Ack.FromString(made)

    def close(self) -> None:
        """Ends the call, and sees that nothing of it is left.

        Raises:
            AssertionError: something is.
        """
        self.call.end()
        budget, quotas = self.admission.budget.statistics(), self.admission.quotas.statistics()
        assert (budget.in_use, budget.waiting, budget.principals) == (0, 0, {})  # noqa: S101 - what the test is for
        assert (quotas.calls, quotas.in_flight) == ({}, {})  # noqa: S101 - as above
        assert all(each.done for each in self.triton.inferences.values())  # noqa: S101 - as above
        assert self.active.over  # noqa: S101 - as above
        assert len(self.observer.ended) == 1  # noqa: S101 - as above
        self.described.models.close()


def one_answer(text: bytes = b"ab", *, final: bool = True) -> Answer:
    """An answer whose output y has these bytes."""
    return Answer("1", {"y": OutputTensor("UINT8", (len(text),), text)}, final=final)


def error_of(ack: pb.Ack) -> str:
    """The error that an Ack tells."""
    return str(json.loads(ack.message)["error"])


def packet(cid: str, model: str = PLAIN, size: int = 4, event: pb.StreamEvent.ValueType = pb.SEV_DATA) -> pb.DataPacket:
    """A packet for a model, with so many bytes in its one input."""
    shape = pb.Shape(dims=[size])
    return pb.DataPacket(
        meta=pb.Meta(correlation_id=cid),
        control=pb.Control(
            model=model,
            model_version="1",
            inputs=[pb.InputSpec(name="x", shape=shape, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="y")],
        ),
        event=event,
        tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=shape, data=bytes(size)),
    )


def note(cid: str) -> pb.DataPacket:
    """A packet that needs no inference."""
    return pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id=cid))


def stream(**more: Any) -> MemoryServing:
    """A stream whose models are known."""
    serving = MemoryServing(**more)
    serving.know(PLAIN, DECOUPLED, STATEFUL)
    return serving


def unary(**more: Any) -> MemoryServing:
    """A unary call whose model is known."""
    return stream(unary=True, **more)


def ending(serving: MemoryServing) -> tuple[Status | None, bool]:
    """What serving ends the call with, and whether what has no answer may be sent again."""
    return serving.call.status, serving.call.resend

"""What its model makes of a packet: whether it fits, which outputs to name, what place it has in a sequence."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from multimodal_contract import pb
from triton_proxy import packet as packets
from triton_proxy import signature
from triton_proxy.inference import Inference, TritonError
from triton_proxy.model_cache import Entry, Models
from triton_proxy.packet import Reason
from triton_proxy.sequence_ids import SequenceIds
from triton_proxy.triton import Step

# What Triton says where the model is not what it was when it was described.
_CONTRADICTIONS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
)


class Sequence:
    """A sequence of a stateful model that is open on a stream.

    Attributes:
        sequence_id: what Triton knows it by.
        latest: its latest inference; the next one begins after it, since Triton keeps no order between requests.
    """

    def __init__(self, datatype: str) -> None:
        """A new one.

        Args:
            datatype: of its id, as `Signature.sequence_id_datatype`.
        """
        self.sequence_id = _IDS.draw(datatype, self)
        self.latest: Inference | None = None


# Of all models and streams: that no two are the same is simplest to see so.
_IDS: SequenceIds[Sequence] = SequenceIds()


@dataclass(frozen=True)
class Plan:
    """How to ask Triton for an inference.

    Attributes:
        entry: what is known of the model; None where that is nothing, and Triton will say why.
        outputs: the outputs to name; None for all.
        sequence: the sequence that it belongs to, and `step` its place there; None for a model without state.
        step: see `sequence`.
    """

    entry: Entry | None = None
    outputs: tuple[str, ...] | None = None
    sequence: Sequence | None = None
    step: Step | None = None

    @property
    def decoupled(self) -> bool:
        """Whether the model gives any number of answers."""
        return self.entry is not None and self.entry.signature.decoupled

    def version(self, asked: str) -> str:
        """The version that serves, as far as it is known before Triton says so.

        Args:
            asked: the version that the packet names; "" for Triton's choice, which is the latest by default.
        """
        if asked or self.entry is None:
            return asked
        return max(self.entry.signature.versions, key=int, default="")


class Planner:
    """Plans the inferences of one stream and keeps its sequences. Not for several threads at once."""

    def __init__(self, models: Models, *, unary: bool) -> None:
        """No sequence is open.

        Args:
            models: what is known of models.
            unary: whether the call has one packet and one Ack.
        """
        self._models = models
        self._unary = unary
        self._sequences: dict[tuple[str, str], Sequence] = {}
        self._begins = False

    def noted(self, event: pb.StreamEvent.ValueType) -> None:
        """A packet without data said that a sequence begins with the next packet, or that all have ended.

        Args:
            event: SEV_START or SEV_END.
        """
        self._begins = event == pb.SEV_START
        if event == pb.SEV_END:
            self._sequences.clear()

    def plan(self, accepted: packets.Accepted, *, timeout_secs: float) -> Plan | packets.Refused:
        """How to ask for the packet's inference, or why its model can't take it.

        Args:
            accepted: the packet.
            timeout_secs: longest time that it can wait.
        """
        control = accepted.packet.control
        entry = self._models.get(control.model, control.model_version, timeout_secs=timeout_secs)
        if entry is None:
            return Plan()
        unfit = self._unfit(entry, accepted)
        if unfit is not None or _lacks_output(entry, control):
            entry = self._models.confirm(entry, timeout_secs=timeout_secs)
            if entry is None:
                return Plan()
            unfit = self._unfit(entry, accepted)
        return unfit or self._fit(entry, accepted)

    def plan_at_once(self, accepted: packets.Accepted) -> Plan | None:
        """How to ask for the packet's inference, as `plan` says it; None where `plan` would ask Triton first.

        Args:
            accepted: the packet.
        """
        control = accepted.packet.control
        entry = self._models.recall(control.model, control.model_version)
        if entry is None or _lacks_output(entry, control) or self._unfit(entry, accepted) is not None:
            return None
        return self._fit(entry, accepted)

    def _fit(self, entry: Entry, accepted: packets.Accepted) -> Plan:
        control = accepted.packet.control
        outputs = signature.wanted_outputs(entry.signature, [spec.name for spec in control.outputs])
        if not entry.signature.stateful:
            return Plan(entry, outputs)
        key = control.model, control.model_version
        start = self._starts(accepted)
        # Nothing can follow in a unary call: its one packet is a sequence of its own.
        end = accepted.packet.event == pb.SEV_END or self._unary
        sequence = Sequence(entry.signature.sequence_id_datatype) if start else self._sequences[key]
        self._sequences[key] = sequence
        self._begins = False
        if end:
            del self._sequences[key]
        return Plan(entry, outputs, sequence, Step(sequence.sequence_id, start, end))

    def contradicted(self, plan: Plan, error: TritonError) -> None:
        """Triton refused what was planned: what is known of the model may be out of date.

        Args:
            plan: what was asked for.
            error: what Triton said.
        """
        if plan.entry is not None and error.code in _CONTRADICTIONS:
            self._models.drop(plan.entry)

    def answer_size(self, plan: Plan) -> int:
        """Bytes that the answer of what is planned is expected to have.

        Args:
            plan: what is asked for.
        """
        return 0 if plan.entry is None else self._models.answer_size(plan.entry)

    def answered(self, plan: Plan, size: int) -> None:
        """An answer came.

        Args:
            plan: what was asked for.
            size: its bytes.
        """
        if plan.entry is not None:
            self._models.answered(plan.entry, size)

    def _unfit(self, entry: Entry, accepted: packets.Accepted) -> packets.Refused | None:
        control = accepted.packet.control
        problem = signature.problem(entry.signature, accepted.inputs)
        if problem is not None:
            return packets.refused(accepted.packet, Reason.MODEL_MISMATCH, problem=problem)
        if entry.signature.decoupled and self._unary:
            return packets.refused(accepted.packet, Reason.DECOUPLED_UNARY, model=control.model)
        key = control.model, control.model_version
        if entry.signature.stateful and not self._starts(accepted) and key not in self._sequences:
            return packets.refused(accepted.packet, Reason.NO_SEQUENCE, model=control.model)
        return None

    def _starts(self, accepted: packets.Accepted) -> bool:
        return self._begins or accepted.packet.event == pb.SEV_START


def _lacks_output(entry: Entry, control: pb.Control) -> bool:
    return any(spec.name not in entry.signature.outputs for spec in control.outputs)

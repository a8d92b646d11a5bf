"""What its model makes of a request: whether it fits, which outputs to name, what place it has in a sequence."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mm_service.status import Code
from mm_service.waiting import WouldBlock
from triton_proxy.inference.answer import InferenceFailed
from triton_proxy.inference.rejection import Rejection, Unfit
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.models import signature
from triton_proxy.models.model_cache import Entry, Models
from triton_proxy.models.sequence_ids import SequenceIds
from triton_proxy.triton.client import Step
from triton_proxy.triton.inference import Inference

# What Triton says where the model is not what it was when it was described.
_CONTRADICTIONS = (
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.UNAVAILABLE,
    Code.UNIMPLEMENTED,
)


class Sequence:
    """A sequence of a stateful model that is open on a call.

    Attributes:
        sequence_id: what Triton knows it by.
        latest: its latest inference; the next one begins after it, since Triton keeps no order between requests.
    """

    def __init__(self, sequence_id: int | str = 0) -> None:
        """A new one.

        Args:
            sequence_id: see the attribute.
        """
        self.sequence_id = sequence_id
        self.latest: Inference | None = None


# Of the sequences that a caller names, so many are kept for the order of their requests: more than a call can have
# under way at once.
_MOST_NAMED = 1024


@dataclass(frozen=True)
class Plan:
    """How to ask Triton for an inference.

    Attributes:
        entry: what is known of the model; None where that is nothing, and Triton will say why.
        outputs: the outputs to name; None for all.
        sequence: the sequence that it belongs to, and `step` its place there; None for a model without state.
        step: see `sequence`.
        one_answer: whether one answer is asked for, also of a model that gives any number.
    """

    entry: Entry | None = None
    outputs: tuple[str, ...] | None = None
    sequence: Sequence | None = None
    step: Step | None = None
    one_answer: bool = False

    @property
    def decoupled(self) -> bool:
        """Whether the model gives any number of answers."""
        return not self.one_answer and self.entry is not None and self.entry.signature.decoupled

    def version(self, asked: str) -> str:
        """The version that serves, as far as it is known before Triton says so.

        Args:
            asked: the version that the request names; "" for Triton's choice, which is the latest by default.
        """
        if asked or self.entry is None:
            return asked
        return max(self.entry.signature.versions, key=int, default="")


class Planner:
    """Plans the inferences of one call and keeps its sequences. Not for several threads at once."""

    def __init__(
        self, models: Models, *, unary: bool, principal: str = "", ids: SequenceIds[Sequence] | None = None
    ) -> None:
        """No sequence is open.

        Args:
            models: what is known of models.
            unary: whether the call has one request and one answer.
            principal: name of the caller, whose names of sequences are nobody else's.
            ids: of the sequences of all calls and models; None where no other call has any.
        """
        self._ids = ids or SequenceIds()
        self._models = models
        self._unary = unary
        self._principal = principal
        self._sequences: dict[tuple[str, str], Sequence] = {}
        self._named: OrderedDict[int | str, Sequence] = OrderedDict()
        self._begins = False

    def begin_sequence(self) -> None:
        """A sequence begins with the next request."""
        self._begins = True

    def end_sequences(self) -> None:
        """All sequences that are open have ended."""
        self._begins = False
        self._sequences.clear()

    def plan(self, request: InferenceRequest, *, timeout_secs: float) -> Plan | Rejection:
        """How to ask Triton for an inference, or why its model can't take the request.

        Args:
            request: the request.
            timeout_secs: longest time that it can wait.
        """
        entry = self._models.get(request.model, request.model_version, timeout_secs=timeout_secs)
        if entry is None:
            return self._unknown(request)
        unfit = self._unfit(entry, request)
        if unfit is not None or _lacks_output(entry, request):
            entry = self._models.confirm(entry, timeout_secs=timeout_secs)
            if entry is None:
                return self._unknown(request)
            unfit = self._unfit(entry, request)
        return unfit or self._fit(entry, request)

    def plan_nowait(self, request: InferenceRequest) -> Plan:
        """How to ask Triton for an inference, as `plan` says it.

        Args:
            request: the request.

        Raises:
            WouldBlock: `plan` would ask Triton first, or the inference would begin only after another of its sequence.
        """
        entry = self._models.recall(request.model, request.model_version)
        if entry is None or _lacks_output(entry, request) or self._unfit(entry, request) is not None:
            raise WouldBlock
        if request.verbatim:
            if self._named_id(entry, request) in self._named:
                raise WouldBlock
        elif entry.signature.stateful and not self._starts(request):
            raise WouldBlock
        return self._fit(entry, request)

    def _unknown(self, request: InferenceRequest) -> Plan | Rejection:
        problem = signature.classes_problem(None, request)
        if problem is not None:
            return Rejection(Unfit.MODEL_MISMATCH, request.model, problem)
        return self._verbatim(None, request) if request.verbatim else Plan()

    def _verbatim(self, entry: Entry | None, request: InferenceRequest) -> Plan:
        outputs = request.outputs or None
        sequence_id = self._named_id(entry, request)
        start, end = request.sequence_start, request.sequence_end
        if not sequence_id:
            flagged = start or end or sequence_id is not None
            return Plan(entry, outputs, None, Step(sequence_id or 0, start, end) if flagged else None, self._unary)
        sequence = self._named.get(sequence_id) or Sequence(sequence_id)
        self._named[sequence_id] = sequence
        self._named.move_to_end(sequence_id)
        if len(self._named) > _MOST_NAMED:
            self._named.popitem(last=False)
        return Plan(entry, outputs, sequence, Step(sequence_id, start, end), self._unary)

    def _named_id(self, entry: Entry | None, request: InferenceRequest) -> int | str | None:
        """What Triton is to know the request's sequence by; 0, "" or None for none."""
        given = request.sequence_id
        if not given:
            return given
        if entry is not None and entry.signature.stateful:
            datatype = entry.signature.sequence_id_datatype
        else:
            # An ensemble hands it on to its models, and any model can read it.
            datatype = "STRING" if isinstance(given, str) else "UINT64"
        return self._ids.named(self._principal, request.model, given, datatype)

    def _fit(self, entry: Entry, request: InferenceRequest) -> Plan:
        if request.verbatim:
            return self._verbatim(entry, request)
        outputs = signature.wanted_outputs(entry.signature, request.outputs)
        if not entry.signature.stateful:
            return Plan(entry, outputs)
        key = request.model, request.model_version
        start = self._starts(request)
        # Nothing can follow in a unary call: its one request is a sequence of its own.
        end = request.sequence_end or self._unary
        sequence = self._begun(entry.signature.sequence_id_datatype) if start else self._sequences[key]
        self._sequences[key] = sequence
        self._begins = False
        if end:
            del self._sequences[key]
        return Plan(entry, outputs, sequence, Step(sequence.sequence_id, start, end))

    def _begun(self, datatype: str) -> Sequence:
        sequence = Sequence()
        sequence.sequence_id = self._ids.draw(datatype, sequence)
        return sequence

    def contradicted(self, plan: Plan, error: InferenceFailed) -> None:
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

    def _unfit(self, entry: Entry, request: InferenceRequest) -> Rejection | None:
        problem = signature.problem(entry.signature, request.inputs, described_by=request.described_by)
        problem = problem or signature.classes_problem(entry.signature, request)
        if problem is not None:
            return Rejection(Unfit.MODEL_MISMATCH, request.model, problem)
        if request.verbatim:
            return None
        if entry.signature.decoupled and self._unary:
            return Rejection(Unfit.DECOUPLED_UNARY, request.model)
        key = request.model, request.model_version
        if entry.signature.stateful and not self._starts(request) and key not in self._sequences:
            return Rejection(Unfit.NO_SEQUENCE, request.model)
        return None

    def _starts(self, request: InferenceRequest) -> bool:
        return self._begins or request.sequence_start


def _lacks_output(entry: Entry, request: InferenceRequest) -> bool:
    return not request.verbatim and any(name not in entry.signature.outputs for name in request.outputs)

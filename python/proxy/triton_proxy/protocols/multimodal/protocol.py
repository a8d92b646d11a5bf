"""The multimodal contract as serving sees it: `protocols` reads DataPackets, and its messages write their Acks."""

from __future__ import annotations

from mm_service.status import Code
from multimodal_contract import pb
from triton_proxy.inference.answer import Answer
from triton_proxy.inference.query import MayUse
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest, SequenceEvent
from triton_proxy.protocols.multimodal import packet as packets
from triton_proxy.protocols.multimodal.reasons import MAX_ENVELOPE_BYTES, OF_MODEL
from triton_proxy.protocols.multimodal.reply import Acks, Reply
from triton_proxy.telemetry.observer import PacketInfo

# A control of as many short names as it may have takes so many times its size once it is parsed.
_KEPT_COPIES = 5
_EVENTS = {pb.SEV_START: SequenceEvent.START, pb.SEV_END: SequenceEvent.END}


class MultimodalProtocol:
    """Reads DataPackets."""

    def __init__(self, *, require_model_version: bool) -> None:
        """Keeps nothing else.

        Args:
            require_model_version: whether an empty model_version is a mistake.
        """
        self._require_model_version = require_model_version

    def read(self, raw: bytes) -> MultimodalMessage:
        """Reads one serialized DataPacket, whatever it holds."""
        outcome = packets.read(raw, require_model_version=self._require_model_version)
        return MultimodalMessage(outcome, len(raw))


class MultimodalMessage:
    """One DataPacket, read and checked.

    Attributes:
        info: what observers may know of it.
        inferable: whether it asks for an inference, well-formed.
        query: asks for nothing else.
        fit: is complete without.
        satisfied: takes all answers.
    """

    query = None
    fit = None
    satisfied = False

    def __init__(self, outcome: packets.Accepted | packets.Noted | packets.Refused, size: int) -> None:
        """Made by `MultimodalProtocol.read`."""
        self._acks = Acks(outcome.packet, size)
        self._refused = outcome if isinstance(outcome, packets.Refused) else None
        self._event = _EVENTS[outcome.packet.event] if isinstance(outcome, packets.Noted) else None
        self._request = _request(outcome) if isinstance(outcome, packets.Accepted) else None
        control = self._acks.control
        self.info = PacketInfo(size, control.model, control.model_version, self._acks.cid)
        self.inferable = self._request is not None

    @property
    def event(self) -> SequenceEvent | None:
        """What it says of sequences, where it asks for no inference."""
        return self._event

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes until its Ack was taken: its control, parsed."""
        return _KEPT_COPIES * min(self.info.size, MAX_ENVELOPE_BYTES)

    @property
    def request(self) -> InferenceRequest:
        """What it asks for, where it is inferable and until `forget_tensors`."""
        assert self._request is not None  # noqa: S101 - what the caller has made sure of
        return self._request

    def forget_tensors(self) -> None:
        """Keeps nothing of its tensors any more."""
        self._request = None

    def reply(self) -> Reply:
        """The Ack where there is nothing to infer."""
        if self._refused is not None:
            return self._acks.failure(self._refused.reason.status, self._refused.text)
        return self._acks.noted()

    def rejected(self, rejection: Rejection) -> Reply:
        """The Ack where the model can't take it."""
        reason = OF_MODEL[rejection.unfit]
        text = reason.text.format(model=rejection.model, problem=rejection.problem)
        return self._acks.failure(reason.status, text)

    def answered(self, answer: Answer) -> Reply:
        """The Ack with what the model answered."""
        return self._acks.success(answer.model_version, answer.outputs, final=answer.final)

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """No packet asks for a description."""
        raise NotImplementedError

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """The Ack that says why there is no inference; its status is INTERNAL whatever Triton's."""
        del code
        return self._acks.failure(pb.INTERNAL, text, backend=by_triton, final=final)


def _request(accepted: packets.Accepted) -> InferenceRequest:
    packet = accepted.packet
    return InferenceRequest(
        model=packet.control.model,
        model_version=packet.control.model_version,
        inputs=accepted.inputs,
        outputs=tuple(spec.name for spec in packet.control.outputs),
        timeout_secs=packet.control.timeout_secs,
        sequence_start=packet.event == pb.SEV_START,
        sequence_end=packet.event == pb.SEV_END,
    )

"""One protocol, as serving sees it: what a message asks for, and how its answers are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mm_service.status import Code, Status
from multimodal_contract.wire import Buffer
from triton_proxy.inference.answer import Answer, Timing
from triton_proxy.inference.query import MayUse, Query
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest, SequenceEvent
from triton_proxy.inference.signature import Signature
from triton_proxy.telemetry.observer import PacketInfo


class Reply(Protocol):
    """One serialized answer."""

    @property
    def ok(self) -> bool:
        """Whether it says that nothing went wrong."""

    @property
    def status(self) -> Status | None:
        """How the call ends instead of an answer, where the protocol says so what went wrong; None for an answer.

        Unary calls alone end so.
        """

    @property
    def parts(self) -> Sequence[Buffer]:
        """Pieces of it, in order."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def timed(self, timing: Timing) -> Reply:
        """The same with how long it took, which is known when all else of it is there."""


class Message(Protocol):
    """One message of a caller, read and checked."""

    @property
    def info(self) -> PacketInfo:
        """What observers may know of it."""

    @property
    def inferable(self) -> bool:
        """Whether it asks for an inference, well-formed; otherwise `reply` answers it."""

    @property
    def query(self) -> Query | None:
        """What it asks for, where that is no inference and Triton is to be asked; `inferable` is False then."""

    @property
    def fit(self) -> Callable[[Signature | None], None] | None:
        """Is to be told once what the model takes, before `inferable` and `request` count; it may take its time.

        It is given None where Triton does not say. None instead of it: the message is complete without.
        """

    @property
    def satisfied(self) -> bool:
        """Whether the caller has all that it wants of the model's answers, so that no other is waited for."""

    @property
    def event(self) -> SequenceEvent | None:
        """What it says of sequences, where it asks for no inference."""

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes until `reply` was taken."""

    @property
    def request(self) -> InferenceRequest:
        """What it asks for, where it is inferable and until `forget_tensors`."""

    def forget_tensors(self) -> None:
        """Keeps nothing of its tensors any more, megabytes that they are."""

    def reply(self) -> Reply:
        """The answer where there is nothing to infer."""

    def rejected(self, rejection: Rejection) -> Reply:
        """The answer where the model can't take it."""

    def answered(self, answer: Answer) -> Reply | None:
        """The answer with what the model answered; None where the caller hears nothing of it, and no other follows."""

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """The answer to its `query`, of which the caller hears no more than it may use."""

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """The answer that says why there is no inference.

        Args:
            text: what went wrong, fit for the caller.
            by_triton: whether Triton was the cause.
            final: whether no other answer follows.
            code: Triton's status, or gRPC's where Triton gave none.
        """


class WireProtocol(Protocol):
    """Reads messages. Pure: it asks nobody and keeps nothing."""

    def read(self, raw: bytes) -> Message:
        """Reads one message, whatever it holds; what is wrong with it is in the message's reply."""

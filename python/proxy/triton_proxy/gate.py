"""What a call may do: who is calling, which models they may use, how much at once; and the record of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from domino_identity import IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.caller import Caller
from domino_identity.credential import Credential, UnusableCredential, from_headers
from domino_identity.decisions import Decisions, Standing
from multimodal_contract import NOT_ACCEPTED, RETRY_AFTER_MS
from triton_proxy.access import Access, Denied
from triton_proxy.audit import Audit
from triton_proxy.budget import PACKET_COPIES, Budget, Room
from triton_proxy.limits import LimitExceeded, Limits, Quota
from triton_proxy.reply import Request

_LOG = logging.getLogger(__name__)
# Authenticators have shorter limits of their own; this one bounds a wait for somebody else's question.
_LONGEST_SECS = 60.0
_D = TypeVar("_D")


@dataclass(frozen=True)
class Ending:
    """Why the proxy itself ends a call.

    Attributes:
        code: the call's status.
        text: its details, fit for the caller.
        retry_after_secs: when it makes sense to try again; None where nobody can say.
    """

    code: grpc.StatusCode
    text: str
    retry_after_secs: float | None = None

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """What tells a client library that, and when, it may send again what has no Ack."""
        if self.retry_after_secs is None:
            return (NOT_ACCEPTED,)
        return (NOT_ACCEPTED, (RETRY_AFTER_MS, str(max(1, round(self.retry_after_secs * 1000)))))


class Refusal(Exception):  # noqa: N818 - says what it is about
    """A call or packet is not let through.

    Attributes:
        ending: why.
        of_identity: whether it is not, or not any more, known who is calling.
    """

    def __init__(self, ending: Ending, *, of_identity: bool = False) -> None:
        super().__init__(ending.text)
        self.ending = ending
        self.of_identity = of_identity


@dataclass(frozen=True)
class Gate:
    """What all calls go through.

    Attributes:
        decisions: who is calling.
        access: who may use which model.
        limits: what one principal may have under way.
        budget: what all together may have under way.
        audit: where it is written down.
    """

    decisions: Decisions
    access: Access
    limits: Limits
    budget: Budget
    audit: Audit

    def enter(self, method: str, context: grpc.ServicerContext) -> Passage:
        """Lets a call in whose caller is known, or can be found out.

        Args:
            method: full name of the method.
            context: of the call.

        Raises:
            Refusal: the caller is not known, or has too many calls open; it was written down.
        """
        left = context.time_remaining()
        deadline = time.monotonic() + (_LONGEST_SECS if left is None else min(left, _LONGEST_SECS))
        credential, decision = self._decided(method, context, lambda asked: self.decisions.decide(asked, deadline))
        return self._passage(Caller(self.decisions, credential, decision), method, context.peer())

    def enter_at_once(self, method: str, context: grpc.ServicerContext) -> Passage | None:
        """Lets a call in whose caller is remembered; None where `enter` would have to ask who it is.

        Args:
            method: full name of the method.
            context: of the call.

        Raises:
            Refusal: it is remembered that nobody knows the caller, or it has too many calls open; it was written down.
        """
        credential, decision = self._decided(method, context, self.decisions.recall)
        if decision is None:
            return None
        return self._passage(Caller(self.decisions, credential, decision), method, context.peer())

    def standing(self, metadata: Iterable[tuple[str, str | bytes]]) -> Standing:
        """What is known of a call's caller before anybody is asked; writes nothing down.

        Args:
            metadata: of the call.
        """
        try:
            return self.decisions.standing(from_headers(metadata, noun="metadata"))
        except UnusableCredential:
            return Standing.REFUSED

    def no_turn(self, method: str, context: grpc.ServicerContext) -> Refusal:
        """The refusal of a call for which there is no thread to wait in until its caller is known; writes it down.

        Args:
            method: full name of the method.
            context: of the call.
        """
        text = "the proxy is finding out about as many callers as it does at once; try again in a second"
        ending = Ending(grpc.StatusCode.UNAVAILABLE, text, retry_after_secs=1.0)
        self.audit.refused(
            method=method, peer=context.peer(), kind=None, code=ending.code, reason=ending.text, latency_secs=0.0
        )
        return Refusal(ending, of_identity=True)

    def _passage(self, caller: Caller, method: str, peer: str) -> Passage:
        try:
            quota = self.limits.call(caller.principal.name)
        except LimitExceeded as limit:
            refusal = _over_limit(limit)
            record = self.audit.stream(method=method, peer=peer, principal=caller.principal, kind=caller.kind)
            record.close(refusal.ending.code, refusal.ending.text)
            raise refusal from None
        return Passage(self, caller, quota, method, peer)

    def _decided(
        self, method: str, context: grpc.ServicerContext, decide: Callable[[Credential], _D]
    ) -> tuple[Credential, _D]:
        began = time.monotonic()
        kind: Kind | None = None
        try:
            credential = from_headers(context.invocation_metadata(), noun="metadata")
            kind = credential.kind
            return credential, decide(credential)
        except Exception as error:  # noqa: BLE001 - whatever it is, it means no
            ending = _identity_ending(error)
            self.audit.refused(
                method=method,
                peer=context.peer(),
                kind=kind,
                code=ending.code,
                reason=ending.text,
                latency_secs=time.monotonic() - began,
            )
            raise Refusal(ending) from None


class Passage:
    """One call's way through the gate. Close it when the call has ended."""

    def __init__(self, gate: Gate, caller: Caller, quota: Quota, method: str, peer: str) -> None:
        """Made by `Gate.enter`."""
        self._gate = gate
        self._caller = caller
        self._quota = quota
        self._share = gate.budget.share(caller.principal.name)
        self._record = gate.audit.stream(method=method, peer=peer, principal=caller.principal, kind=caller.kind)

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        return self._caller.principal

    @property
    def lapsed(self) -> bool:
        """Whether it is time for `confirm`."""
        return self._caller.lapsed

    def confirm(self, deadline: float) -> None:
        """Makes sure that the caller is still who it was.

        Args:
            deadline: when to stop waiting, by `time.monotonic`.

        Raises:
            Refusal: it is not, or nobody can say.
        """
        try:
            self._caller.confirm(deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, it means no
            raise Refusal(_identity_ending(error), of_identity=True) from None

    def admit(self, size: int) -> Room | None:
        """Waits for room for a packet, which ends with `answered`; None when the call was ended meanwhile.

        Args:
            size: its bytes.

        Raises:
            Refusal: it is over a limit of the principal's, or larger than all room that the principal may have.
        """
        try:
            self._quota.admit()
            try:
                room = self._share.reserve(PACKET_COPIES * size)
            except LimitExceeded:
                self._quota.release()
                raise
        except LimitExceeded as limit:
            raise _over_limit(limit) from None
        if room is None:
            self._quota.release()
        return room

    def admit_at_once(self, size: int) -> Room | None:
        """Room for a packet, as `admit` gives it, if there is some; None, and nothing else, where it would wait.

        Args:
            size: its bytes.

        Raises:
            Refusal: it is over a limit of the principal's.
        """
        room = self._share.reserve_at_once(PACKET_COPIES * size)
        if room is None:
            return None
        try:
            self._quota.admit()
        except LimitExceeded as limit:
            room.close()
            raise _over_limit(limit) from None
        return room

    @property
    def crowded(self) -> bool:
        """Whether a packet waits for memory that this call could give back."""
        return self._share.crowded

    @property
    def stands(self) -> bool:
        """Whether `confirm` and `use` have nothing to ask or look at first."""
        return not self.lapsed and not self._gate.access.due

    def use(self, model: str, model_version: str, *, look: bool = True) -> None:
        """Makes sure that the caller may use a model.

        Args:
            model: its name.
            model_version: its version; may be empty.
            look: whether to look at the policy's file when that is due.

        Raises:
            Refusal: the policy does not allow it.
        """
        try:
            self._gate.access.check(self.principal, model, model_version, look=look)
        except Denied as denied:
            raise Refusal(Ending(grpc.StatusCode.PERMISSION_DENIED, str(denied))) from None

    def received(self, request: Request) -> None:
        """Writes down a packet that was accepted."""
        control = request.control
        self._record.received(request.bytes_seen, control.model, control.model_version, request.cid)

    def refused(self, ending: Ending, request: Request, latency_secs: float) -> None:
        """Writes down a packet that was not.

        Args:
            ending: the refusal.
            request: what is known of it.
            latency_secs: how long it took to refuse.
        """
        self._record.refused(
            ending.code,
            ending.text,
            size=request.bytes_seen,
            model=request.control.model,
            model_version=request.control.model_version,
            correlation_id=request.cid,
            latency_secs=latency_secs,
        )

    def answered(self, request: Request, size: int, *, ok: bool) -> None:
        """A packet that was admitted has its Acks.

        Args:
            request: of the packet.
            size: bytes of its Acks.
            ok: whether the status of all is OK.
        """
        self._quota.release()
        self._record.answered(size, ok=ok)

    def finish(self) -> None:
        """Wakes whoever waits in `admit`, and admits nothing any more."""
        self._share.finish()

    def close(self, code: grpc.StatusCode, text: str = "") -> None:
        """The call has ended.

        Args:
            code: its status.
            text: why, where that is not OK.
        """
        self._share.close()
        self._quota.close()
        self._record.close(code, text)


def _over_limit(limit: LimitExceeded) -> Refusal:
    return Refusal(Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, str(limit), limit.retry_after_secs))


def _identity_ending(error: Exception) -> Ending:
    if isinstance(error, NotAuthenticated | UnusableCredential):
        return Ending(grpc.StatusCode.UNAUTHENTICATED, str(error))
    if isinstance(error, IdentityUnavailable):
        return Ending(grpc.StatusCode.UNAVAILABLE, str(error), error.retry_after_secs)
    # Not its text or traceback: they might hold the credential.
    _LOG.error("the authenticator failed with %s; the caller is refused", type(error).__name__)
    return Ending(grpc.StatusCode.UNAVAILABLE, "the proxy can't say who is calling just now; try again")

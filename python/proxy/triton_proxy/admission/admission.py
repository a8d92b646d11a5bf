"""What a call may do: who is calling, which models they may use, how much at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from domino_identity import IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.caller import Caller
from domino_identity.credential import Credential, UnusableCredential, from_headers
from domino_identity.decisions import Decision, Decisions, Standing
from mm_service.status import Code, Status
from mm_service.waiting import WouldBlock
from triton_proxy.access.access import Access, Denied
from triton_proxy.admission.budget import PACKET_COPIES, Budget, Reservation
from triton_proxy.admission.quotas import LimitExceeded, Quota, Quotas
from triton_proxy.inference.answer import Timing
from triton_proxy.telemetry import trace
from triton_proxy.telemetry.observer import CallInfo, Observer, PacketInfo
from triton_proxy.telemetry.trace import RequestTrace, Sampler

_LOG = logging.getLogger(__name__)
# Authenticators have shorter limits of their own; this one bounds a wait for another call's question.
_LONGEST_SECS = 60.0
_TRACE_HEADERS = ("traceparent", "tracestate")
_D = TypeVar("_D")

Headers = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class CallHead:
    """What is known of a call before anything of its requests is read.

    Attributes:
        method: full name of the method, such as `/multimodal.MultimodalService/Chat`, as the caller gave it.
        headers: names in lower case, and values.
        peer: the transport's name of the other end.
        noun: what the caller's protocol calls a header.
    """

    method: str
    headers: Headers
    peer: str
    noun: str = "metadata"


class CallRejected(Exception):  # noqa: N818 - says what it is about
    """A call, or a packet of it, is not let through.

    Attributes:
        status: how the call ends.
        of_identity: whether it is not, or not any more, known who is calling.
    """

    def __init__(self, status: Status, *, of_identity: bool = False) -> None:
        super().__init__(status.text)
        self.status = status
        self.of_identity = of_identity


@dataclass(frozen=True)
class Admission:
    """What all calls go through.

    Attributes:
        decisions: who is calling.
        access: who may use which model.
        quotas: what one principal may have under way.
        budget: what all together may have under way.
        observer: hears of it.
        sampler: decides which calls are traced; None for no call.
    """

    decisions: Decisions
    access: Access
    quotas: Quotas
    budget: Budget
    observer: Observer
    sampler: Sampler | None = None

    def admit(self, head: CallHead, time_left: float | None) -> AdmittedCall:
        """Lets a call in whose caller is known, or can be found out; waits for that.

        Args:
            head: of the call.
            time_left: until the call's deadline, in seconds; None where it has none.

        Raises:
            CallRejected: the caller is not known, or has too many calls open; the observer heard of it.
        """
        began = time.perf_counter()
        longest = _LONGEST_SECS if time_left is None else min(time_left, _LONGEST_SECS)
        deadline = time.monotonic() + longest
        decided = self._decided(head, lambda asked: self.decisions.decide(asked, deadline))
        return self._admitted(head, *decided, began)

    def admit_nowait(self, head: CallHead) -> AdmittedCall:
        """Lets a call in whose caller is remembered.

        Args:
            head: of the call.

        Raises:
            WouldBlock: `admit` would have to ask who is calling.
            CallRejected: it is remembered that the caller is nobody, or it has too many calls open; the observer heard
                of it.
        """
        began = time.perf_counter()
        credential, decision = self._decided(head, self.decisions.recall)
        if decision is None:
            raise WouldBlock
        return self._admitted(head, credential, decision, began)

    def standing(self, headers: Headers) -> Standing:
        """What is known of a call's caller before anybody is asked; no observer hears of it.

        Args:
            headers: of the call.
        """
        try:
            return self.decisions.standing(from_headers(headers, noun="metadata"))
        except UnusableCredential:
            return Standing.REFUSED

    def too_many_waiting(self, head: CallHead) -> CallRejected:
        """The rejection of a call that can't wait until its caller is known: too many do. The observer hears of it.

        Args:
            head: of the call.
        """
        text = "the proxy is finding out about as many callers as it does at once; try again in a second"
        status = Status(Code.UNAVAILABLE, text, retry_after_secs=1.0)
        self.observer.call_rejected(_info(head, None, None), status, 0.0)
        return CallRejected(status, of_identity=True)

    def _admitted(self, head: CallHead, credential: Credential, decision: Decision, began: float) -> AdmittedCall:
        caller = Caller(self.decisions, credential, decision)
        info = _info(head, caller.principal, caller.kind)
        if self.sampler is not None:
            info = replace(info, trace=self.sampler.begin(trace.parse(info.trace_context), began))
        try:
            quota = self.quotas.call(caller.principal.name)
        except LimitExceeded as limit:
            rejection = _over_limit(limit)
            self.observer.call_started(info).call_ended(rejection.status)
            raise rejection from None
        return AdmittedCall(self, caller, quota, info)

    def _decided(self, head: CallHead, decide: Callable[[Credential], _D]) -> tuple[Credential, _D]:
        began = time.monotonic()
        kind: Kind | None = None
        try:
            credential = from_headers(head.headers, noun=head.noun)
            kind = credential.kind
            return credential, decide(credential)
        except Exception as error:  # noqa: BLE001 - whatever it is, it means no
            status = _identity_status(error)
            self.observer.call_rejected(_info(head, None, kind), status, time.monotonic() - began)
            raise CallRejected(status, of_identity=True) from None


class AdmittedCall:
    """What one call may do. Close it when the call has ended.

    Attributes:
        trace_id: of the trace that its caller or the proxy began; "" for none.
    """

    def __init__(self, admission: Admission, caller: Caller, quota: Quota, info: CallInfo) -> None:
        """Made by `Admission.admit`."""
        self._admission = admission
        self._caller = caller
        self._quota = quota
        self._share = admission.budget.share(caller.principal.name)
        self.trace_id = info.trace_id
        self._trace = info.trace
        self._observer = admission.observer.call_started(info)

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        return self._caller.principal

    @property
    def lapsed(self) -> bool:
        """Whether it is time for `confirm`."""
        return self._caller.lapsed

    def confirm(self, deadline: float) -> None:
        """Makes sure that the caller is still who it was; waits for that.

        Args:
            deadline: when to stop waiting, by `time.monotonic`.

        Raises:
            CallRejected: it is not, or nobody can say.
        """
        try:
            self._caller.confirm(deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, it means no
            raise CallRejected(_identity_status(error), of_identity=True) from None

    def confirm_nowait(self) -> None:
        """Makes sure that the caller is still who it was, and that the policy's file need not be looked at now.

        Raises:
            WouldBlock: `confirm` or `use` would wait.
        """
        if self.lapsed or self._admission.access.due:
            raise WouldBlock

    def arrive(self, size: int, resume: Callable[[], None]) -> bool:
        """Counts bytes of a packet that is still arriving.

        Args:
            size: bytes that came, as `Share.arrive` counts them.
            resume: is called once more may come, where that is not now; must not wait.

        Returns:
            Whether the call may send more.
        """
        return self._share.arrive(size, resume)

    def reserve(self, size: int) -> Reservation:
        """Waits for memory for a packet, which ends with `answered`.

        Args:
            size: its bytes.

        Raises:
            CallRejected: it is over a limit of the principal's, or larger than all that the principal may have.
            ShareFinished: the call was ended meanwhile.
        """
        try:
            self._quota.admit()
            try:
                return self._share.reserve(PACKET_COPIES * size)
            except BaseException:
                self._quota.release()
                raise
        except LimitExceeded as limit:
            raise _over_limit(limit) from None

    def reserve_nowait(self, size: int) -> Reservation:
        """Memory for a packet, as `reserve` gives it.

        Args:
            size: its bytes.

        Raises:
            WouldBlock: `reserve` would wait, or say more.
            CallRejected: it is over a limit of the principal's.
        """
        reservation = self._share.reserve_nowait(PACKET_COPIES * size)
        try:
            self._quota.admit()
        except LimitExceeded as limit:
            reservation.close()
            raise _over_limit(limit) from None
        return reservation

    @property
    def finished(self) -> bool:
        """Whether the call is ending, or has ended: nothing of it is accepted any more."""
        return self._share.finished

    @property
    def crowded(self) -> bool:
        """Whether a packet waits for memory that this call could give back."""
        return self._share.crowded

    def use(self, model: str, model_version: str) -> None:
        """Makes sure that the caller may use a model, by the policy as it is now; waits for its file where that is due.

        Args:
            model: its name.
            model_version: its version; may be empty.

        Raises:
            CallRejected: the policy does not allow it.
        """
        self._use(self._admission.access.check, model, model_version)

    def may_use(self, model: str, model_version: str) -> bool:
        """Whether the caller may use a model, as `use_nowait` says it."""
        try:
            self.use_nowait(model, model_version)
        except CallRejected:
            return False
        return True

    def use_nowait(self, model: str, model_version: str) -> None:
        """Makes sure that the caller may use a model, by the policy as it was when its file was last looked at.

        Args:
            model: its name.
            model_version: its version; may be empty.

        Raises:
            CallRejected: the policy does not allow it.
        """
        self._use(self._admission.access.check_nowait, model, model_version)

    def _use(self, check: Callable[[Principal, str, str], None], model: str, model_version: str) -> None:
        try:
            check(self.principal, model, model_version)
        except Denied as denied:
            raise CallRejected(Status(Code.PERMISSION_DENIED, str(denied))) from None

    def traced(self, arrived: float) -> RequestTrace | None:
        """Where a packet is traced; None where it is not.

        Args:
            arrived: when it came, by `time.perf_counter`.
        """
        return None if self._trace is None else self._trace.request(arrived)

    def packet_admitted(self, packet: PacketInfo) -> None:
        """A packet was accepted."""
        self._observer.packet_admitted(packet)

    def packet_rejected(self, packet: PacketInfo, status: Status, latency_secs: float) -> None:
        """A packet was not.

        Args:
            packet: what is known of it.
            status: why.
            latency_secs: how long it took to say so.
        """
        self._observer.packet_rejected(packet, status, latency_secs)

    def packet_answered(
        self, packet: PacketInfo, size: int, timing: Timing | None, *, ok: bool, failure: str = ""
    ) -> None:
        """A packet that was accepted has all its answers.

        Args:
            packet: what is known of it.
            size: bytes of its answers.
            timing: of the last one.
            ok: whether none says that something went wrong.
            failure: what went wrong; see `CallObserver`.
        """
        self._observer.packet_answered(packet, size, timing, ok=ok, failure=failure)

    def packet_over(self) -> None:
        """Nothing is done for a packet any more: it does not count against the principal's limits."""
        self._quota.release()

    def finish(self) -> None:
        """Ends the waiting in `reserve`, and reserves nothing any more."""
        self._share.finish()

    def close(self, status: Status) -> None:
        """The call has ended, and nothing is done for it any more.

        Args:
            status: how.
        """
        self.over()
        self.ended(status)

    def ended(self, status: Status) -> None:
        """The call has ended for its caller.

        Args:
            status: how.
        """
        self._observer.call_ended(status)

    def over(self) -> None:
        """Nothing is done for the call any more: it gives back all that it has."""
        self._share.close()
        self._quota.close()


def _info(head: CallHead, principal: Principal | None, kind: Kind | None) -> CallInfo:
    sent = tuple((name, value) for name, value in head.headers if name in _TRACE_HEADERS and isinstance(value, str))
    return CallInfo(head.method, head.peer, principal, kind, sent)


def _over_limit(limit: LimitExceeded) -> CallRejected:
    return CallRejected(Status(Code.RESOURCE_EXHAUSTED, str(limit), limit.retry_after_secs))


def _identity_status(error: Exception) -> Status:
    if isinstance(error, NotAuthenticated | UnusableCredential):
        return Status(Code.UNAUTHENTICATED, str(error))
    if isinstance(error, IdentityUnavailable):
        return Status(Code.UNAVAILABLE, str(error), error.retry_after_secs)
    # Not its text or traceback: they might hold the credential.
    _LOG.error("the authenticator failed with %s; the caller is refused", type(error).__name__)
    return Status(Code.UNAVAILABLE, "the proxy can't say who is calling just now; try again")

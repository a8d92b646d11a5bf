"""The one way in: every method, also one that does not exist, first asks who is calling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from domino_identity.decisions import Standing
from mm_service.status import Code, Status
from mm_service.waiting import WouldBlock
from triton_proxy.admission.admission import Admission, AdmittedCall, CallRejected, Headers
from triton_proxy.admission.waiting_calls import WaitingCalls
from triton_proxy.serving.active_calls import ActiveCalls
from triton_proxy.serving.call import Call
from triton_proxy.serving.protocol import WireProtocol

_CHANGED = Status(Code.UNAVAILABLE, "what is known of the caller has changed since the call came; try again")
_KNOWN = (Standing.LAPSED, Standing.REMEMBERED)
# Serves a call whose caller is known; what it does where the call names no method of the router's.
Begin = Callable[[Call, AdmittedCall], None]


@dataclass(frozen=True)
class Method:
    """One method of a protocol.

    Attributes:
        protocol: what its bytes mean.
        unary: whether the caller sends one packet.
    """

    protocol: WireProtocol
    unary: bool


@dataclass(frozen=True)
class RouterStatistics:
    """Calls whose callers are not known yet.

    Attributes:
        strangers: calls that wait, of callers that nobody has known.
        lapsed: calls that wait, of callers that were known before.
    """

    strangers: int
    lapsed: int


class Router:
    """Leads calls to their methods, once the caller is known: nothing of a request is read before.

    Attributes:
        waiting: the calls that wait until it is known who makes them.
    """

    def __init__(
        self,
        admission: Admission,
        calls: ActiveCalls,
        methods: Mapping[str, Method],
        forbidden: Callable[[str], str | None] = lambda _: None,
        *,
        workers: int = 1,
    ) -> None:
        """Leads to no method but these.

        Args:
            admission: says who is calling.
            calls: serves the calls.
            methods: by full name, such as `/multimodal.MultimodalService/Chat`.
            forbidden: says of any other name why nobody may call it; None where it is only unknown.
            workers: processes that serve the same callers, this one among them.
        """
        self.waiting = WaitingCalls(workers)
        self._admission = admission
        self._calls = calls
        self._methods = dict(methods)
        self._forbidden = forbidden

    @property
    def methods(self) -> Mapping[str, Method]:
        """The methods by their full names."""
        return self._methods

    def statistics(self) -> RouterStatistics:
        """How many calls wait at this moment."""
        waiting = self.waiting.statistics()
        return RouterStatistics(waiting[Standing.STRANGER.value], waiting[Standing.LAPSED.value])

    def standing(self, headers: Headers) -> Standing:
        """What is known of a call's caller before anybody is asked.

        Args:
            headers: of the call.
        """
        return self._admission.standing(headers)

    def route(self, call: Call, begin: Begin | None = None) -> None:
        """Serves a call; waits until its caller is known.

        Args:
            call: the call.
            begin: serves it, where its transport knows what is asked for; None looks for its method.
        """
        try:
            admitted = self._admission.admit(call.head, call.time_left())
        except CallRejected as rejection:
            # Nothing was read: whatever the client has sent may be sent again.
            call.finish(rejection.status, resend=True)
        else:
            (begin or self._begin)(call, admitted)

    def route_nowait(self, call: Call, begin: Begin | None = None) -> None:
        """Serves a call, as `route`; where it is to be found out who is calling, that is submitted."""
        try:
            admitted = self._admission.admit_nowait(call.head)
        except CallRejected as rejection:
            call.finish(rejection.status, resend=True)
        except WouldBlock:
            self._wait(call, begin)
        else:
            (begin or self._begin)(call, admitted)

    def reject_nowait(self, call: Call) -> None:
        """Ends a call whose caller was refused when it came, with the reason as it is now."""
        try:
            admitted = self._admission.admit_nowait(call.head)
        except CallRejected as rejection:
            call.finish(rejection.status, resend=True)
        except WouldBlock:
            call.finish(_CHANGED, resend=True)
        else:
            admitted.close(_CHANGED)
            call.finish(_CHANGED, resend=True)

    def reject_waiting(self, call: Call) -> None:
        """Ends a call that can't wait until its caller is known, since too many do."""
        call.finish(self._admission.too_many_waiting(call.head).status, resend=True)

    def _wait(self, call: Call, begin: Begin | None) -> None:
        standing = Standing.LAPSED if self.standing(call.head.headers) in _KNOWN else Standing.STRANGER
        try:
            self.waiting.begin_nowait(standing)
        except WouldBlock:
            self.reject_waiting(call)
        else:
            call.submit(partial(self.route, call, begin), partial(self.waiting.end, standing))

    def _begin(self, call: Call, admitted: AdmittedCall) -> None:
        method = self._methods.get(call.head.method)
        if method is None:
            forbidden = self._forbidden(call.head.method)
            if forbidden is None:
                status = Status(Code.UNIMPLEMENTED, f"this proxy does not serve {call.head.method}")
            else:
                status = Status(Code.PERMISSION_DENIED, forbidden)
            admitted.close(status)
            call.finish(status)
        else:
            self._calls.begin(call, method.protocol, admitted, unary=method.unary)

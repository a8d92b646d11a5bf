"""The one way in: every method, also one that does not exist, first asks who is calling."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial

import grpc

from domino_identity.decisions import Standing
from multimodal_contract import NOT_ACCEPTED
from triton_proxy.event_call import EventCall, handler
from triton_proxy.gate import Gate, Passage, Refusal
from triton_proxy.turns import Turns

# Serialized requests in, serialized replies out. The method closes the passage once the call has ended, and not before:
# the caller would wait for that.
Method = Callable[[Iterator[bytes], Passage, grpc.ServicerContext], Iterator[bytes]]
# Likewise; called in any thread, and must not wait.
UnaryMethod = Callable[[EventCall, Passage], None]
_Enter = Callable[[str, grpc.ServicerContext], Passage | None]


class Door(grpc.GenericRpcHandler):
    """Leads calls to the methods behind it, once the caller is known.

    Nothing of a request is read, let alone parsed, before the caller is known. That is why a method that does not exist
    is served as a stream, which on the wire a unary method is too.
    """

    def __init__(
        self,
        gate: Gate,
        methods: Mapping[str, Method],
        unary_methods: Mapping[str, UnaryMethod],
        threads: Executor,
        own: str = "",
    ) -> None:
        """A door to the methods.

        Args:
            gate: says who is calling.
            methods: with streams, by full name, such as `/multimodal.MultimodalService/Chat`.
            unary_methods: with one message each way, by full name.
            threads: where to wait until it is known who makes a unary call.
            own: the name, which nobody can guess, of a method that the proxy calls to see whether it is answered; ""
                for none.
        """
        self._gate = gate
        self._methods = dict(methods)
        self._threads = threads
        self._unary = {name: handler(partial(self._begin, name, method)) for name, method in unary_methods.items()}
        self._refusal = handler(self._refuse)
        self._own = own
        self._no_turn = handler(self._refuse_turn)
        self._turns = Turns()
        self._answer = handler(lambda call: call.answer(b""))

    @property
    def methods(self) -> frozenset[str]:
        """Full names of the methods behind the door."""
        return frozenset(self._methods) | frozenset(self._unary)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler for any method name whatever."""
        name = handler_call_details.method
        if self._own and hmac.compare_digest(name.encode(), self._own.encode()):
            return self._answer
        if name in self._unary:
            return self._unary[name]
        standing = self._gate.standing(handler_call_details.invocation_metadata)
        # On the wire every refusal is the same, and these take no thread.
        if standing is Standing.REFUSED:
            return self._refusal
        waits = standing is not Standing.REMEMBERED
        if waits and not self._turns.take(standing):
            return self._no_turn

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            try:
                passage = self._gate.enter(name, context)
            except Refusal as refusal:
                # Nothing was read: whatever the client has sent may be sent again.
                context.set_trailing_metadata(refusal.ending.trailing_metadata)
                context.abort(refusal.ending.code, refusal.ending.text)
            finally:
                if waits:
                    self._turns.give_back(standing)
            method = self._methods.get(name)
            if method is None:
                text = f"this proxy does not serve {name}"
                passage.close(grpc.StatusCode.UNIMPLEMENTED, text)
                context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
            yield from method(requests, passage, context)

        return grpc.stream_stream_rpc_method_handler(behave)

    def _refuse(self, call: EventCall) -> None:
        self._begin(call.method, _let_in_meanwhile, call)

    def _refuse_turn(self, call: EventCall) -> None:
        ending = self._gate.no_turn(call.method, call.context).ending
        call.abort(ending.code, ending.text, ending.trailing_metadata)

    def _begin(self, name: str, method: UnaryMethod, call: EventCall) -> None:
        self._lead(self._gate.enter_at_once, name, method, call)

    def _lead(self, enter: _Enter, name: str, method: UnaryMethod, call: EventCall) -> None:
        try:
            passage = enter(name, call.context)
        except Refusal as refusal:
            call.abort(refusal.ending.code, refusal.ending.text, refusal.ending.trailing_metadata)
            return
        if passage is not None:
            method(call, passage)
            return
        known_before = self._gate.standing(call.context.invocation_metadata()) in (Standing.LAPSED, Standing.REMEMBERED)
        standing = Standing.LAPSED if known_before else Standing.STRANGER
        if not self._turns.take(standing):
            self._refuse_turn(call)
            return
        call.later(
            self._threads,
            self._lead,
            self._gate.enter,
            name,
            method,
            call,
            finally_=partial(self._turns.give_back, standing),
        )


def _let_in_meanwhile(call: EventCall, passage: Passage) -> None:
    text = "it was not known who is calling when the call came, and is by now; try again"
    passage.close(grpc.StatusCode.UNAVAILABLE, text)
    call.abort(grpc.StatusCode.UNAVAILABLE, text, (NOT_ACCEPTED,))

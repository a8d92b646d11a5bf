"""The one way in: every method, also one that does not exist, first asks who is calling."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial

import grpc

from multimodal_contract import NOT_ACCEPTED
from triton_proxy.event_call import EventCall, handler
from triton_proxy.gate import Gate, Passage, Refusal

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
        self._counting = threading.Lock()
        self._seen = self._reached = 0
        self._answer = handler(lambda call: call.answer(b""))

    @property
    def methods(self) -> frozenset[str]:
        """Full names of the methods behind the door."""
        return frozenset(self._methods) | frozenset(self._unary)

    @property
    def unserved(self) -> int:
        """Calls so far that grpc's server refused for want of a place; some may be on their way here."""
        with self._counting:
            return self._seen - self._reached

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler for any method name whatever."""
        name = handler_call_details.method
        if self._own and hmac.compare_digest(name.encode(), self._own.encode()):
            return self._answer
        with self._counting:
            self._seen += 1
        if name in self._unary:
            return self._unary[name]
        # On the wire every refusal is the same, and this one takes no thread.
        if self._gate.refuses(handler_call_details.invocation_metadata):
            return self._refusal

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            self._reach()
            try:
                passage = self._gate.enter(name, context)
            except Refusal as refusal:
                # Nothing was read: whatever the client has sent may be sent again.
                context.set_trailing_metadata(refusal.ending.trailing_metadata)
                context.abort(refusal.ending.code, refusal.ending.text)
            method = self._methods.get(name)
            if method is None:
                text = f"this proxy does not serve {name}"
                passage.close(grpc.StatusCode.UNIMPLEMENTED, text)
                context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
            yield from method(requests, passage, context)

        return grpc.stream_stream_rpc_method_handler(behave)

    def _reach(self) -> None:
        with self._counting:
            self._reached += 1

    def _refuse(self, call: EventCall) -> None:
        self._begin(call.method, _let_in_meanwhile, call)

    def _begin(self, name: str, method: UnaryMethod, call: EventCall) -> None:
        self._reach()
        self._lead(self._gate.enter_at_once, name, method, call)

    def _lead(self, enter: _Enter, name: str, method: UnaryMethod, call: EventCall) -> None:
        try:
            passage = enter(name, call.context)
        except Refusal as refusal:
            call.abort(refusal.ending.code, refusal.ending.text, refusal.ending.trailing_metadata)
            return
        if passage is None:
            call.later(self._threads, self._lead, self._gate.enter, name, method, call)
        else:
            method(call, passage)


def _let_in_meanwhile(call: EventCall, passage: Passage) -> None:
    text = "it was not known who is calling when the call came, and is by now; try again"
    passage.close(grpc.StatusCode.UNAVAILABLE, text)
    call.abort(grpc.StatusCode.UNAVAILABLE, text, (NOT_ACCEPTED,))

"""The one way in: every method, also one that does not exist, first asks who is calling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import grpc

from triton_proxy.gate import Gate, Passage, Refusal

# Serialized requests in, serialized replies out. The method closes the passage once the call has ended, and not before:
# the caller would wait for that.
Method = Callable[[Iterator[bytes], Passage, grpc.ServicerContext], Iterator[bytes]]


class Door(grpc.GenericRpcHandler):
    """Leads calls to the methods behind it, once the caller is known.

    Every method is served as a stream, which on the wire a unary method is too. That way nothing of a request is
    read, let alone parsed, before the caller is known.
    """

    def __init__(self, gate: Gate, methods: Mapping[str, Method]) -> None:
        """A door to the methods.

        Args:
            gate: says who is calling.
            methods: by full name, such as `/multimodal.MultimodalService/Chat`.
        """
        self._gate = gate
        self._methods = dict(methods)

    @property
    def methods(self) -> frozenset[str]:
        """Full names of the methods behind the door."""
        return frozenset(self._methods)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler for any method name whatever."""
        name = handler_call_details.method

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
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

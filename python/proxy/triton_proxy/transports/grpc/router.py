"""Every call that grpc's server gets, on its way to the proxy's own router.

Nothing of a request is read, let alone parsed, before the caller is known. So every method is served as a stream, also
one that does not exist: on the wire a unary call is a stream with one message each way.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial

import grpc

from domino_identity.decisions import Standing
from mm_service.waiting import WouldBlock
from triton_proxy.serving.call import Call
from triton_proxy.serving.router import Router
from triton_proxy.transports.grpc.stream_call import StreamCall


class GrpcRouter(grpc.GenericRpcHandler):
    """Gives each call a thread, and a second one once its caller is known.

    A call that is refused from what is known already has its thread only for the moment that this takes.
    """

    def __init__(self, router: Router, readers: Executor, own: str = "") -> None:
        """Leads to the router.

        Args:
            router: says who is calling, and where to.
            readers: where calls are read; one for each call that is served.
            own: the name, which nobody can guess, of a method that the proxy calls to see whether it is answered; ""
                for none.
        """
        self._router = router
        self._readers = readers
        self._own = own
        self._answered: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: b""
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler for any method name whatever."""
        name = handler_call_details.method
        if self._own and hmac.compare_digest(name.encode(), self._own.encode()):
            return self._answered
        standing = self._router.standing(handler_call_details.invocation_metadata)
        if standing is Standing.REFUSED:
            return self._handler(name, self._router.reject_nowait)
        if standing is Standing.REMEMBERED:
            return self._handler(name, self._router.route)
        try:
            self._router.waiting.begin_nowait(standing)
        except WouldBlock:
            return self._handler(name, self._router.reject_waiting)
        return self._handler(name, partial(self._wait, standing))

    def _wait(self, standing: Standing, call: Call) -> None:
        try:
            self._router.route(call)
        finally:
            self._router.waiting.end(standing)

    def _handler(self, name: str, begin: Callable[[Call], None]) -> grpc.RpcMethodHandler[bytes, bytes]:
        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = StreamCall(name, requests, context, self._readers)
            return call.run(partial(begin, call))

        return grpc.stream_stream_rpc_method_handler(behave)


def _nothing(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    return b""

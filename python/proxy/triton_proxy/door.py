"""The one way in: every method, also one that does not exist, first asks who is calling."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import grpc

from triton_proxy.auth import Authenticator, IdentityUnavailable, NotAuthenticated, Principal
from triton_proxy.auth.credential import UnusableCredential, from_metadata

_LOG = logging.getLogger(__name__)

# Serialized requests in, serialized replies out.
Method = Callable[[Iterator[bytes], Principal, grpc.ServicerContext], Iterator[bytes]]


class Door(grpc.GenericRpcHandler):
    """Leads calls to the methods behind it, once the caller is known.

    Every method is served as a stream, which on the wire a unary method is too. That way nothing of a request is
    read, let alone parsed, before the caller is known.
    """

    def __init__(self, authenticator: Authenticator, methods: Mapping[str, Method]) -> None:
        """A door to the methods.

        Args:
            authenticator: says who is calling.
            methods: by full name, such as `/multimodal.MultimodalService/Chat`.
        """
        self._authenticator = authenticator
        self._methods = dict(methods)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler for any method name whatever."""
        name = handler_call_details.method

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            caller = self._identify(context)
            method = self._methods.get(name)
            if method is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, f"this proxy does not serve {name}")
            yield from method(requests, caller, context)

        return grpc.stream_stream_rpc_method_handler(behave)

    def _identify(self, context: grpc.ServicerContext) -> Principal:
        try:
            return self._authenticator.authenticate(from_metadata(context.invocation_metadata()))
        except (UnusableCredential, NotAuthenticated) as refusal:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(refusal))
        except IdentityUnavailable as trouble:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(trouble))
        except Exception:  # noqa: BLE001 - whatever it is, it means no
            # Nor may grpc put its text into the status or the log: that text might hold the credential.
            _LOG.error("the authenticator failed; the caller is refused")
            context.abort(grpc.StatusCode.UNAVAILABLE, "the proxy can't say who is calling just now; try again")

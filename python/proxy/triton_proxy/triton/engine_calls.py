"""Inferences on the HTTP/2 engine: a few connections to Triton, on the loop that serves callers too."""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import grpc

from mm_service.status import Code
from mm_service.tls import Pem, client_context
from multimodal_contract.wire import Buffer
from triton_proxy.http2.client import Http2Client
from triton_proxy.http2.client_call import ClientCall
from triton_proxy.http2.limits import Counters
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.http2.nghttp2_connection import Nghttp2Connection, misfit
from triton_proxy.inference.request import Headers
from triton_proxy.triton.direct.blocking_socket import CallFailed

_LOG = logging.getLogger(__name__)
# One for each Triton: answers that come together are read together.
_CONNECTIONS = 1
_CLOSED = "Channel closed!"
# Of a call that the server certainly has not looked at.
_TRIES = 2


class EngineCall:
    """One unary call; as far as it is used here, what `grpc.Future` is, at a fifth of the cost of Python's own."""

    __slots__ = (
        "_answer", "_call", "_callbacks", "_calls", "_deadline", "_error", "_headers", "_lock", "_message", "_method",
        "_over", "_request", "_tries",
    )  # fmt: skip

    def __init__(
        self, calls: EngineCalls, method: str, request: Sequence[Buffer], deadline: float, headers: Headers
    ) -> None:
        """Nothing has begun.

        Args:
            calls: of which it is one.
            method: the unary method's path.
            request: the serialized request, in parts.
            deadline: when to give up, by `time.monotonic`.
            headers: what goes beside the request.
        """
        self._calls = calls
        self._method = method
        self._request = request
        self._deadline = deadline
        self._headers = headers
        self._tries = _TRIES
        self._lock = threading.Lock()
        self._over = False
        self._answer: Buffer = b""
        self._error: BaseException | None = None
        # What refers to this call is dropped with its end: Python would take its time to find the circle.
        self._callbacks: list[Callable[[Any], None]] = []
        self._call: ClientCall | None = None
        self._message: bytes | None = None

    def result(self, timeout: float | None = None) -> Buffer:
        """Waits for the serialized answer; not to be called in the loop's thread before there is one.

        Args:
            timeout: longest wait in seconds; None for ever.

        Raises:
            CallFailed: there is none.
            grpc.FutureCancelledError: `cancel` came first.
            TimeoutError: not within `timeout`.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._answer

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` raises, or None; waits as it does."""
        if not self._over:
            done = threading.Event()
            self.add_done_callback(lambda _: done.set())
            if not done.wait(timeout):
                raise TimeoutError
        return self._error

    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._over

    def cancelled(self) -> bool:
        """Whether `cancel` came before the answer."""
        return isinstance(self._error, grpc.FutureCancelledError)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back when there is an outcome, in the loop's thread; at once where there is one already."""
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
                return
        callback(self)

    def cancel(self) -> None:
        """Ends the call."""
        self._calls.loop.soon(self._cancel)

    def fail(self, error: BaseException) -> None:
        """Ends the call with this outcome, unless it has one."""
        self._end(b"", error)

    def make(self) -> None:
        """Makes the call, unless it is over; in the loop's thread."""
        if self._over:
            return
        client = self._calls.client()
        if client is None:
            self.fail(CallFailed(grpc.StatusCode.CANCELLED, _CLOSED))
            return
        self._tries -= 1
        self._message = None
        call = self._call = client.open(
            self._method, metadata=self._headers, timeout=max(self._deadline - time.monotonic(), 0.0)
        )
        call.on_message(self._received)
        call.on_end(self._ended)
        call.send_last(*self._request)

    def _end(self, answer: Buffer, error: BaseException | None) -> None:
        with self._lock:
            if self._over:
                return
            self._answer, self._error, self._over = answer, error, True
            callbacks, self._callbacks = self._callbacks, []
        self._request = ()
        for callback in callbacks:
            callback(self)

    def _received(self, message: bytes) -> None:
        if self._message is None:
            self._message = message
        elif self._call is not None:
            self._call.fail(Code.INTERNAL, "Triton answered more than one message")

    def _cancel(self) -> None:
        self.fail(grpc.FutureCancelledError())
        if self._call is not None:
            self._call.cancel()

    def _ended(self, call: ClientCall) -> None:
        self._call = None
        answer, self._message = self._message, None
        if call.status is Code.OK:
            if answer is None:
                self.fail(CallFailed(grpc.StatusCode.INTERNAL, "Triton ended the call without an answer"))
            else:
                self._end(answer, None)
        elif call.unprocessed and self._tries and self._deadline > time.monotonic():
            # The server was about to close the connection; it has not looked at the call.
            self.make()
        else:
            self.fail(self._calls.failure(call))


class EngineCalls:
    """All calls of one server.

    Attributes:
        loop: where they are made.
    """

    def __init__(
        self,
        loop: LoopThread,
        url: str,
        method: str,
        *,
        max_message_bytes: int,
        pem: Pem | None = None,
        server_name: str = "",
        authority: str = "",
    ) -> None:
        """Connects when there is something to ask.

        Args:
            loop: see the attribute.
            url: HOST:PORT.
            method: path of the unary method that calls are of, unless they say another.
            max_message_bytes: largest answer.
            pem: the certificates, for TLS.
            server_name: the name that the server's certificate must have; "" for the host of `url`.
            authority: what requests say of where they go; "" for `url`.
        """
        self.loop = loop
        self._url = url
        self._authority = authority
        self._method = method
        host, _, port = url.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self._max_message_bytes = max_message_bytes
        self._context = None if pem is None else _context(pem)
        self._server_name = server_name or None
        self._client: Http2Client | None = None
        self._closed = False

    def statistics(self) -> Counters:
        """What connections and calls there are and were; from any thread."""
        return Counters() if self._client is None else self._client.statistics()

    def begin(
        self, request: Sequence[Buffer], *, timeout_secs: float, method: str = "", headers: Headers = ()
    ) -> EngineCall:
        """Begins a call.

        Args:
            request: the serialized request, in parts that must not change before it is over.
            timeout_secs: its deadline, from now.
            method: the unary method's path; "" for the method of all.
            headers: what goes beside the request.
        """
        call = EngineCall(self, method or self._method, request, time.monotonic() + timeout_secs, headers)
        if self._closed:
            # The loop may be closed too, and would never come to it.
            call.fail(CallFailed(grpc.StatusCode.CANCELLED, _CLOSED))
        else:
            self.loop.soon(call.make)
        return call

    def close(self) -> None:
        """Ends what is under way, once; not to be called in the loop's thread."""
        if not self._closed:
            self.loop.run(self._close()).result()

    # For calls, in the loop's thread.

    def client(self) -> Http2Client | None:
        """What makes them; None once all is closed."""
        if self._closed:
            return None
        if self._client is None:
            self._client = Http2Client(
                self._host,
                self._port,
                connections=_CONNECTIONS,
                message_bytes=self._max_message_bytes,
                ssl_context=self._context,
                server_hostname=self._server_name,
                authority=self._authority,
                engine=Nghttp2Connection,
                # By PINGs Triton would take itself for attacked: it ends a connection at the third in five minutes
                # without data, and a slow model with it. The kernel asks instead.
                keepalive=math.inf,
            )
        return self._client

    def failure(self, call: ClientCall) -> CallFailed:
        """How a call ended, in grpc's words for it."""
        if self._closed:
            return CallFailed(grpc.StatusCode.CANCELLED, _CLOSED)
        status, text = call.status or Code.UNKNOWN, call.text
        if status is Code.RESOURCE_EXHAUSTED and not call.trailers:
            text = f"CLIENT: {text}"  # Not the server, which may say the same of a request.
        elif status is not Code.DEADLINE_EXCEEDED and not call.trailers and self._url not in text:
            text = f"{text}: Triton at {self._url}"
        return CallFailed(grpc.StatusCode[status.name], text, unprocessed=call.unprocessed)

    async def _close(self) -> None:
        self._closed = True
        if self._client is not None:
            await self._client.close()


def _context(pem: Pem) -> ssl.SSLContext:
    context = client_context(pem)
    context.set_alpn_protocols(["h2"])
    return context


@cache
def works_here() -> bool:
    """Whether the engine can call Triton with this build of libnghttp2; the log says once why it can't."""
    why = misfit()
    if why:
        _LOG.error("requests go to Triton by grpcio: libnghttp2 does not read Triton's answers (%s)", why)
    return not why

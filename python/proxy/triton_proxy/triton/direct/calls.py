"""Inferences under way on plaintext connections, a connection and a thread for each."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from multimodal_contract.wire import Buffer
from triton_proxy.inference.request import Headers
from triton_proxy.triton.direct.blocking_socket import CallFailed
from triton_proxy.triton.direct.connection import Connection

_LOG = logging.getLogger(__name__)
# Connections without a call that are kept. What is above it is a peak's.
_MOST_IDLE = 64
# A server, or whatever is between, may forget a connection that says nothing.
_LONGEST_IDLE_SECS = 60.0


class UnaryCall(Protocol):
    """A call with one answer, serialized: what is common to grpc's own and `Call`."""

    def result(self) -> Buffer:
        """Waits for the answer; raises grpc.RpcError where the call fails, grpc.FutureCancelledError after `cancel`."""

    def exception(self) -> BaseException | None:
        """What `result` raises, or None."""

    def cancelled(self) -> bool:
        """Whether `cancel` came before the answer."""

    def add_done_callback(self, callback: Callable[[Any], None], /) -> None:
        """Calls back, with the call, when it is over, at once where it is already."""

    def cancel(self) -> object:
        """Ends the call."""


class Call:
    """One unary call; as far as it is used here, what `grpc.Future` is."""

    def __init__(self) -> None:
        """Nothing has begun."""
        self._future: Future[Buffer] = Future()
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def result(self, timeout: float | None = None) -> Buffer:
        """Waits for the serialized answer.

        Args:
            timeout: longest wait in seconds; None for ever.

        Raises:
            CallFailed: there is none.
            grpc.FutureCancelledError: `cancel` came first.
            TimeoutError: not within `timeout`.
        """
        error = self._future.exception(timeout)
        if error is not None:
            raise _unraised(error)
        return self._future.result()

    def exception(self) -> BaseException | None:
        """Waits for the outcome: what `result` raises, or None."""
        return self._future.exception()

    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._future.done()

    def cancelled(self) -> bool:
        """Whether `cancel` came before the answer."""
        return self._future.done() and isinstance(self._future.exception(), grpc.FutureCancelledError)

    def add_done_callback(self, callback: Callable[[Call], None]) -> None:
        """Calls back when there is an outcome, at once where there is one already."""
        # The future would keep it, and with it the answer, for as long as it takes Python to find the circle.
        pending = [functools.partial(callback, self)]
        self._future.add_done_callback(lambda _: pending.pop()())

    def cancel(self) -> None:
        """Ends the call; Triton takes the end of its connection for it."""
        self.fail(grpc.FutureCancelledError())

    def fail(self, error: BaseException) -> None:
        """Ends the call with this outcome, unless it has one."""
        try:
            self._future.set_exception(_unraised(error))
        except InvalidStateError:
            return
        with self._lock:
            if self._connection is not None:
                self._connection.abort()

    def run(
        self, connection: Connection, message: Sequence[Buffer], timeout_secs: float, headers: Headers = ()
    ) -> None:
        """Makes the call in this thread, unless it is over; an answer becomes its outcome.

        Raises:
            CallFailed: there is no answer.
        """
        with self._lock:
            if self._future.done():
                return
            self._connection = connection
        try:
            answer = connection.call(message, timeout_secs=timeout_secs, headers=headers)
        finally:
            # From here on nobody ends this call by ending the connection, which may serve the next.
            with self._lock:
                self._connection = None
        # It may have been cancelled meanwhile.
        with contextlib.suppress(InvalidStateError):
            self._future.set_result(answer)


def _unraised(error: BaseException) -> BaseException:
    """The same failure anew: one that was raised keeps what it went by, the request included."""
    if isinstance(error, CallFailed):
        return CallFailed(error.code(), error.details(), unprocessed=error.unprocessed)
    return type(error)(*error.args)


@dataclass(frozen=True)
class CallsStatistics:
    """Calls on connections of their own.

    Attributes:
        under_way: calls that have no outcome, those that wait for a thread included.
        idle: connections that are kept for the next.
    """

    under_way: int
    idle: int


class Calls:
    """All calls of one method of one server."""

    def __init__(self, url: str, method: str, *, max_message_bytes: int, most: int, authority: str = "") -> None:
        """Connects when there is something to ask.

        Args:
            url: HOST:PORT.
            method: the unary method's path.
            max_message_bytes: largest answer.
            most: calls at once; further ones wait.
            authority: what requests say of where they go; "" for `url`.
        """
        self._url = url
        self._method = method
        self._authority = authority
        self._max_message_bytes = max_message_bytes
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="inference")
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []
        self._under_way: set[Call] = set()
        self._closed = False

    def statistics(self) -> CallsStatistics:
        """What there is at this moment."""
        with self._lock:
            return CallsStatistics(len(self._under_way), len(self._idle))

    def begin(self, message: Sequence[Buffer], *, timeout_secs: float, headers: Headers = ()) -> Call:
        """Begins a call.

        Args:
            message: the serialized request, in parts that must not change before it is over.
            timeout_secs: its deadline, from now; at most http2_status.LONGEST_SECS.
            headers: what goes beside the request.
        """
        call = Call()
        with self._lock:
            closed = self._closed
            if not closed:
                self._under_way.add(call)
        if closed:
            call.fail(CallFailed(grpc.StatusCode.CANCELLED, "Channel closed!"))
            return call
        try:
            self._threads.submit(self._make, call, message, time.monotonic() + timeout_secs, headers)
        except RuntimeError as error:
            # It may be in the queue all the same, and is not made there, since it is over.
            call.fail(CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the proxy can't ask Triton just now: {error}"))
            with self._lock:
                self._under_way.discard(call)
        return call

    def close(self) -> None:
        """Ends what is under way."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for call in under_way:
            call.fail(CallFailed(grpc.StatusCode.CANCELLED, "Channel closed!"))
        self.forget()
        self._threads.shutdown(wait=False)

    def forget(self) -> None:
        """Closes the connections that nobody uses: the server at their other end may be gone."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _make(self, call: Call, message: Sequence[Buffer], deadline: float, headers: Headers) -> None:
        try:
            if not call.done():
                self._make_once_or_twice(call, message, deadline, headers)
        except CallFailed as error:
            call.fail(error)
        except Exception:  # noqa: BLE001 - whatever it is, who waits for the call must hear of its end
            _LOG.exception("asking Triton failed")
            call.fail(CallFailed(grpc.StatusCode.INTERNAL, "the proxy failed to ask Triton; its log says why"))
        finally:
            with self._lock:
                self._under_way.discard(call)

    def _make_once_or_twice(self, call: Call, message: Sequence[Buffer], deadline: float, headers: Headers) -> None:
        connection = self._take() or self._connect(deadline)
        try:
            self._run(call, message, deadline, connection, headers)
        except CallFailed as error:
            if not error.unprocessed or call.done():
                raise
            # The server was about to close the connection; it has not looked at the call.
            self._run(call, message, deadline, self._connect(deadline), headers)

    def _connect(self, deadline: float) -> Connection:
        left = deadline - time.monotonic()
        return Connection(
            self._url,
            self._method,
            max_message_bytes=self._max_message_bytes,
            timeout_secs=left,
            authority=self._authority,
        )

    def _run(
        self, call: Call, message: Sequence[Buffer], deadline: float, connection: Connection, headers: Headers
    ) -> None:
        try:
            call.run(connection, message, deadline - time.monotonic(), headers)
        finally:
            self._give_back(connection)

    def _take(self) -> Connection | None:
        """A connection that is ready for a call: the one used last, whose memory is warm."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            if time.monotonic() - since < _LONGEST_IDLE_SECS and connection.rested():
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        now = time.monotonic()
        with self._lock:
            keep = connection.usable and not self._closed and len(self._idle) < _MOST_IDLE
            if keep:
                self._idle.append((now, connection))
            old = [each for each in self._idle if now - each[0] >= _LONGEST_IDLE_SECS]
            del self._idle[: len(old)]
        if not keep:
            connection.close()
        for _, unused in old:
            unused.close()

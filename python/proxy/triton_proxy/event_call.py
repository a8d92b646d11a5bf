"""Unary calls of grpc's server that no thread waits for.

grpc's server gives each call to a thread of a pool, which waits for the message, for the answer and until that is sent;
for a small request this is most of what it costs. The pool of these calls runs nothing: what grpc gives it is kept
until there is an answer, and then sends that.

This knows the inside of grpc, `grpc/_server.py` of 1.85: what a pool is given to run, and how a message is received.
docs/adr/0015 has the reasons.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no types

from multimodal_contract import NOT_ACCEPTED

FAILED = grpc.StatusCode.INTERNAL, "the proxy failed on this call; its log says why"
_LOG = logging.getLogger(__name__)
_Behavior = Callable[[object, grpc.ServicerContext], bytes]


class EventCall:
    """A unary call, whose methods may be called by any thread and do not wait.

    Attributes:
        context: of the call. It can't abort it; `abort` does.
        ending: the status and text that it was ended with; None while it was not.
        fail: ends the call after a mistake of ours, where there is something better than to abort it.
        done: when the call was aborted or is over, and no thread is at work on it.
    """

    def __init__(self, respond: Callable[..., None], event: Any, state: Any) -> None:
        """Made by `handler`.

        Args:
            respond: grpc's function that calls a behavior and sends what it returns.
            event: grpc's, of the call's arrival.
            state: grpc's, of the call.
        """
        self._respond = respond
        self._event = event
        self._state = state
        self._lock = threading.Lock()
        self._steps = 0
        self._over = self._done = False
        # What refers to this call is dropped with it: Python would take its time to find the circle.
        self._gone: Callable[[], object] | None = None
        self.context: grpc.ServicerContext = _server._Context(event, state, None)
        self.ending: tuple[grpc.StatusCode, str] | None = None
        self.fail: Callable[[], None] | None = None
        self.done: Future[None] = Future()

    @property
    def method(self) -> str:
        """Full name of the method, as the caller gave it."""
        return str(self._event.call_details.method.decode("latin1"))

    @property
    def cancelled(self) -> bool:
        """Whether the caller went away, or was cut off, before it had its answer."""
        return self._state.client is _server._CANCELLED

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Asks for the call's message.

        Args:
            then: is called with it, in the thread in which all events of the server arrive: it must neither wait nor
                take long. None where there is no message, or the call has ended.
        """
        arrived = _server._receive_message(self._state, self._event.call, None)

        def received(event: Any) -> Any:
            ended = arrived(event)
            message, self._state.request = self._state.request, None
            self.guard(then, message)
            return ended

        with self._state.condition:
            if self.context.is_active():
                self._event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), received)
                self._state.due.add(_server._RECEIVE_MESSAGE_TOKEN)

    def answer(self, message: bytes) -> None:
        """Ends the call with OK and its message, unless it has ended."""
        self._end(grpc.StatusCode.OK, "", lambda *_: message)

    def abort(self, code: grpc.StatusCode, text: str, trailing_metadata: tuple[tuple[str, str], ...] = ()) -> None:
        """Ends the call with another status, unless it has ended.

        Args:
            code: anything but OK.
            text: its details.
            trailing_metadata: what goes along.
        """

        def refuse(_: object, context: grpc.ServicerContext) -> bytes:
            context.set_trailing_metadata(trailing_metadata)
            context.abort(code, text)

        self._end(code, text, refuse)

    def guard(self, step: Callable[..., None], *arguments: Any) -> None:
        """Takes a step of the call's; one that raises ends the call: it would hang otherwise.

        Args:
            step: what to do.
            arguments: its own.
        """
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - nor may any end the thread that serves all calls
            _LOG.exception("a unary call failed")
            self._fail()

    def later(
        self,
        threads: Executor,
        step: Callable[..., None],
        *arguments: Any,
        finally_: Callable[[], object] = lambda: None,
    ) -> None:
        """Takes a step of the call's in a thread, unless the call has ended by then.

        Args:
            threads: where.
            step: what to do.
            arguments: its own.
            finally_: is called once, when the step was taken or will not be.
        """
        with self._lock:
            self._steps += 1
        # Whoever takes it lets the step go: one that could be given no thread may get one later all the same.
        mine = [step]

        def run() -> None:
            try:
                if mine and self.context.is_active():
                    self.guard(step, *arguments)
            finally:
                self._let_go(mine)
                finally_()

        try:
            threads.submit(run)
        except RuntimeError:
            _LOG.exception("a unary call got no thread")
            self._fail()
            self._let_go(mine)
            finally_()

    def over(self) -> None:
        """The call is over; grpc says so."""
        self._over = True
        self._settle()

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Calls back once, when the call is over, its status sent, and no thread is at work on it.

        Args:
            callback: must not wait.
        """
        self._gone = callback
        self._settle()

    def _fail(self) -> None:
        if self.fail is not None:
            self.fail()
        else:
            self.abort(*FAILED, (NOT_ACCEPTED,))

    def _let_go(self, mine: list[Callable[..., None]]) -> None:
        with self._lock:
            self._steps -= len(mine)
            mine.clear()
        self._settle()

    @property
    def _aborted(self) -> bool:
        return self.ending is not None and self.ending[0] is not grpc.StatusCode.OK

    def _end(self, code: grpc.StatusCode, text: str, behavior: _Behavior) -> None:
        with self._lock:
            if self.ending is not None:
                return
            self.ending = code, text
        self._respond(self._event, self._state, behavior, tuple, None, None)
        self._settle()

    def _settle(self) -> None:
        gone = None
        with self._lock:
            if self._steps:
                return
            if self._over:
                gone, self._gone, self.fail = self._gone, None, None
            done = not self._done and (self._over or self._aborted)
            self._done = self._done or done
        if gone is not None:
            gone()
        if done:
            self.done.set_result(None)


class _Pool(ThreadPoolExecutor):
    """Has no threads: begins each call where grpc's server hands it over, and is done with it when it has ended."""

    def __init__(self, begin: Callable[[EventCall], None]) -> None:
        super().__init__(1)
        self._begin = begin

    # What grpc submits: a context to run in, its function, and what that takes.
    def submit(self, _run: Any, respond: Any, event: Any, state: Any, *_: Any) -> Future[None]:  # type: ignore[override]
        call = EventCall(respond, event, state)
        call.guard(self._begin, call)
        # Last of all that is to happen then.
        call.context.add_callback(call.over)
        # Not only when it is over: one that is refused, and nobody need be known for that, would keep its place if
        # nobody reads it.
        return call.done


def handler(begin: Callable[[EventCall], None]) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The handler of a unary method.

    Args:
        begin: is given each call, in the thread in which all events of the server arrive: it must neither wait nor take
            long.
    """

    def behavior(request: bytes, context: grpc.ServicerContext) -> bytes:
        raise NotImplementedError  # grpc asks its pool only

    behavior.experimental_thread_pool = _Pool(begin)  # type: ignore[attr-defined]  # grpc looks for it there
    return grpc.unary_unary_rpc_method_handler(behavior)

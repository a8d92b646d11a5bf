"""A call of grpc's server as serving sees it, on two threads of its own: one reads, the other, grpc's, answers."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from queue import SimpleQueue

import grpc

from mm_service.status import OK, Code, Status
from multimodal_contract import ADMITTED
from multimodal_contract.wire import Buffer
from triton_proxy.admission.admission import CallHead
from triton_proxy.serving.call import FAILED
from triton_proxy.transports.call_life import CallLife
from triton_proxy.transports.status import trailing_metadata

_LOG = logging.getLogger(__name__)
_CODES = {code: grpc.StatusCode[code.name] for code in Code}
_Step = Callable[[], None]
_Make = Callable[[], Sequence[Buffer] | None]


class StreamCall:
    """Implements `serving.call.Call`: what may wait is done in the call's own threads, which hold up nobody else.

    Attributes:
        head: method, headers and peer.
    """

    def __init__(
        self, method: str, requests: Iterator[bytes], context: grpc.ServicerContext, readers: Executor
    ) -> None:
        """Reads nothing yet, and has no second thread.

        Args:
            method: its full name, as the caller gave it.
            requests: grpc's iterator over the messages.
            context: of the call.
            readers: where the second thread comes from.
        """
        self.head = CallHead(method, context.invocation_metadata(), context.peer())
        self._requests = requests
        self._context = context
        self._readers = readers
        self._lock = threading.Lock()
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[_Make, _Step, bool] | None] = SimpleQueue()
        self._life = CallLife()
        self._life.enter()  # The thread that answers.
        self._reading = False
        self._status: Status | None = None
        self._resend = False
        if not context.add_callback(self._ended):
            self._ended()

    def time_left(self) -> float | None:
        """Seconds until the call's deadline; None where it has none."""
        return self._context.time_remaining()

    def accept(self) -> None:
        """Tells the caller that its messages are being read."""
        with contextlib.suppress(grpc.RpcError):  # The caller went away; `_ended` hears of it.
            self._context.send_initial_metadata((ADMITTED,))

    def count(self, arrived: Callable[[int], bool]) -> None:
        """Grpc tells of a message when it is complete."""

    def resume(self) -> None:
        """Nothing was held back."""

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Asks for the next message."""
        self._add(partial(self._read, then))

    def submit(self, step: _Step, finally_: Callable[[], object] | None = None) -> None:
        """Takes a step in the thread that reads."""

        def take() -> None:
            try:
                if not self._life.over:
                    step()
            finally:
                if finally_ is not None:
                    finally_()

        if not self._add(take) and finally_ is not None:
            finally_()

    def answer(self, make: _Make, taken: _Step, *, heavy: bool, last: bool) -> None:
        """Sends a message; `make` runs in the thread that answers."""
        del heavy
        self._answers.put((make, taken, last))

    def finish(self, status: Status, *, resend: bool = False) -> None:
        """Ends the call, unless it has ended."""
        with self._lock:
            if self._status is None:
                self._status, self._resend = status, resend
        self._answers.put(None)

    def cancel(self) -> None:
        """Ends the call at once."""
        self._context.cancel()

    def on_end(self, callback: _Step) -> None:
        """Calls back once, when the call has ended."""
        self._life.on_end(callback)

    def on_closed(self, callback: _Step) -> None:
        """Calls back once, when the call has ended and neither thread is at work on it."""
        self._life.on_closed(callback)

    def run(self, begin: _Step) -> Iterator[bytes]:
        """The answers, for grpc to send; aborts the call where it does not end with OK.

        Args:
            begin: leads the call to its method, in the thread that answers. Where it raises, the call ends, and may be
                sent again.
        """
        try:
            self._begin(begin)
            while (answer := self._answers.get()) is not None and not self._life.over:
                make, taken, last = answer
                parts = make()
                if parts is not None:
                    message = b"".join(parts)
                    del parts
                    if last:
                        self.finish(OK)
                    yield message
                    del message  # Its megabytes would stay while the next one is waited for.
                taken()
                del answer, make, taken
            if self._status is not None and self._status.code is not Code.OK and not self._life.over:
                self._context.set_trailing_metadata(trailing_metadata(self._status, resend=self._resend))
                self._context.abort(_CODES[self._status.code], self._status.text)
        finally:
            self._life.leave()

    def _begin(self, begin: _Step) -> None:
        try:
            begin()
        except Exception:  # noqa: BLE001 - grpc would tell the caller of it in the exception's own words
            _LOG.exception("a call failed")
            self.finish(FAILED, resend=True)

    def _add(self, step: _Step) -> bool:
        """Has the reading thread take a step; False where the call has ended."""
        with self._life.lock:
            if self._life.over:
                return False
            self._steps.put(step)
            begin, self._reading = not self._reading, True
            if begin:
                self._life.enter()
        if begin:
            try:
                self._readers.submit(self._read_all)
            except RuntimeError:
                self._life.leave()
                raise
        return True

    def _read(self, then: Callable[[bytes | None], None]) -> None:
        try:
            message = next(self._requests, None)
        except grpc.RpcError:
            return  # The caller went away; `_ended` hears of it.
        if not self._life.over:
            then(message)

    def _read_all(self) -> None:
        try:
            while (step := self._steps.get()) is not None:
                step()
                del step
        finally:
            self._life.leave()

    def _ended(self) -> None:
        self._life.end()
        self._steps.put(None)
        self._answers.put(None)

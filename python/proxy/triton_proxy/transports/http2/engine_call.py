"""A call of the HTTP/2 engine as serving sees it.

What is light runs in the loop's thread, in which everything arrives and leaves; what waits or computes runs in a thread
of a pool. Each method that touches the engine goes to the loop's thread first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mm_service.status import Code, Status
from multimodal_contract import ADMITTED
from multimodal_contract.wire import Buffer
from triton_proxy.admission.admission import CallHead
from triton_proxy.http2.inbox import EndOfMessages
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.http2.server_stream import WRITABLE_BELOW, Stream, StreamEnd
from triton_proxy.transports.call_life import CallLife
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.status import trailing_metadata

_Step = Callable[[], None]
_Make = Callable[[], Sequence[Buffer] | None]


class EngineCall:
    """Implements `serving.call.Call`.

    Attributes:
        head: method, headers and peer.
    """

    def __init__(self, stream: Stream, loop: LoopThread, threads: CallThreads, window_bytes: int) -> None:
        """Receives nothing yet. To be made in the loop's thread.

        Args:
            stream: the engine's side of it.
            loop: whose it is.
            threads: where steps are taken.
            window_bytes: what a caller that is known may send before it is taken.
        """
        self.head = CallHead(stream.method, stream.head.metadata, stream.peer)
        self._stream = stream
        self._loop = loop
        self._threads = threads.waiting
        self._working = threads.working
        self._window_bytes = window_bytes
        self._life = CallLife()
        self._taken: _Step | None = None
        stream.on_end(self._ended)

    def time_left(self) -> float | None:
        """Seconds until the call's deadline; None where it has none."""
        return self._stream.time_left()

    def accept(self) -> None:
        """Tells the caller that its messages are being read."""
        self._loop.soon(self._stream.send_head, (ADMITTED,))

    def count(self, arrived: Callable[[int], bool]) -> None:
        """Has bytes counted as they arrive."""
        self._loop.soon(self._stream.on_bytes, arrived)

    def resume(self) -> None:
        """More may come."""
        # Not at once: the loop itself may call this, within the budget's lock.
        self._stream.post(self._stream.resume)

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Asks for the next message; `then` is called in the loop's thread."""
        if self._threads is not self._working:
            # From here on it is known who calls.
            self._threads = self._working
            self._loop.soon(self._stream.widen, self._window_bytes)
        self._loop.soon(self._stream.on_next, partial(self._next, then))

    def submit(self, step: _Step, finally_: Callable[[], object] | None = None) -> None:
        """Takes a step in a thread of the pool."""
        self._life.submit(self._threads, step, finally_)

    def answer(self, make: _Make, taken: _Step, *, heavy: bool, last: bool) -> None:
        """Sends a message."""
        if heavy:
            self.submit(lambda: self._loop.soon(self._send, make(), taken, last))
        else:
            self._loop.soon(self._make, make, taken, last)

    def finish(self, status: Status, *, resend: bool = False) -> None:
        """Ends the call, unless it has ended."""
        if status.code is Code.OK:
            self._loop.soon(self._stream.finish)
        else:
            metadata = trailing_metadata(status, resend=resend)
            self._loop.soon(self._stream.abort, status.code, status.text, metadata)

    def cancel(self) -> None:
        """Ends the call at once."""
        self._loop.soon(self._stream.cancel)

    def on_end(self, callback: _Step) -> None:
        """Calls back once, when the call has ended."""
        self._life.on_end(callback)

    def on_closed(self, callback: _Step) -> None:
        """Calls back once, when the call has ended and no thread is at work on it."""
        self._life.on_closed(callback)

    def _next(self, then: Callable[[bytes | None], None]) -> None:
        message: bytes | None
        try:
            message = self._stream.receive_nowait()
        except EndOfMessages:
            message = None
        then(message)

    def _make(self, make: _Make, taken: _Step, last: bool) -> None:
        self._send(make(), taken, last)

    def _send(self, parts: Sequence[Buffer] | None, taken: _Step, last: bool) -> None:
        stream = self._stream
        if self._life.over or stream.finished:
            return  # By its deadline, say: what comes too late is not taken.
        if parts is None:
            self._loop.loop.call_soon(taken)
            return
        stream.send(*parts)
        if last:
            self._taken = taken
            stream.finish()
        elif stream.unsent < WRITABLE_BELOW:
            self._loop.loop.call_soon(taken)
        else:
            stream.on_writable(taken)

    def _ended(self, stream: Stream) -> None:
        taken, self._taken = self._taken, None
        if taken is not None and stream.end is StreamEnd.ANSWERED:
            taken()
        self._life.end()

"""A call without a transport: a test delivers its messages, takes its answers and its steps, and ends it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from mm_service.status import OK, Code, Status
from multimodal_contract import CHAT_METHOD
from multimodal_contract.wire import Buffer
from triton_proxy.admission.admission import CallHead, Headers

_T = TypeVar("_T")
_Step = Callable[[], object]
_Make = Callable[[], Sequence[Buffer] | None]


class MemoryCall:
    """Implements `serving.call.Call` without threads: nothing happens but what the test asks for.

    Attributes:
        head: see `Call`.
        secs_left: what `time_left` says.
        has_threads: whether `submit` finds a thread.
        admitted: whether the caller knows that its messages are being read.
        status: how serving, or an answer that is the last, ends the call; None where nothing has.
        resend: whether the caller is to send again what has no answer.
        cancelled: whether serving cancelled the call.
        over: whether it has ended.
        heavy: whether the answer that waits to be made waits or computes; None where none waits.
    """

    def __init__(self, method: str = CHAT_METHOD, headers: Headers = (), *, secs_left: float | None = None) -> None:
        """A call that has sent nothing.

        Args:
            method: its full name.
            headers: names and values.
            secs_left: until its deadline; None where it has none.
        """
        self.head = CallHead(method, headers, "memory:")
        self.secs_left = secs_left
        self.has_threads = True
        self.admitted = self.resend = self.cancelled = self.over = False
        self.status: Status | None = None
        self.heavy: bool | None = None
        self._then: Callable[[bytes | None], None] | None = None
        self._arrived: Callable[[int], bool] | None = None
        self._steps: deque[tuple[_Step, _Step | None]] = deque()
        self._make: _Make | None = None
        self._taken: _Step | None = None
        self._last = False
        self._at_work = 0
        self._on_end: list[_Step] = []
        self._on_closed: list[_Step] = []

    # What serving sees.

    def time_left(self) -> float | None:
        """See `Call`."""
        return self.secs_left

    def accept(self) -> None:
        """See `Call`."""
        self.admitted = True

    def count(self, arrived: Callable[[int], bool]) -> None:
        """See `Call`; a message arrives at once, and is counted then."""
        self._arrived = arrived

    def resume(self) -> None:
        """See `Call`; nothing is held back, since nothing arrives in pieces."""

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """See `Call`.

        Raises:
            AssertionError: a message is asked for already.
        """
        assert self._then is None, "one message at a time"  # noqa: S101 - the contract of `Call`
        if not self.over:
            self._then = then

    def submit(self, step: Callable[[], None], finally_: _Step | None = None) -> None:
        """See `Call`."""
        if not self.has_threads or self.over:
            if finally_ is not None:
                finally_()
            if not self.has_threads:
                raise RuntimeError("can't start new thread")
            return
        self._steps.append((step, finally_))

    def answer(self, make: _Make, taken: Callable[[], None], *, heavy: bool, last: bool) -> None:
        """See `Call`.

        Raises:
            AssertionError: the answer before was not taken yet.
        """
        assert self._make is None, "one answer at a time"  # noqa: S101 - the contract of `Call`
        assert self._taken is None, "one answer at a time"  # noqa: S101 - as above
        if not self.over:
            self._make, self._taken, self._last, self.heavy = make, taken, last, heavy

    def finish(self, status: Status, *, resend: bool = False) -> None:
        """See `Call`; the call is over when the test says so with `end`."""
        if self.status is None and not self.over:
            self.status, self.resend = status, resend

    def cancel(self) -> None:
        """See `Call`; as `finish`."""
        if not self.over:
            self.cancelled = True
            self.status = self.status or Status(Code.CANCELLED)

    def on_end(self, callback: Callable[[], None]) -> None:
        """See `Call`."""
        if self.over:
            callback()
        else:
            self._on_end.append(callback)

    def on_closed(self, callback: Callable[[], None]) -> None:
        """See `Call`."""
        if self.over and not self._at_work:
            callback()
        else:
            self._on_closed.append(callback)

    # What the test does.

    def is_receiving(self) -> bool:
        """Whether the next message is asked for."""
        return self._then is not None

    @property
    def steps(self) -> int:
        """How many steps wait."""
        return len(self._steps)

    def is_answering(self) -> bool:
        """Whether an answer waits to be made."""
        return self._make is not None

    def is_sending(self) -> bool:
        """Whether an answer was made and not taken yet."""
        return self._make is None and self._taken is not None

    def deliver(self, message: bytes | None) -> None:
        """The next message, which was asked for, arrives; None where the caller sends no more."""
        then, self._then = self._then, None
        assert then is not None, "nobody asked for a message"  # noqa: S101 - a mistake of the test
        if message is not None and self._arrived is not None:
            self._arrived(len(message))
        self._work(lambda: then(message))

    def step(self) -> None:
        """Takes the first step that waits."""
        step, finally_ = self._steps.popleft()
        try:
            self._work(step)
        finally:
            if finally_ is not None:
                finally_()

    def make(self) -> bytes | None:
        """Makes the answer that waits, which is on its way then; None where there is none after all."""
        make, self._make, self.heavy = self._make, None, None
        assert make is not None, "no answer waits"  # noqa: S101 - a mistake of the test
        parts = self._work(make)
        if parts is None:
            self.taken()
            return None
        if self._last:
            self.finish(OK)
        return b"".join(parts)

    def taken(self) -> None:
        """The caller has taken the answer."""
        taken, self._taken = self._taken, None
        if taken is not None and not self.over:
            self._work(taken)

    def end(self) -> None:
        """The call is over: its status has reached the caller, or the caller went away."""
        if self.over:
            return
        self.over = True
        self._then = self._make = self._taken = self.heavy = None
        for callback in self._on_end:
            callback()
        while self._steps:
            _, finally_ = self._steps.popleft()
            if finally_ is not None:
                finally_()
        self._close()

    def _work(self, step: Callable[[], _T]) -> _T:
        self._at_work += 1
        try:
            return step()
        finally:
            self._at_work -= 1
            self._close()

    def _close(self) -> None:
        if self.over and not self._at_work:
            callbacks, self._on_closed = self._on_closed, []
            for callback in callbacks:
                callback()

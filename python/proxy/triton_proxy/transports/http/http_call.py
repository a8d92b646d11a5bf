"""A request of HTTP as serving sees it: one message in, and one answer, or one event after the other."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Protocol

from mm_service.status import Code, Status
from multimodal_contract.wire import Buffer
from triton_proxy.admission.admission import CallHead
from triton_proxy.http1.request import HttpRequest
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.transports.call_life import CallLife
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.http.status import HTTP_STATUS, error_fields

_Step = Callable[[], None]
_Make = Callable[[], Sequence[Buffer] | None]
_Then = Callable[[bytes | None], None]
_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# What is expanded at once, before the budget is asked for more.
_EXPANDED_BYTES = 256 << 10
# An expansion that was held back looks again whether its request is over.
_LOOK_SECS = 1.0


class Written(Protocol):
    """What is known of an answer beside its bytes, once the first of them are there."""

    @property
    def fields(self) -> Sequence[tuple[str, str]]:
        """Its header fields, but for those of the framing."""

    @property
    def comment(self) -> bytes:
        """What a long silence is broken with; empty for an answer that is one piece."""

    def error(self, status: int, text: str) -> bytes:
        """The body of a refusal with a status of HTTP's."""

    def failure(self, text: str) -> bytes:
        """What ends an answer that has begun and can't go on."""


class HttpCall:
    """Implements `serving.call.Call`.

    Attributes:
        head: the route, headers and peer.
    """

    def __init__(
        self, request: HttpRequest, route: str, written: Written, loop: LoopThread, threads: CallThreads, limit: int
    ) -> None:
        """Reads nothing yet. To be made in the loop's thread.

        Args:
            request: the engine's side of it.
            route: what is called, for the observers.
            written: of its answers.
            loop: whose it is.
            threads: where steps are taken.
            limit: bytes that the body may have once it is expanded.
        """
        self.head = CallHead(route, request.head.fields, request.peer, noun="header")
        self._request = request
        self._written = written
        self._loop = loop
        self._threads: Executor = threads.waiting
        self._working = threads.working
        self._limit = limit
        self._life = CallLife()
        self._received = False
        self._arrived: Callable[[int], bool] | None = None
        self._may_expand = threading.Event()
        request.error_body = written.error
        request.on_end(self._ended)

    @property
    def over(self) -> bool:
        """Whether the request has ended."""
        return self._life.over

    def admitted(self) -> None:
        """It is known who calls: from here on steps are taken where strangers take no thread."""
        self._threads = self._working

    def refuse(self, status: int, text: str, *fields: tuple[str, str]) -> None:
        """Ends the request by a status that gRPC has no name for, unless it has ended.

        Args:
            status: HTTP's.
            text: why.
            fields: header fields besides.
        """
        self._loop.soon(self._refuse, status, text, *fields)

    def time_left(self) -> float | None:
        """None: HTTP has no deadlines."""
        return None

    def accept(self) -> None:
        """Nothing is said before the answer."""

    def count(self, arrived: Callable[[int], bool]) -> None:
        """Has bytes counted as they arrive."""
        self._arrived = arrived
        self._loop.soon(self._request.on_bytes, arrived)

    def resume(self) -> None:
        """More may come."""
        self._may_expand.set()
        # Not at once: the loop itself may call this, within the budget's lock.
        self._loop.later(self._request.resume)

    def receive(self, then: _Then) -> None:
        """Asks for the body, and the second time for its end."""
        if self._received:
            self._loop.later(self._give, then, None)
            return
        self._received = True
        self._loop.soon(self._request.read_body, partial(self._body, then))

    def submit(self, step: _Step, finally_: Callable[[], object] | None = None) -> None:
        """Takes a step in a thread of the pool."""
        self._life.submit(self._threads, step, finally_)

    def answer(self, make: _Make, taken: _Step, *, heavy: bool, last: bool) -> None:
        """Sends the answer, or an event of it."""
        if heavy:
            self.submit(lambda: self._loop.soon(self._send, make(), taken, last))
        else:
            self._loop.soon(self._make, make, taken, last)

    def finish(self, status: Status, *, resend: bool = False) -> None:
        """Ends the request, unless it has ended. Of HTTP's callers none is told what it may send again."""
        self._loop.soon(self._finish, status)

    def cancel(self) -> None:
        """Ends the request at once."""
        self._loop.soon(self._request.cancel)

    def on_end(self, callback: _Step) -> None:
        """Calls back once, when the request has ended."""
        self._life.on_end(callback)

    def on_closed(self, callback: _Step) -> None:
        """Calls back once, when the request has ended and no thread is at work on it."""
        self._life.on_closed(callback)

    # In the loop's thread.

    def _body(self, then: _Then, body: bytes) -> None:
        encoding = self._request.head.field("content-encoding").lower()
        if encoding in {"", "identity"} or not body:
            then(body)
        elif encoding in _WBITS:
            self.submit(partial(self._expand, then, body, _WBITS[encoding]))
        else:
            self._refuse(415, f"Content-Encoding {encoding[:64]!r} is not read here; send gzip, deflate or none")

    def _refuse(self, status: int, text: str, *fields: tuple[str, str]) -> None:
        body = self._written.error(status, text)
        self._request.respond(status, [("content-type", "application/json"), *fields], [body], None)

    def _give(self, then: _Then, body: bytes | None) -> None:
        if not self._life.over:
            then(body)

    def _make(self, make: _Make, taken: _Step, last: bool) -> None:
        self._send(make(), taken, last)

    def _send(self, parts: Sequence[Buffer] | None, taken: _Step, last: bool) -> None:
        request = self._request
        if self._life.over or request.finished:
            return
        if parts is None:
            self._loop.loop.call_soon(taken)
        elif last:
            request.respond(200, self._written.fields, parts, taken)
        else:
            self._begin()
            request.send(parts, taken)

    def _begin(self) -> None:
        if not self._request.begun:
            self._request.begin(200, self._written.fields, self._written.comment)

    def _finish(self, status: Status) -> None:
        request = self._request
        if self._life.over or request.finished:
            return
        if status.code is not Code.OK and not request.begun:
            text = status.text or status.code.name
            http_status = HTTP_STATUS[status.code]
            request.respond(http_status, error_fields(status), [self._written.error(http_status, text)], None)
            return
        self._begin()
        if status.code is not Code.OK:
            request.send([self._written.failure(status.text or status.code.name)])
        request.finish()

    def _ended(self, _request: HttpRequest) -> None:
        self._life.end()
        self._may_expand.set()

    # In a thread of the pool.

    def _expand(self, then: _Then, body: bytes, wbits: int) -> None:
        inflate = zlib.decompressobj(wbits)
        parts: list[bytes] = []
        size = 0
        try:
            while not inflate.eof and body:
                part = inflate.decompress(body, min(_EXPANDED_BYTES, self._limit + 1 - size))
                body = inflate.unconsumed_tail
                size += len(part)
                parts.append(part)
                if size > self._limit:
                    text = f"the body is over the limit of {self._limit >> 20} MiB once it is expanded; send less"
                    self._loop.soon(self._refuse, 413, text)
                    return
                if not self._room_for(len(part)):
                    return
        except zlib.error as error:
            self._loop.soon(self._refuse, 400, f"the body does not expand as its Content-Encoding says: {error}")
            return
        if not inflate.eof or inflate.unused_data:
            text = "the body does not expand as its Content-Encoding says: it is cut, or has bytes left"
            self._loop.soon(self._refuse, 400, text)
            return
        self._loop.soon(self._give, then, b"".join(parts))

    def _room_for(self, size: int) -> bool:
        """Waits until the budget has room for more of the expanded body; False where the request is over before."""
        self._may_expand.clear()
        if self._arrived is None or not size or self._arrived(size):
            return not self._life.over
        while not self._may_expand.wait(_LOOK_SECS):
            if self._life.over:
                return False
        return not self._life.over

"""One request and its answer: what a handler gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from email.utils import formatdate
from enum import Enum
from typing import TYPE_CHECKING

import httptools

from multimodal_contract.wire import Buffer
from triton_proxy.http1.head import HeadReader, RequestHead

if TYPE_CHECKING:
    from triton_proxy.http1.connection import HttpConnection

Fields = Iterable[tuple[str, str]]
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Parts that are so small together are sent as one piece.
_JOINED = 16 << 10


def _error_body(_status: int, text: str) -> bytes:
    return json.dumps({"error": text}).encode()


class RequestEnd(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    LOST = "lost"  # the peer went away, or was cut off


class HttpRequest:
    """A request under way. All of it belongs to the loop's thread.

    Attributes:
        head: what it says before its body.
        peer: the other end, as gRPC writes it.
        end: how it ended; None before.
        begun: whether an answer began.
        finished: whether the answer is complete, though not necessarily sent.
        error_body: makes the body of a refusal from HTTP's status and a text.
    """

    def __init__(self, connection: HttpConnection, head: RequestHead, reader: HeadReader) -> None:
        """Made by the connection; nothing of the body was read."""
        self.head = head
        self.peer = connection.peer
        self.end: RequestEnd | None = None
        self.begun = False
        self.finished = False
        self.wanted = False
        self.complete = not head.has_body
        self.due: float | None = None
        self.error_body: Callable[[int, str], bytes] = _error_body
        self._connection = connection
        self._reader = reader
        self._left = head.content_length
        self._parts: list[bytes] = []
        # Of the body as far as it has come.
        self._size = 0
        self._early: bytes = b""
        self._held_back = False
        self._chunked = False
        self._comment = b""
        self._spoke = 0.0
        self._then: Callable[[bytes], None] | None = None
        self._arrived: Callable[[int], bool] | None = None
        self._on_end: list[Callable[[HttpRequest], None]] = []

    # The body.

    def on_bytes(self, arrived: Callable[[int], bool]) -> None:
        """Has bytes of the body counted as they arrive.

        Args:
            arrived: is given the number of bytes that came. Where it gives False, no more are read before `resume`.
        """
        self._arrived = arrived

    def resume(self) -> None:
        """More may come, after `on_bytes` held it back."""
        if self._held_back and self.end is None:
            self._held_back = False
            # The time that the peer was made to wait does not count.
            self._wait()

    def read_body(self, then: Callable[[bytes], None]) -> None:
        """Begins to read the body: the caller is known.

        Args:
            then: is given it when it is complete, in another turn of the loop; not at all once the request has ended.
        """
        connection = self._connection
        connection.trust()
        self.wanted = True
        self._then = then
        if self._left is not None and self._left > connection.limits.body_bytes:
            self._too_large(f"its Content-Length is {self._left}")
            return
        if not self.complete and self.head.expects_continue and not self._early:
            connection.write(CONTINUE)
        early, self._early = self._early, b""
        self._wait()
        if early or self.complete:
            self.feed(early)

    def feed(self, data: bytes) -> None:
        """Takes what came behind the head; what belongs to the next request goes back to the connection."""
        if not self.wanted and not self.complete:
            self._early += data
            return
        if self.complete:
            self._connection.ahead(data)
        elif self._left is None:
            self._feed_chunks(data)
        else:
            part = data[: self._left]
            self._left -= len(part)
            self._take(part)
            self.complete = not self._left
            if self.complete:
                self._connection.ahead(data[len(part) :])
        if self.end is None and self.wanted:
            self._look()

    def _feed_chunks(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not reader.complete:
                self.refuse(400, f"the body's chunks are broken: {error}")
                return
            # What came behind the request is none, which is said once this one has its answer.
            reader.surplus = True
        parts, reader.body = reader.body, []
        for part in parts:
            self._take(part)
        self.complete = reader.complete
        if reader.surplus:
            # Where it began is not known: the connection ends with this request.
            self._connection.last()

    def _take(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._size += len(part)
            self._connection.account(len(part))
            if self._arrived is not None and not self._arrived(len(part)):
                self._held_back = True

    def _look(self) -> None:
        """Goes on by what there is of the body."""
        limits = self._connection.limits
        if self._size > limits.body_bytes:
            self._too_large("it comes in chunks")
        elif self._connection.counters.held_bytes > limits.held_bytes:
            self._connection.counters.passed("held_bytes")
            self.refuse(503, "the server holds as many bytes of requests as it may; try again")
        elif self.complete:
            self.due = None
            then, self._then = self._then, None
            if then is not None:
                body = b"".join(self._parts) if len(self._parts) != 1 else self._parts[0]
                self._parts = []
                self._connection.loop.call_soon(self._give, then, body)
        elif self._held_back:
            self.due = None
        self._connection.read_on()

    def _give(self, then: Callable[[bytes], None], body: bytes) -> None:
        self._release()
        if self.end is None and not self.finished:
            self._connection.guarded(then, body)

    def _release(self) -> None:
        self._connection.account(-self._size)
        self._size = 0

    def _wait(self) -> None:
        if not self.complete:
            self.due = self._connection.loop.time() + self._connection.limits.body
        self._connection.read_on()

    @property
    def held_back(self) -> bool:
        """Whether nothing of the body may be read now."""
        return self._held_back or not (self.wanted or self.complete)

    def _too_large(self, how: str) -> None:
        self._connection.counters.passed("body_bytes")
        limit = self._connection.limits.body_bytes
        text = (
            f"the body is over the limit of {limit >> 20} MiB ({how}); send less at once: the operator sets the limit"
            f" with MAX_MESSAGE_MB={limit >> 20}"
        )
        self.refuse(413, text)

    # The answer.

    def refuse(self, status: int, text: str) -> None:
        """Answers in the engine's own words, and ends the connection: what is left of the body is not read."""
        self._connection.last()
        self._connection.answer_error(self, status, text)

    def respond(self, status: int, fields: Fields, parts: Sequence[Buffer], taken: Callable[[], None] | None) -> None:
        """Answers with all there is.

        Args:
            status: HTTP's.
            fields: beside those of the framing.
            parts: of the body, in order.
            taken: is called when the socket has taken all but a little of it; not at all where the request is lost.
        """
        if self.end is not None or self.finished:
            return
        self.begun = True
        size = sum(map(len, parts))
        head = self._head(status, fields, f"content-length: {size}\r\n")
        # A HEAD request is answered as GET, without the body (RFC 9110, 9.3.2).
        self._write(head, () if self.head.method == "HEAD" else parts)
        self._finish(taken)

    def begin(self, status: int, fields: Fields, comment: bytes = b"") -> None:
        """Begins an answer of which more is to come, in chunks where the peer reads them.

        Args:
            status: HTTP's.
            fields: beside those of the framing.
            comment: is said when there is nothing else to say for `HttpLimits.quiet`; nothing where it is empty.
        """
        if self.end is not None or self.finished:
            return
        self.begun = True
        self._comment = comment
        self._chunked = self.head.chunks
        if not self._chunked:
            self._connection.last()
        self._write(self._head(status, fields, "transfer-encoding: chunked\r\n" if self._chunked else ""), ())

    def send(self, parts: Sequence[Buffer], taken: Callable[[], None] | None = None) -> None:
        """Sends a piece of an answer that was begun.

        Args:
            parts: pieces of it, in order.
            taken: is called when the next may be sent; not at all where the request is lost.
        """
        if self.end is not None or self.finished:
            return
        size = sum(map(len, parts))
        if size and self._chunked:
            self._write(b"%x\r\n" % size, [*parts, b"\r\n"])
        elif size:
            self._write(b"", parts)
        if taken is not None:
            self._connection.when_writable(taken)

    def finish(self, taken: Callable[[], None] | None = None) -> None:
        """Ends an answer that was begun."""
        if self.end is not None or self.finished:
            return
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._finish(taken)

    def cancel(self) -> None:
        """Cuts the peer off."""
        self._connection.abort()

    def on_end(self, callback: Callable[[HttpRequest], None]) -> None:
        """Calls back once, when the request has ended."""
        if self.end is None:
            self._on_end.append(callback)
        else:
            callback(self)

    def _head(self, status: int, fields: Fields, framing: str) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n", framing]
        # RFC 9110, section 6.6.1: a server with a clock sends it.
        lines.append(f"date: {formatdate(usegmt=True)}\r\n")
        lines += [f"{name}: {value}\r\n" for name, value in fields]
        if self._connection.closes_after(self):
            lines.append("connection: close\r\n")
        elif not self.head.chunks:
            lines.append("connection: keep-alive\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")

    def _write(self, head: bytes, parts: Sequence[Buffer]) -> None:
        self._spoke = self._connection.loop.time()
        if len(head) + sum(map(len, parts)) <= _JOINED:
            self._connection.write(b"".join((head, *parts)))
            return
        if head:
            self._connection.write(head)
        for part in parts:
            if len(part):
                self._connection.write(part)

    def _finish(self, taken: Callable[[], None] | None) -> None:
        self.finished = True
        self.due = None

        def sent() -> None:
            if taken is not None:
                taken()
            self._connection.answered(self)

        self._connection.when_writable(sent)

    # What the connection says.

    def ended(self, end: RequestEnd) -> None:
        """It has ended."""
        if self.end is not None:
            return
        self.end = end
        self._parts = []
        self._then = None
        self._release()
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            self._connection.guarded(callback, self)

    def check_times(self, now: float) -> None:
        """Ends it where it is behind its time, and breaks a long silence."""
        limits = self._connection.limits
        if self.due is not None and now > self.due:
            self._connection.counters.passed("body")
            self.refuse(408, f"the body did not come within {limits.body:g} s; send it with the request")
        elif self._comment and not self.finished and now - self._spoke > limits.quiet:
            self.send((self._comment,))

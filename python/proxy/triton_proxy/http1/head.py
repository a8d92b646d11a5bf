"""A request's head: its line and fields, read strictly, and how its body is framed (RFC 9112)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httptools

END = b"\r\n\r\n"


class HeadRefused(Exception):  # noqa: N818 - what happens to it
    """A head that is not served.

    Attributes:
        status: HTTP's.
        text: why, for the peer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class RequestHead:
    """What a request says before its body.

    Attributes:
        method: such as "POST".
        path: its segments, each unquoted: a quoted slash belongs to its segment. Empty for "/".
        query: what stands behind the question mark, as it came.
        fields: names in lower case, and values; in the order of their coming.
        content_length: bytes of the body; None where it comes in chunks.
        keep_alive: whether the peer may send another request on the connection.
        chunks: whether the peer reads an answer in chunks (HTTP/1.1).
        expects_continue: whether the peer waits for 100 before it sends the body (RFC 9110, 10.1.1).
    """

    method: str
    path: tuple[str, ...]
    query: str
    fields: tuple[tuple[str, str], ...]
    content_length: int | None
    keep_alive: bool
    chunks: bool
    expects_continue: bool

    def field(self, name: str) -> str:
        """The value of a field; several of the name are joined by commas (RFC 9110, 5.3), and none is "".

        Args:
            name: in lower case.
        """
        return ", ".join(value for given, value in self.fields if given == name)

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.content_length != 0


class HeadReader:
    """What `httptools` calls while it reads one request, whose body it may read too.

    Attributes:
        parser: to be fed with all of the head at once, and then with a body in chunks.
        body: pieces of the body, as they came.
        complete: whether the request has come to its end.
        surplus: whether another request began in the same bytes.
    """

    def __init__(self, most_fields: int) -> None:
        """Nothing was read yet.

        Args:
            most_fields: how many fields there may be.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.body: list[bytes] = []
        self.complete = False
        self.surplus = False
        self._began = 0
        self._most_fields = most_fields
        self._target = b""
        self._fields: list[tuple[str, str]] = []
        self._head_complete = False

    def read(self, head: bytes) -> RequestHead:
        """Reads a head.

        Args:
            head: all of it, its empty line included, and nothing else.

        Raises:
            HeadRefused: it is broken, or nothing that is served here.
        """
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # Nobody has to follow such a wish (RFC 9110, 7.8); a tunnel is none.
            if self.parser.get_method() == b"CONNECT":
                raise HeadRefused(405, "this is no proxy for tunnels") from None
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, HeadRefused):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise HeadRefused(400, f"the request is not HTTP/1.1: {error}") from None
        if not self._head_complete or self._began > 1:
            raise HeadRefused(400, "the request is not HTTP/1.1: its head has no proper end")
        return self._head()

    def _head(self) -> RequestHead:
        fields = tuple(self._fields)
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise HeadRefused(505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
        hosts = sum(name == "host" for name, _ in fields)
        if hosts > 1 or (version == "1.1" and not hosts):
            raise HeadRefused(400, f"the request has {hosts} Host fields; exactly one is expected")
        path, query = _target(self._target)
        length = _content_length(fields)
        if length is None and (version == "1.0" or self.parser.should_upgrade()):
            raise HeadRefused(400, "a body in chunks belongs to HTTP/1.1 alone, and to no upgrade")
        return RequestHead(
            method=self.parser.get_method().decode(),
            path=path,
            query=query,
            fields=fields,
            content_length=length,
            keep_alive=self.parser.should_keep_alive(),
            chunks=version == "1.1",
            expects_continue=version == "1.1"
            and any(name == "expect" and value.lower() == "100-continue" for name, value in fields),
        )

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._began += 1
        self.surplus = self.complete

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if self._began == 1:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, or one behind a body in chunks, which nobody looks at."""
        if self._head_complete:
            return
        if len(self._fields) >= self._most_fields:
            raise HeadRefused(431, f"the request has more than {self._most_fields} fields; send fewer")
        self._fields.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_complete = True

    def on_body(self, body: bytes) -> None:
        """A piece of a body in chunks."""
        if not self.complete:
            self.body.append(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self.complete = True


def _content_length(fields: tuple[tuple[str, str], ...]) -> int | None:
    """As llhttp has checked it: never both framings, never two lengths, and digits only."""
    length: int | None = 0
    for name, value in fields:
        if name == "content-length":
            length = int(value)
        elif name == "transfer-encoding":
            if value.lower() != "chunked":
                raise HeadRefused(501, f"Transfer-Encoding {value[:64]!r} is not read here; send chunked")
            length = None
    return length


def _target(target: bytes) -> tuple[tuple[str, ...], str]:
    try:
        if not target.startswith(b"/"):
            # In absolute form, as to a proxy (RFC 9112, 3.2.2).
            parsed = httptools.parse_url(target)
            target = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        path, _, query = target.partition(b"?")
        segments = tuple(unquote_to_bytes(segment).decode() for segment in path.split(b"/")[1:])
    except (UnicodeDecodeError, httptools.HttpParserInvalidURLError):
        raise HeadRefused(400, "the request's path is no UTF-8 in percent-encoding") from None
    return (segments[:-1] if segments and not segments[-1] else segments), query.decode("latin-1")

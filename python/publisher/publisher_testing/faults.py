"""A proxy in front of an S3 server that fails, cuts off, delays or falsifies what passes."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Fault:
    """What happens to one request instead of passing it on; the base passes it on."""

    def apply(self, handler: Handler, body: bytes) -> None:
        """Answers the handler's request."""
        handler.answer(*handler.forward(body))


class Fail(Fault):
    """The store answers with an error, and has done nothing."""

    def apply(self, handler: Handler, body: bytes) -> None:
        """See `Fault.apply`."""
        handler.answer(500, [], b"<Error><Code>InternalError</Code><Message>no luck</Message></Error>")


class LoseAnswer(Fault):
    """The store does it, and its answer gets lost."""

    def apply(self, handler: Handler, body: bytes) -> None:
        """See `Fault.apply`."""
        handler.forward(body)
        handler.close_connection = True


class Late(Fault):
    """The store does it, long after the client has given up.

    Args:
        go: what the store waits for.
    """

    def __init__(self, go: threading.Event) -> None:
        self.go = go
        self._left = 0

    @property
    def done(self) -> bool:
        """Whether all that it met has been carried out."""
        return self.go.is_set() and not self._left

    def apply(self, handler: Handler, body: bytes) -> None:
        """See `Fault.apply`."""
        request = handler.request_as_it_came(body)
        self._left += 1
        handler.close_connection = True
        threading.Thread(target=self._later, args=(handler.store, request), daemon=True).start()

    def _later(self, store: FaultyStore, request: tuple[str, str, bytes, Any]) -> None:
        self.go.wait(60)
        store.forward(*request)
        self._left -= 1


class Truncate(Fault):
    """The store keeps half of it, whatever checksum and condition came with it, and says that all is well.

    Args:
        client: a boto3 client of the real store.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def apply(self, handler: Handler, body: bytes) -> None:
        """See `Fault.apply`."""
        url = urlsplit(handler.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        kept: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": body[: len(body) // 2]}
        part = parse_qs(url.query)
        if "partNumber" in part:
            kept |= {"UploadId": part["uploadId"][0], "PartNumber": int(part["partNumber"][0])}
            answer = self._client.upload_part(**kept, ChecksumAlgorithm="SHA256")
        else:
            answer = self._client.put_object(**kept, ChecksumAlgorithm="SHA256")
        handler.answer(200, [("ETag", answer["ETag"]), ("x-amz-checksum-sha256", answer["ChecksumSHA256"])], b"")


Choose = Callable[[str, str], Fault | None]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body are written apart; together they would wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    store: FaultyStore

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.store.choose(self.command, unquote(self.path)) or Fault()
        fault.apply(self, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _handle  # noqa: N815 - names of http.server

    def request_as_it_came(self, body: bytes) -> tuple[str, str, bytes, Any]:
        """Method, path, body and headers, to be sent on."""
        return self.command, self.path, body, self.headers

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Passes the request on; returns status, headers and body of the answer."""
        return self.store.forward(*self.request_as_it_came(body))

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answers the client."""
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        # Of a HEAD the length is the object's.
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class FaultyStore:
    """The proxy; a context manager.

    Args:
        port: of the real store on this machine.
        choose: says what happens to a request by its method, path and query; None passes it on.
    """

    def __init__(self, port: int, choose: Choose) -> None:
        self._port = port
        self.choose = choose
        handler = type("BoundHandler", (Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def forward(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, list[tuple[str, str]], bytes]:
        """Asks the real store, with the very headers: the signature covers the host that the client named."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def __enter__(self) -> FaultyStore:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def wait_until(condition: Callable[[], bool], secs: float = 10) -> None:
    """Waits for a condition.

    Raises:
        TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + secs
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {secs} s")
        time.sleep(0.01)

"""REST over HTTP/1.1, on aiohttp: bytes in and out, with a bound for each thing that a peer can do.

One loop reads and writes; threads do what waits (Domino, the API server). A request is answered as `rest_requests`
reads it; who is calling is found out before anything else is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from mm_service import tls
from mm_service.status import Code, Status
from mm_service.supervisor import Workers
from scale_service import openapi, rest_requests
from scale_service.answers import described
from scale_service.authentication import Authentication, KnownCaller
from scale_service.errors import OperationError
from scale_service.listening import Listener
from scale_service.operations import Operations
from scale_service.rollout import Rollout

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_LARGEST_BODY = 64 * 1024
# A token is 16 KiB at most; the rest of a request's head is small.
_LARGEST_HEADER = 17 * 1024
# To send a request's head, its body, or the next request.
_PEER_SECS = 15.0
_CERTIFICATES_EVERY_SECS = 5.0
# Peers and what is between them and us close what is silent for longer.
_HEARTBEAT_SECS = 10.0

HTTP_STATUS = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.UNIMPLEMENTED: 405,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 413,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
}


@dataclass(frozen=True)
class RestStatistics:
    """What the server is at work on.

    Attributes:
        requests: that have a thread or wait for one.
        streams: rollouts that are followed.
    """

    requests: int
    streams: int


class RestServer:
    """Serves REST until it is closed.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        address: str,
        operations: Operations,
        authentication: Authentication,
        certificates: tls.Certificates | None,
        *,
        max_requests: int,
        max_progress_streams: int,
        progress_every_secs: float,
        answered: Callable[[str, str, Code], None] = lambda transport, method, code: None,
    ) -> None:
        """Binds the port; serves nothing yet.

        Args:
            address: where to listen, HOST:PORT.
            operations: do what is asked for.
            authentication: finds out who asks.
            certificates: the listener's; None for plaintext.
            max_requests: requests that have a thread; as many wait for one.
            max_progress_streams: rollouts that are followed at once.
            progress_every_secs: how often each is looked at.
            answered: hears of each request but /healthz: rest, its route, and the status.

        Raises:
            RuntimeError: the address can't be bound, or the machine has not so many threads.
        """
        self._operations, self._authentication = operations, authentication
        self._certificates = certificates
        self._most_waiting, self._most_streams = 2 * max_requests, max_progress_streams
        self._every_secs = progress_every_secs
        self._answered = answered
        self._listener = Listener(address)
        self.port = self._listener.port
        self._workers = Workers(max_requests, "rest", setting="MAX_REQUESTS")
        self._loop = asyncio.new_event_loop()
        self._waiting = self._streams = 0
        self._draining = asyncio.Event()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="rest-loop", daemon=True)

    def start(self) -> None:
        """Begins to serve, in a thread of its own."""
        self._thread.start()

    def statistics(self) -> RestStatistics:
        """What it is at work on at this moment."""
        return RestStatistics(self._waiting, self._streams)

    def drain(self, longest_secs: float) -> None:
        """Takes no new connection, ends streams, and waits for the requests under way.

        Args:
            longest_secs: how long to wait for these.
        """
        self._loop.call_soon_threadsafe(self._draining.set)
        try:
            self._ended.result(longest_secs + 1)
        except TimeoutError:
            _LOG.warning("requests were still under way after %g s; they are cut off", longest_secs)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()
        self._ended.set_result(None)

    async def _serve(self) -> None:
        # Its own log has pieces of requests in it.
        quiet = logging.getLogger(f"{__name__}.aiohttp")
        quiet.propagate = False
        server = web.Server(
            self._handle,
            access_log=None,
            logger=quiet,
            keepalive_timeout=_PEER_SECS,
            lingering_time=1.0,
            max_line_size=8192,
            max_field_size=_LARGEST_HEADER,
            max_headers=64,
            auto_decompress=False,
        )
        pem = self._certificates.current if self._certificates is not None else None
        self._listener.context = tls.server_context(pem) if pem is not None else None
        self._listener.listen(server, lambda: len(server.connections))
        while not self._draining.is_set():
            await self._wait_for(self._draining, _CERTIFICATES_EVERY_SECS)
            if self._certificates is not None:
                pem = await self._loop.run_in_executor(self._workers, self._certificates.renewed)
                if pem is not None:
                    self._listener.context = tls.server_context(pem)
        self._listener.close()
        await server.shutdown(None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/healthz" and request.method == "GET":
            return web.json_response({"status": "ok"})
        code = Code.CANCELLED
        try:
            response = await self._answer(request)
            code = Code.OK
            return response
        except OperationError as error:
            code = error.status.code
            return _refusal(error.status)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - a caller gets an answer whatever goes wrong
            code = Code.INTERNAL
            # Neither its text nor a value: they might hold a credential.
            _LOG.error("a request failed: %s", type(error).__name__, exc_info=_without_text(error))
            return _refusal(Status(Code.INTERNAL, "it failed; the service's log says why"))
        finally:
            self._answered("rest", rest_requests.named(request.method, request.path), code)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items()]
        peer = str(request.remote or "")
        body = await self._body(request)
        path, method = request.path, request.method
        what = rest_requests.matched(rest_requests.PROGRESS_PATH, path)
        if what is not None and method == "GET":
            known = await self._in_thread(lambda: self._authentication.caller(headers, peer))
            return await self._progress(request, known, what)

        def answer() -> dict[str, Any]:
            caller = self._authentication.caller(headers, peer).confirm()
            if (method, path) == ("GET", "/openapi.json"):
                return openapi.document()
            route, named = rest_requests.find(method, path)
            key = request.headers.get("Idempotency-Key", "")
            asked = rest_requests.Request(named, dict(request.query), key, body)
            return route.answer(self._operations, caller, asked)

        return web.json_response(await self._in_thread(answer))

    async def _body(self, request: web.BaseRequest) -> bytes:
        parts, size = [], 0
        try:
            async with asyncio.timeout(_PEER_SECS):
                async for part in request.content.iter_any():
                    parts.append(part)
                    size += len(part)
                    if size > _LARGEST_BODY:
                        raise OperationError(
                            Status(Code.OUT_OF_RANGE, f"the body has more than {_LARGEST_BODY} bytes; send less")
                        )
        except TimeoutError:
            raise OperationError(
                Status(Code.INVALID_ARGUMENT, f"the body did not come within {_PEER_SECS:g} s; send it at once")
            ) from None
        return b"".join(parts)

    async def _progress(self, request: web.BaseRequest, known: KnownCaller, what: str) -> web.StreamResponse:
        if self._streams >= self._most_streams:
            raise OperationError(_busy("rollouts are followed", self._most_streams))
        self._streams += 1
        try:
            progress = await self._in_thread(lambda: self._operations.progress(known.confirm(), what))

            def look() -> Rollout:
                known.confirm()
                return progress.look()

            found = await self._in_thread(look)
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            last, silent = found, 0.0
            await response.write(_line({**described(what, found), "done": progress.finished}))
            while not progress.finished and not self._draining.is_set():
                await self._wait_for(self._draining, self._every_secs)
                try:
                    found = await self._in_thread(look)
                except OperationError as error:
                    await response.write(_line({"error": error.status.text, "code": error.status.code.name}))
                    break
                silent += self._every_secs
                if found != last or progress.finished or silent >= _HEARTBEAT_SECS:
                    await response.write(_line({**described(what, found), "done": progress.finished}))
                    last, silent = found, 0.0
            await response.write_eof()
            return response
        finally:
            self._streams -= 1

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise OperationError(_busy("requests are under way", self._most_waiting))
        self._waiting += 1
        future = self._workers.submit(work)
        # Counted until its thread has done with it, also where the caller has hung up.
        future.add_done_callback(self._left)
        return await asyncio.wrap_future(future)

    def _left(self, _: Future[Any]) -> None:
        # Closed where a drain did not wait for it any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._count_left)

    def _count_left(self) -> None:
        self._waiting -= 1

    async def _wait_for(self, event: asyncio.Event, secs: float) -> None:
        try:
            await asyncio.wait_for(event.wait(), secs)
        except TimeoutError:
            return


def _busy(what: str, most: int) -> Status:
    return Status(Code.RESOURCE_EXHAUSTED, f"{most} {what} already; try again in a second", retry_after_secs=1.0)


def _refusal(status: Status) -> web.Response:
    headers = {}
    if status.code is Code.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if status.retry_after_secs is not None:
        headers["Retry-After"] = str(math.ceil(status.retry_after_secs))
    body = {"error": status.text, "code": status.code.name}
    return web.json_response(body, status=HTTP_STATUS[status.code], headers=headers)


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _without_text(error: Exception) -> tuple[type[Exception], Exception, Any]:
    return type(error), type(error)(), error.__traceback__

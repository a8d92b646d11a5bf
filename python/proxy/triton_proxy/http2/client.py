"""gRPC's client on asyncio: a few connections to one server, and calls spread over them."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from mm_service.status import Code
from triton_proxy.http2.callbacks import Callbacks
from triton_proxy.http2.client_call import CallFailed, ClientCall, Reply
from triton_proxy.http2.client_connection import ClientConnection
from triton_proxy.http2.connection import Buffer, Connection, ConnectionSettings, Role
from triton_proxy.http2.endpoint import RECEIVE_BUFFER
from triton_proxy.http2.grpc_headers import Metadata, request_fields
from triton_proxy.http2.limits import Counters
from triton_proxy.http2.ngh2_connection import Ngh2Connection

# Seconds between tries to connect: gRPC's connection-backoff with a shorter end, since Triton is in the same pod.
_BACKOFF_FIRST, _BACKOFF_FACTOR, _BACKOFF_LONGEST, _BACKOFF_JITTER = 0.1, 1.6, 2.0, 0.2
_CONNECT_WITHIN = 5.0
# A server that hangs up sooner is not called again at once.
_SHORT_LIFE = 1.0
_SWEEP = 1.0
_USER_AGENT = b"grpc-python-asyncio-http2/1"


class Http2Client:
    """Calls one server. All of it belongs to the loop's thread.

    A call waits for a connection while one is being made, and fails with UNAVAILABLE when that failed.

    Attributes:
        loop: the loop.
        buffer: for what arrives, shared by the connections.
        callbacks: how those of calls are called.
        counters: what there is and was; `statistics` gives a copy.
        keepalive: seconds after which a server that is silent while calls wait is sent a PING.
        keepalive_answer: seconds in which it has to answer.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connections: int = 4,
        message_bytes: int = 64 << 20,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        authority: str = "",
        engine: Callable[[Role, ConnectionSettings], Connection] = Ngh2Connection,
        keepalive: float = 20.0,
        keepalive_answer: float = 10.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """No connection is made before the first call, or `connect`.

        Args:
            host: where the server is.
            port: its port.
            connections: how many to keep.
            message_bytes: bytes that an answer may have.
            ssl_context: for TLS; ALPN has to offer `h2`.
            server_hostname: the name in the server's certificate, where it is not `host`.
            authority: what requests say of where they go; "" for host and port.
            engine: makes a connection's HTTP/2.
            keepalive: see the attribute.
            keepalive_answer: see the attribute.
            jitter: a number from 0 to 1, so that many clients do not come at once.
        """
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self.counters = Counters()
        self.callbacks = Callbacks(self.loop, self.counters)
        self.keepalive = keepalive
        self.keepalive_answer = keepalive_answer
        self._host, self._port = host, port
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._authority = authority or self._address
        self._wanted = connections
        self._message_bytes = message_bytes
        self._ssl = ssl_context
        self._server_hostname = (server_hostname or host) if ssl_context is not None else None
        self._engine = engine
        self._jitter = jitter
        # Triton's answers are as large as requests, and it is trusted with windows that never hold it up.
        self._settings = ConnectionSettings(max_streams=0, stream_window=8 << 20, connection_window=32 << 20)
        self._connections: list[ClientConnection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[ClientCall] = deque()
        self._failure = ""  # of the last try to connect
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None

    def statistics(self) -> Counters:
        """What there is and was, as of now."""
        streams = sum(connection.streams for connection in self._connections)
        now = replace(self.counters, cut=dict(self.counters.cut))
        now.connections, now.streams = len(self._connections), streams
        return now

    def connect(self, *, pause: float = 0.0) -> None:
        """Make connections as far as they are missing.

        Args:
            pause: seconds before that.
        """
        if self._closed:
            return
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._tick)
        there = sum(not connection.going for connection in self._connections)
        for _ in range(self._wanted - there - len(self._connecting)):
            task = self.loop.create_task(self._connect(pause))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def open(self, path: str, *, metadata: Metadata = (), timeout: float | None = None) -> ClientCall:
        """Begin a call.

        Args:
            path: `/service/method`.
            metadata: for the server.
            timeout: seconds until it fails with DEADLINE_EXCEEDED, here and there.

        Raises:
            ValueError: the metadata can't be sent.
        """
        scheme = b"https" if self._ssl is not None else b"http"
        fields = request_fields(
            path, self._authority, scheme=scheme, timeout=timeout, metadata=metadata, user_agent=_USER_AGENT
        )
        call = ClientCall(path, fields, limit=self._message_bytes)
        if timeout is not None:
            call.expire_at(self.loop, timeout)
        self.counters.opened += 1
        self._place(call)
        return call

    async def unary(self, path: str, *request: Buffer, metadata: Metadata = (), timeout: float | None = None) -> Reply:
        """Ask once.

        Args:
            path: `/service/method`.
            request: the message, in one or more buffers.
            metadata: for the server.
            timeout: seconds until it fails.

        Raises:
            CallFailed: it ended with anything but OK, or without exactly one message.
            ValueError: the metadata can't be sent.
        """
        call = self.open(path, metadata=metadata, timeout=timeout)
        messages: list[bytes] = []
        done: asyncio.Future[None] = self.loop.create_future()
        call.on_message(messages.append)
        call.on_end(lambda _: None if done.done() else done.set_result(None))
        call.send_last(*request)
        try:
            await done
        finally:
            call.cancel()  # for a caller that was cancelled itself
        if call.status is not Code.OK:
            raise call.failure()
        if len(messages) != 1:
            raise CallFailed(Code.UNIMPLEMENTED, f"a unary call was answered with {len(messages)} messages")
        return Reply(messages[0], call.head, call.trailers)

    async def close(self) -> None:
        """Cut everything off; calls fail with UNAVAILABLE."""
        self._closed = True
        self._fail_waiting("the client is closed")
        for task in list(self._connecting):
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        while self._connections or self._connecting:
            await asyncio.sleep(0)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.callbacks.close()

    def sweep(self, now: float) -> None:
        """Look after servers that say nothing.

        Args:
            now: as `loop.time` has it.
        """
        for connection in list(self._connections):
            connection.check_times(now)

    # For connections.

    def make_engine(self, role: Role) -> Connection:
        """HTTP/2 for one connection."""
        return self._engine(role, self._settings)

    def lost(self, connection: ClientConnection) -> None:
        """A socket is gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            hasty = self.loop.time() - connection.began < _SHORT_LIFE
            self.connect(pause=_BACKOFF_FIRST if hasty else 0.0)

    def replace(self, _going: ClientConnection) -> None:
        """A connection takes no more calls."""
        self.connect()

    def has_room(self) -> None:
        """A call ended, or a server takes more than before."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, deque()
        while waiting:
            self._place(waiting.popleft())

    # Connecting.

    def _place(self, call: ClientCall) -> None:
        if call.over:
            return
        live = [connection for connection in self._connections if connection.takes_calls]
        if len(live) > 1:
            live.sort(key=lambda connection: connection.streams)
        for connection in live:
            if connection.start(call):
                return
        if self._closed:
            call.lost("the client is closed", unprocessed=True)
            return
        self.connect()
        usable = any(not connection.going for connection in self._connections)
        if self._failure and not usable:
            call.lost(self._failure, unprocessed=True)
        else:
            self._waiting.append(call)

    def _fail_waiting(self, text: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.lost(text, unprocessed=True)

    async def _connect(self, wait: float) -> None:
        if wait:
            await asyncio.sleep(wait)
        pause = _BACKOFF_FIRST
        while not self._closed:
            connection = ClientConnection(self)
            self.counters.accepted += 1
            try:
                async with asyncio.timeout(_CONNECT_WITHIN):
                    await self.loop.create_connection(
                        lambda connection=connection: connection,
                        self._host,
                        self._port,
                        ssl=self._ssl,
                        server_hostname=self._server_hostname,
                    )
                    await connection.ready()
                if connection.going:
                    raise OSError("the server takes no calls")
            except asyncio.CancelledError:
                connection.abort()
                raise
            except (OSError, TimeoutError) as e:
                connection.abort()
                reason = str(e) or type(e).__name__
                self._failure = f"failed to connect to {self._address}: {reason}"
                if not any(not each.going for each in self._connections):
                    self._fail_waiting(self._failure)
                await asyncio.sleep(pause * (1 + _BACKOFF_JITTER * (2 * self._jitter() - 1)))
                pause = min(pause * _BACKOFF_FACTOR, _BACKOFF_LONGEST)
                continue
            self._failure = ""
            self._connections.append(connection)
            self.has_room()
            return

    def _tick(self) -> None:
        self._sweeper = self.loop.call_later(_SWEEP, self._tick)
        self.sweep(self.loop.time())
